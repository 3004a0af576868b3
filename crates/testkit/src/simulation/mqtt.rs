//! An MQTT broker: it acknowledges what it takes, and brings it to those whose topic filters fit just then.
//!
//! Every session is a clean one, as those of Spin's trigger are: what is published while its connection is lost is lost for it.
//! A shared subscription (`$share/<group>/<filter>`) gives each message to one of its group, in turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use selvedge_engine::ports::{MqttConnection, MqttError, MqttMessage, MqttMessages, MqttOptions, MqttQos};

use super::broker::{Fates, Listener, Passing, carry, later, lock};

const SHARED: &str = "$share/";

/// The only MQTT broker of a world, whatever address it is reached by. It runs from the start.
#[derive(Clone, Default)]
pub struct SimulatedMqtt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_stopped: bool,
    connected: u64,
    published: usize,
    listeners: Vec<(String, Listener<MqttMessage>)>,
    /// How many messages each shared subscription got.
    turns: BTreeMap<String, usize>,
    fates: Fates,
}

impl SimulatedMqtt {
    /// Stops it: all connections are lost, and all sessions with them.
    pub fn stop(&self) {
        let mut state = lock(&self.0);
        state.is_stopped = true;
        state.listeners.clear();
    }

    /// Starts it again. Nobody listens until they have connected anew.
    pub fn start(&self) {
        lock(&self.0).is_stopped = false;
    }

    /// Stops it, and starts it again after this time.
    pub fn restart(&self, after: Duration) {
        self.stop();
        let broker = self.clone();
        later(after, move || broker.start());
    }

    /// Changes what becomes of messages on their way to listeners. Nothing else may be asked of it meanwhile.
    pub fn fates<T>(&self, change: impl FnOnce(&mut Fates) -> T) -> T {
        change(&mut lock(&self.0).fates)
    }

    /// How many messages were published so far, heard or not.
    pub fn published(&self) -> usize {
        lock(&self.0).published
    }

    /// How many listen with this filter just now.
    pub fn listeners(&self, filter: &str) -> usize {
        let state = lock(&self.0);
        let hears = |(heard, listener): &&(String, Listener<MqttMessage>)| heard == filter && listener.is_connected();
        state.listeners.iter().filter(hears).count()
    }

    pub(super) fn connect(&self, options: &MqttOptions) -> Result<Arc<dyn MqttConnection>, MqttError> {
        let server = server(&options.address)?.to_owned();
        Ok(Arc::new(Connection {
            broker: self.clone(),
            server,
        }))
    }

    pub(super) fn subscribe(&self, options: &MqttOptions, filter: &str) -> Result<MqttMessages, MqttError> {
        if !rumqttc::valid_filter(filter) {
            return Err(MqttError::Other(format!(
                "{filter:?} is no topic filter: + stands for one level, # for all that follow, at the end"
            )));
        }
        self.reach(server(&options.address)?)?;
        let mut state = lock(&self.0);
        state.connected += 1;
        let (listener, messages) = Listener::connect(state.connected);
        state.listeners.push((filter.to_owned(), listener));
        Ok(messages)
    }

    fn reach(&self, server: &str) -> Result<(), MqttError> {
        match lock(&self.0).is_stopped {
            false => Ok(()),
            true => Err(MqttError::ConnectionFailed(format!(
                "the MQTT broker at {server} can't be reached: I/O: Connection refused"
            ))),
        }
    }

    fn publish(&self, topic: &str, payload: &[u8]) {
        let mut state = lock(&self.0);
        state.listeners.retain(|(_, listener)| listener.is_connected());
        let number = state.published;
        state.published += 1;
        let hearing = state.hearing(topic);
        let said = state.fates.take_next();
        let fate = |listener| {
            let passing = Passing {
                number,
                channel: topic,
                payload,
                listener,
            };
            (listener, state.fates.of(said, &passing))
        };
        let fates: Vec<_> = hearing.into_iter().map(fate).collect();
        drop(state);
        for (listener, fate) in fates {
            let (broker, message) = (
                self.clone(),
                MqttMessage {
                    topic: topic.to_owned(),
                    payload: payload.to_vec(),
                },
            );
            carry(fate, move || broker.arrive(listener, &message));
        }
    }

    /// A message arrives, if its listener is still connected and has room for it.
    fn arrive(&self, listener: u64, message: &MqttMessage) {
        let state = lock(&self.0);
        if let Some((_, listener)) = state.listeners.iter().find(|(_, other)| other.number == listener) {
            _ = listener.put(message.clone());
        }
    }
}

impl State {
    /// Who gets a message of this topic: everybody whose filter fits, and of a shared subscription the one whose turn it is.
    fn hearing(&mut self, topic: &str) -> Vec<u64> {
        let mut hearing = Vec::new();
        let mut groups: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (filter, listener) in &self.listeners {
            let shared = filter.strip_prefix(SHARED).and_then(|shared| shared.split_once('/'));
            let fits = shared.map_or(&**filter, |(_, filter)| filter);
            if !rumqttc::matches(topic, fits) {
                continue;
            }
            match shared {
                None => hearing.push(listener.number),
                Some(_) => groups.entry(filter).or_default().push(listener.number),
            }
        }
        for (group, members) in groups {
            let turn = self.turns.entry(group.to_owned()).or_default();
            hearing.push(members[*turn % members.len()]);
            *turn += 1;
        }
        hearing
    }
}

/// Host and port of an address.
fn server(address: &str) -> Result<&str, MqttError> {
    let schemes = ["mqtt://", "mqtts://", "tcp://", "ssl://"];
    let server = schemes.iter().find_map(|scheme| address.strip_prefix(scheme));
    let server = server.and_then(|rest| rest.split(['?', '/']).next());
    server
        .filter(|server| !server.is_empty())
        .ok_or(MqttError::InvalidAddress)
}

/// As the real one it connects when something is published, so it outlasts the broker's restart.
struct Connection {
    broker: SimulatedMqtt,
    server: String,
}

#[async_trait]
impl MqttConnection for Connection {
    async fn publish(&self, topic: &str, payload: Vec<u8>, _qos: MqttQos) -> Result<(), MqttError> {
        if !rumqttc::valid_topic(topic) {
            return Err(MqttError::Other(format!(
                "{topic:?} is no topic to publish to: it must not hold + or #"
            )));
        }
        self.broker.reach(&self.server)?;
        self.broker.publish(topic, &payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
