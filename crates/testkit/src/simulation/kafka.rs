//! A Kafka cluster of one broker: topics that keep what was written, and the offsets of groups.
//!
//! It hears Kafka's protocol from components' own sockets, and has what our client asks for. Topics are made when they are first asked for.
//! A batch of an idempotent producer that comes again isn't written again. It loses nothing that it acknowledged, as a real one doesn't
//! with `acks=all`; what is lost are connections, with the answers that were on their way.

mod log;
mod requests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use selvedge_engine::ports::{TcpConnection, TcpError, TcpNetwork};
use selvedge_events::kafka_binding;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::log::Log;
use self::requests::Answer;
use super::broker::{later, lock};

/// Where it listens.
pub const ADDRESS: &str = "127.0.0.1:9092";

/// The only Kafka broker of a world. It runs from the start.
#[derive(Clone, Default)]
pub struct SimulatedKafka(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Records were written, or connections were lost.
    changed: Notify,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    /// How often it was stopped: connections from before are lost.
    stops: u64,
    written: usize,
    log: Log,
}

impl SimulatedKafka {
    /// Stops it: all connections are lost. Topics and offsets outlast it.
    pub fn stop(&self) {
        let mut state = lock(&self.0.state);
        state.is_stopped = true;
        state.stops += 1;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Starts it again.
    pub fn start(&self) {
        lock(&self.0.state).is_stopped = false;
    }

    /// Stops it, and starts it again after this time.
    pub fn restart(&self, after: Duration) {
        self.stop();
        let broker = self.clone();
        later(after, move || broker.start());
    }

    /// How many records were written so far, to all topics.
    pub fn written(&self) -> usize {
        lock(&self.0.state).written
    }

    /// The groups that aren't at their topic's end: group, topic, and how many records they haven't committed. A group is known once it
    /// has committed where it begins.
    pub fn behind(&self) -> Vec<(String, String, i64)> {
        let state = lock(&self.0.state);
        let lags = state.log.lags().into_iter().filter(|(_, lag)| *lag != 0);
        lags.map(|((group, topic), lag)| (group.to_owned(), topic.to_owned(), lag))
            .collect()
    }

    /// The groups that read a topic.
    pub fn groups(&self, topic: &str) -> Vec<String> {
        let state = lock(&self.0.state);
        let groups = state.log.lags().into_keys().filter(|(_, read)| *read == topic);
        groups.map(|(group, _)| group.to_owned()).collect()
    }

    /// What another consumer reads in a topic: its records, partition by partition, each in their order.
    ///
    /// # Panics
    /// Where a batch can't be read.
    pub fn records(&self, topic: &str) -> Vec<kafka_binding::Record> {
        let mut state = lock(&self.0.state);
        let partitions = state.log.topic(topic).iter();
        let read = partitions.filter_map(|partition| partition.read(0, usize::MAX));
        let read = read.map(|mut batches| requests::records(&mut batches).expect("the batches can be read"));
        read.flatten().collect()
    }

    /// Writes a record, as another producer does.
    ///
    /// # Panics
    /// Where the record can't be encoded.
    pub fn write(&self, topic: &str, partition: i32, record: &kafka_binding::Record) {
        let mut state = lock(&self.0.state);
        let producer = state.log.new_producer();
        let batch = requests::batch(producer, record).expect("the record can be encoded");
        state.log.topic(topic);
        let partition = state
            .log
            .partition(topic, partition)
            .expect("the topic has the partition");
        partition.append(&batch).expect("a new producer's first batch is taken");
        state.written += 1;
        drop(state);
        self.0.changed.notify_waiters();
    }
}

#[async_trait]
impl TcpNetwork for SimulatedKafka {
    async fn connect(&self, address: SocketAddr) -> Result<Arc<dyn TcpConnection>, TcpError> {
        let state = lock(&self.0.state);
        if state.is_stopped || address.to_string() != ADDRESS {
            return Err(TcpError::ConnectionRefused);
        }
        Ok(Arc::new(Connection {
            broker: self.clone(),
            stops: state.stops,
            talk: Mutex::default(),
        }))
    }
}

struct Connection {
    broker: SimulatedKafka,
    stops: u64,
    talk: Mutex<Talk>,
}

/// What was said on a connection.
#[derive(Default)]
struct Talk {
    arrived: BytesMut,
    answers: VecDeque<Answer>,
    /// The broker has closed it: what arrived was no request.
    is_closed: bool,
}

impl Connection {
    fn is_lost(&self) -> bool {
        let state = lock(&self.broker.0.state);
        state.is_stopped || state.stops != self.stops
    }

    /// The next answer, when it can be given; until when it may wait.
    fn next(&self) -> Result<Bytes, Option<Instant>> {
        let mut talk = lock(&self.talk);
        if talk.is_closed && talk.answers.is_empty() {
            return Ok(Bytes::new());
        }
        let ready = match talk.answers.front_mut() {
            None => return Err(None),
            Some(Answer::Ready(bytes)) => std::mem::take(bytes),
            Some(Answer::Records { asked, until }) => {
                let state = &mut *lock(&self.broker.0.state);
                match asked.answer(&mut state.log, Instant::now() >= *until) {
                    Some(bytes) => bytes,
                    None => return Err(Some(*until)),
                }
            }
        };
        talk.answers.pop_front();
        Ok(ready)
    }
}

#[async_trait]
impl TcpConnection for Connection {
    async fn send(&self, bytes: Bytes) -> Result<(), TcpError> {
        if self.is_lost() {
            return Err(TcpError::ConnectionReset);
        }
        let mut talk = lock(&self.talk);
        talk.arrived.extend_from_slice(&bytes);
        while let Some(length) = talk.arrived.get(..4).map(|mut length| length.get_u32() as usize)
            && talk.arrived.len() >= 4 + length
        {
            talk.arrived.advance(4);
            let request = talk.arrived.split_to(length).freeze();
            let state = &mut *lock(&self.broker.0.state);
            match requests::take(&mut state.log, &mut state.written, request) {
                Ok(answer) => talk.answers.push_back(answer),
                Err(error) => {
                    eprintln!("warning: the simulated Kafka broker closes a connection: {error:#}");
                    talk.is_closed = true;
                }
            }
        }
        drop(talk);
        self.broker.0.changed.notify_waiters();
        Ok(())
    }

    async fn receive(&self) -> Result<Bytes, TcpError> {
        loop {
            let changed = self.broker.0.changed.notified();
            if self.is_lost() {
                return Err(TcpError::ConnectionReset);
            }
            match self.next() {
                Ok(answer) => return Ok(answer),
                Err(None) => changed.await,
                Err(Some(until)) => _ = tokio::time::timeout_at(until, changed).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
