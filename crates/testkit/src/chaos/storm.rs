//! The faults of a run: what the calls of all nodes and their messages meet until they stop, and peers that are no better.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::simulation::{Fate, Fault, Faults, Peer, When};

/// The longest that anything is late, in milliseconds.
pub(super) const LATE_MS_MAX: u64 = 60_000;
/// How late things are, in milliseconds: within a timeout, beyond a lease, beyond everything.
const LATE_MS: [u64; 6] = [1, 50, 900, 4_000, 12_000, LATE_MS_MAX];

/// How rarely the cron comes after so many ticks without a storm: once in so many.
const SPARSE: [(u64, u64); 3] = [(300, 60), (20, 15), (0, 1)];

/// The faults of a run. Clones are the same storm.
#[derive(Clone)]
pub struct Storm(Arc<Mutex<State>>);

struct State {
    /// One call in this many meets a fault; `None`: no call ever does.
    one_in: Option<u32>,
    left: usize,
    met: usize,
}

impl Storm {
    /// A storm of at most `left` faults.
    pub(super) fn new(chance: &mut StdRng, left: usize) -> Self {
        let one_in = [10, 30, 100, 300, 1_000].choose(chance).copied();
        Self(Arc::new(Mutex::new(State { one_in, left, met: 0 })))
    }

    /// No storm at all.
    pub(super) fn calm() -> Self {
        Self(Arc::new(Mutex::new(State {
            one_in: None,
            left: 0,
            met: 0,
        })))
    }

    /// Whether nothing goes wrong in this run, from its beginning to its end.
    pub fn is_calm(&self) -> bool {
        self.lock().one_in.is_none()
    }

    /// Whether things go wrong just now.
    pub fn rages(&self) -> bool {
        self.lock().left > 0
    }

    /// Lets the calls of a node meet faults, decided by `seed` and the calls' order.
    pub(super) fn rage(&self, faults: &Faults, seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        let state = self.0.clone();
        faults.inject(move |call, _| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.left == 0 || !chance.random_ratio(1, state.one_in?) {
                return None;
            }
            state.left -= 1;
            state.met += 1;
            Some(fault(&mut chance, call.function == "http.send"))
        });
    }

    /// What becomes of a message on its way: one in so many is lost, doubled or late, and counts as a fault that was met.
    pub(super) fn fate(&self, chance: &mut StdRng, one_in: u32) -> Fate {
        let mut state = self.lock();
        if state.left == 0 || !chance.random_ratio(1, one_in) {
            return Fate::Arrives;
        }
        state.left -= 1;
        state.met += 1;
        let ms = *LATE_MS.choose(chance).expect("there are some");
        match chance.random_range(0..3) {
            0 => Fate::Lost,
            1 => Fate::Doubled { after_ms: ms },
            _ => Fate::Late { by_ms: ms },
        }
    }

    /// Which ticks the cron misses: while the storm rages none, some or most, and then those of [`sparse_ticks`].
    pub(super) fn missed_ticks(&self, chance: &mut StdRng) -> impl FnMut() -> bool + Send + use<> {
        let missed_of_ten = *[0, 0, 5, 9].choose(chance).expect("there are some");
        let mut chance = StdRng::seed_from_u64(chance.random());
        let (storm, mut sparse) = (self.clone(), sparse_ticks());
        move || {
            if storm.rages() {
                chance.random_ratio(missed_of_ten, 10)
            } else {
                sparse()
            }
        }
    }

    pub(super) fn stop(&self) {
        self.lock().left = 0;
    }

    pub(super) fn met(&self) -> usize {
        self.lock().met
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Misses most ticks after the first ones. Whoever waits for a timer of a quarter of an hour needs no cron every second, and
/// a run costs as much as its calls.
pub(super) fn sparse_ticks() -> impl FnMut() -> bool + Send {
    let mut ticks = 0_u64;
    move || {
        ticks += 1;
        let every = SPARSE
            .iter()
            .find(|(after, _)| ticks > *after)
            .map_or(1, |(_, every)| *every);
        !ticks.is_multiple_of(every)
    }
}

/// Traps, errors and delays are the commonest in life, and lost nodes the rarest. Only a request can be copied.
fn fault(chance: &mut StdRng, is_request: bool) -> (Fault, When) {
    let late_ms = *LATE_MS.choose(chance).expect("there are some");
    let kinds = [
        (4, Fault::Trap),
        (4, Fault::Fail),
        (4, Fault::Late { by_ms: late_ms }),
        (2, Fault::Hang),
        (1, Fault::NodeLost),
        (1, Fault::ClientGone),
        (if is_request { 4 } else { 0 }, Fault::Copied { after_ms: late_ms }),
    ];
    let (_, kind) = *kinds
        .choose_weighted(chance, |(weight, _)| *weight)
        .expect("the weights are numbers");
    let before = chance.random() || matches!(kind, Fault::Copied { .. });
    (kind, if before { When::Before } else { When::After })
}

/// A peer that does what it is asked for, and while the storm rages as often answers late, with an error, or not at all;
/// having done it or not.
pub struct Unreliable {
    storm: Storm,
    chance: Mutex<StdRng>,
}

impl Unreliable {
    /// A peer whose moods `seed` decides.
    pub fn new(storm: Storm, seed: u64) -> Self {
        let chance = Mutex::new(StdRng::seed_from_u64(seed));
        Self { storm, chance }
    }

    /// What it makes of the next request, and after which time. `None` closes the connection.
    fn mood(&self) -> (u64, Option<StatusCode>) {
        if !self.storm.rages() {
            return (0, Some(StatusCode::OK));
        }
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let late_ms = *LATE_MS.choose(&mut *chance).expect("there are some");
        match chance.random_range(0..10) {
            0 => (late_ms, None),
            1 => (0, Some(StatusCode::SERVICE_UNAVAILABLE)),
            2 => (late_ms, Some(StatusCode::INTERNAL_SERVER_ERROR)),
            3 | 4 => (late_ms, Some(StatusCode::OK)),
            _ => (0, Some(StatusCode::OK)),
        }
    }
}

#[async_trait]
impl Peer for Unreliable {
    async fn answer(&self, _request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (late_ms, status) = self.mood();
        if late_ms > 0 {
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status?;
        Some(response)
    }
}
