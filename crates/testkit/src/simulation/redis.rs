//! A Redis server: channels, which reach whoever listens just now, and streams, which keep their newest entries.
//!
//! It has the commands that the relay sends, and those by which a test looks. All else it refuses as a real server does that
//! doesn't know a command.

mod streams;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use redis::IntoConnectionInfo;
use selvedge_engine::ports::{RedisConnection, RedisError, RedisMessage, RedisMessages, RedisParameter, RedisValue};

pub use self::streams::Entry;
use self::streams::Streams;
use super::broker::{Fates, Listener, Passing, carry, later, lock};
use super::clock::SimulatedClock;

/// The only Redis server of a world, whatever address it is reached by. It runs from the start.
#[derive(Clone)]
pub struct SimulatedRedis {
    clock: Arc<SimulatedClock>,
    state: Arc<Mutex<State>>,
}

struct State {
    runs: bool,
    /// How often it was stopped: connections from before are lost.
    stops: u64,
    connected: u64,
    published: usize,
    listeners: Vec<(Vec<String>, Listener<RedisMessage>)>,
    streams: Streams,
    fates: Fates,
}

impl SimulatedRedis {
    pub(super) fn new(clock: Arc<SimulatedClock>) -> Self {
        let state = State {
            runs: true,
            stops: 0,
            connected: 0,
            published: 0,
            listeners: Vec::new(),
            streams: Streams::default(),
            fates: Fates::default(),
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Stops it: all connections are lost, with what is under way. Streams outlast it, as with an append-only file.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.runs = false;
        state.stops += 1;
        state.listeners.clear();
    }

    /// Starts it again. Nobody listens until they have connected anew.
    pub fn start(&self) {
        lock(&self.state).runs = true;
    }

    /// Stops it, and starts it again after this time.
    pub fn restart(&self, after: Duration) {
        self.stop();
        let server = self.clone();
        later(after, move || server.start());
    }

    /// Changes what becomes of messages on their way to listeners. Nothing else may be asked of it meanwhile.
    pub fn fates<T>(&self, change: impl FnOnce(&mut Fates) -> T) -> T {
        change(&mut lock(&self.state).fates)
    }

    /// How many messages were published so far, heard or not.
    pub fn published(&self) -> usize {
        lock(&self.state).published
    }

    /// How many listen to a channel just now.
    pub fn listeners(&self, channel: &str) -> usize {
        lock(&self.state).hearing(channel).count()
    }

    /// The entries of a stream, oldest first.
    pub fn entries(&self, stream: &str) -> Vec<Entry> {
        lock(&self.state).streams.entries(stream).to_vec()
    }

    pub(super) fn connect(&self, address: &str) -> Result<Arc<dyn RedisConnection>, RedisError> {
        let stops = self.reach(address)?;
        Ok(Arc::new(Connection {
            server: self.clone(),
            stops,
        }))
    }

    pub(super) fn subscribe(&self, address: &str, channels: &[String]) -> Result<RedisMessages, RedisError> {
        self.reach(address)?;
        let mut state = lock(&self.state);
        state.connected += 1;
        let (listener, messages) = Listener::connect(state.connected);
        state.listeners.push((channels.to_vec(), listener));
        Ok(messages)
    }

    /// Whether the server can be reached at an address; says which of its lives it is.
    fn reach(&self, address: &str) -> Result<u64, RedisError> {
        let server = address.into_connection_info().map_err(|_| RedisError::InvalidAddress)?;
        let state = lock(&self.state);
        if state.runs {
            return Ok(state.stops);
        }
        Err(RedisError::Other(format!(
            "the Redis server at {} can't be reached: Connection refused",
            server.addr()
        )))
    }

    /// Brings a message to everybody who listens just now; says how many they are. Whether they got it nobody knows.
    fn publish(&self, channel: &str, payload: &[u8]) -> usize {
        let mut state = lock(&self.state);
        state.listeners.retain(|(_, listener)| listener.is_connected());
        let number = state.published;
        state.published += 1;
        let hearing: Vec<u64> = state.hearing(channel).collect();
        let said = state.fates.take_next();
        let fate = |listener: &u64| {
            let passing = Passing {
                number,
                channel,
                payload,
                listener: *listener,
            };
            (*listener, state.fates.of(said, &passing))
        };
        let fates: Vec<_> = hearing.iter().map(fate).collect();
        drop(state);
        for (listener, fate) in fates {
            let (server, message) = (
                self.clone(),
                RedisMessage {
                    channel: channel.to_owned(),
                    payload: payload.to_vec(),
                },
            );
            carry(fate, move || server.arrive(listener, &message));
        }
        hearing.len()
    }

    /// A message arrives, if its listener is still connected. One whose queue is full is thrown out.
    fn arrive(&self, listener: u64, message: &RedisMessage) {
        let mut state = lock(&self.state);
        let Some(place) = state.listeners.iter().position(|(_, other)| other.number == listener) else {
            return;
        };
        if state.listeners[place].1.put(message.clone()).is_err() {
            state.listeners.remove(place);
        }
    }

    fn run(&self, command: &str, arguments: &[Vec<u8>]) -> Result<Vec<RedisValue>, RedisError> {
        let count = |count: usize| vec![RedisValue::Int64(i64::try_from(count).unwrap_or(i64::MAX))];
        match (&*command.to_ascii_uppercase(), arguments) {
            ("PING", []) => Ok(vec![RedisValue::Status("PONG".to_owned())]),
            ("PUBLISH", [channel, payload]) => Ok(count(self.publish(&text(channel), payload))),
            ("XADD", [stream, arguments @ ..]) => {
                let now_ms = self.clock.now_ms();
                let added = lock(&self.state).streams.add(&text(stream), arguments, now_ms);
                added
                    .map(|id| vec![RedisValue::Binary(id.into_bytes())])
                    .map_err(refused)
            }
            ("XLEN", [stream]) => Ok(count(lock(&self.state).streams.entries(&text(stream)).len())),
            ("XRANGE", [stream, start, end]) if **start == *b"-" && **end == *b"+" => {
                let state = lock(&self.state);
                let entries = state.streams.entries(&text(stream));
                Ok(entries.iter().flat_map(Entry::flattened).collect())
            }
            _ => Err(refused(format!("ERR unknown command '{command}', or not in this form"))),
        }
    }
}

impl State {
    /// The numbers of those who listen to a channel.
    fn hearing<'s>(&'s self, channel: &'s str) -> impl Iterator<Item = u64> + 's {
        let hears = move |(channels, listener): &&(Vec<String>, Listener<RedisMessage>)| {
            listener.is_connected() && channels.iter().any(|heard| heard == channel)
        };
        self.listeners.iter().filter(hears).map(|(_, listener)| listener.number)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(reason: String) -> RedisError {
    RedisError::Other(format!(
        "An error was signalled by the server - ResponseError: {reason}"
    ))
}

struct Connection {
    server: SimulatedRedis,
    stops: u64,
}

#[async_trait]
impl RedisConnection for Connection {
    async fn execute(&self, command: &str, arguments: Vec<RedisParameter>) -> Result<Vec<RedisValue>, RedisError> {
        let is_lost = {
            let state = lock(&self.server.state);
            !state.runs || state.stops != self.stops
        };
        if is_lost {
            return Err(RedisError::Other("broken pipe".to_owned()));
        }
        let arguments: Vec<_> = arguments
            .into_iter()
            .map(|argument| match argument {
                RedisParameter::Int64(number) => number.to_string().into_bytes(),
                RedisParameter::Binary(bytes) => bytes,
            })
            .collect();
        self.server.run(command, &arguments)
    }
}

#[cfg(test)]
mod tests;
