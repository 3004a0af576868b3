//! What the simulated message brokers have in common: who listens, and what becomes of a message on its way there.
//!
//! They are harsher than the real ones, which bring the messages of one connection in order: here one may be lost, doubled or
//! late whoever carries it, and what waits in a queue is gone with its connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for one listener. Redis ends the connection of one that is slower, MQTT clients drop what comes on top.
pub const QUEUE_MAX: usize = 1_000;

/// What becomes of a message on its way from a broker to one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It arrives at once.
    Arrives,
    /// It never arrives.
    Lost,
    /// It arrives at once, and after this time once more.
    Doubled {
        /// The time, in milliseconds.
        after_ms: u64,
    },
    /// It arrives after this time, if its listener is still connected.
    Late {
        /// The time, in milliseconds.
        by_ms: u64,
    },
}

/// A message on its way to one listener.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'m> {
    /// How many messages the broker had taken before it.
    pub number: usize,
    /// Its channel or topic.
    pub channel: &'m str,
    /// What was published.
    pub payload: &'m [u8],
    /// The number of the listener, counted over the broker's life.
    pub listener: u64,
}

type Rule = Box<dyn FnMut(&Passing<'_>) -> Fate + Send>;

/// Decides what becomes of messages: by a script, by a seed, or not at all. Then all of them arrive.
#[derive(Default)]
pub struct Fates {
    next: Option<Fate>,
    rule: Option<Rule>,
}

impl Fates {
    /// Asks `rule` about every message and listener from now on.
    pub fn decide(&mut self, rule: impl FnMut(&Passing<'_>) -> Fate + Send + 'static) {
        self.rule = Some(Box::new(rule));
    }

    /// From now on a seed decides: so many messages in a hundred are lost, doubled or late, by up to `late_ms`.
    pub fn unreliable(&mut self, seed: u64, percent: u32, late_ms: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        self.decide(move |_| {
            if chance.random_range(0..100) >= percent {
                return Fate::Arrives;
            }
            let ms = chance.random_range(1..=late_ms.max(1));
            match chance.random_range(0..3) {
                0 => Fate::Lost,
                1 => Fate::Doubled { after_ms: ms },
                _ => Fate::Late { by_ms: ms },
            }
        });
    }

    /// What becomes of the next message that is published, for all who listen.
    pub fn next(&mut self, fate: Fate) {
        self.next = Some(fate);
    }

    /// Every message arrives from now on.
    pub fn calm(&mut self) {
        *self = Self::default();
    }

    /// Takes what was said of the next message.
    pub(super) fn take_next(&mut self) -> Option<Fate> {
        self.next.take()
    }

    pub(super) fn of(&mut self, said: Option<Fate>, passing: &Passing<'_>) -> Fate {
        match (said, &mut self.rule) {
            (Some(fate), _) => fate,
            (None, Some(rule)) => rule(passing),
            (None, None) => Fate::Arrives,
        }
    }
}

/// Somebody's connection that messages come through.
pub(super) struct Listener<M> {
    pub number: u64,
    queue: mpsc::Sender<M>,
    /// Ends the stream at the listener's side, with all that waits in its queue.
    _connection: oneshot::Sender<()>,
}

/// A queue that had no room.
pub(super) struct Full;

impl<M: Send + 'static> Listener<M> {
    /// A listener, and the stream by which it hears.
    pub fn connect(number: u64) -> (Self, BoxStream<'static, M>) {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let (connection, lost) = oneshot::channel();
        let messages = stream::unfold(messages, |mut messages| async {
            let message = messages.recv().await?;
            Some((message, messages))
        });
        let listener = Self {
            number,
            queue,
            _connection: connection,
        };
        (listener, messages.take_until(lost).boxed())
    }

    /// Whether somebody is still at the other end.
    pub fn is_connected(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Puts a message into the queue.
    pub fn put(&self, message: M) -> Result<(), Full> {
        match self.queue.try_send(message) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Full),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }
}

/// Has `arrive` done as the fate says: not at all, at once, later, or at once and later.
pub(super) fn carry(fate: Fate, arrive: impl Fn() + Send + 'static) {
    match fate {
        Fate::Arrives => arrive(),
        Fate::Lost => {}
        Fate::Late { by_ms } => later(Duration::from_millis(by_ms), arrive),
        Fate::Doubled { after_ms } => {
            arrive();
            later(Duration::from_millis(after_ms), arrive);
        }
    }
}

/// Has something done after this time.
pub(super) fn later(after: Duration, what: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        what();
    });
}

/// The lock of a broker's state; whoever panicked in it left it whole.
pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
