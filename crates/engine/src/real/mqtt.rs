//! `spin:mqtt` for components: publishing to an MQTT broker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, Outgoing, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::limits::{BROKER_CONNECT_TIMEOUT, BROKER_RESPONSE_TIMEOUT, MQTT_QUEUE_MAX};
use super::mqtt_client::{self, bound, describe};
use crate::ports::{MqttConnection, MqttError, MqttOptions, MqttQos};

/// A connection to a broker. It connects with the first message, and again with the first one after it was lost; messages
/// that were not acknowledged by then fail, and are not sent again: whoever published them knows, and decides.
pub(super) struct RealMqttConnection {
    options: rumqttc::MqttOptions,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    started: u64,
    current: Option<Session>,
}

/// One connection's life, from its first message to its end.
struct Session {
    client: AsyncClient,
    /// Whom to tell how a message fared, in the order in which messages are handed to the client.
    waiting: mpsc::UnboundedSender<Waiter>,
    task: AbortHandle,
}

type Waiter = oneshot::Sender<Result<(), MqttError>>;

/// Where a message's fate will be told, and the number of the session that it belongs to.
type Published = (oneshot::Receiver<Result<(), MqttError>>, u64);

impl RealMqttConnection {
    /// Checks the address; connects to nothing yet. As on Spin it names the client: `mqtt://host:port?client_id=name`.
    pub(super) fn open(options: MqttOptions) -> Result<Self, MqttError> {
        Ok(Self {
            options: mqtt_client::options(options)?,
            sessions: Mutex::default(),
        })
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to the client, all at once: a caller that is cancelled half-way would leave a waiter without
    /// message, and every later acknowledgement would go to the wrong one.
    fn enqueue(&self, topic: &str, payload: Vec<u8>, qos: QoS) -> Result<Published, MqttError> {
        let mut sessions = self.sessions();
        let Sessions { started, current } = &mut *sessions;
        if current.as_ref().is_some_and(|session| session.waiting.is_closed()) {
            *current = None;
        }
        let session = current.get_or_insert_with(|| {
            *started += 1;
            Session::start(self.options.clone())
        });
        let (waiter, fate) = oneshot::channel();
        if session.waiting.send(waiter).is_err() {
            return Err(lost());
        }
        if let Err(error) = session.client.try_publish(topic, qos, false, payload) {
            *current = None;
            return Err(MqttError::ConnectionFailed(format!(
                "the broker takes no more messages: {error}"
            )));
        }
        Ok((fate, *started))
    }
}

#[async_trait]
impl MqttConnection for RealMqttConnection {
    async fn publish(&self, topic: &str, payload: Vec<u8>, qos: MqttQos) -> Result<(), MqttError> {
        if !rumqttc::valid_topic(topic) {
            return Err(MqttError::Other(format!(
                "{topic:?} is no topic to publish to: it must not hold + or #"
            )));
        }
        let qos = match qos {
            MqttQos::AtMostOnce => QoS::AtMostOnce,
            MqttQos::AtLeastOnce => QoS::AtLeastOnce,
            MqttQos::ExactlyOnce => QoS::ExactlyOnce,
        };
        let (fate, session) = self.enqueue(topic, payload, qos)?;
        if let Ok(fate) = timeout(BROKER_CONNECT_TIMEOUT + BROKER_RESPONSE_TIMEOUT, fate).await {
            return fate.unwrap_or_else(|_| Err(lost()));
        }
        // Messages behind this one would wait as long: the next one connects anew.
        let mut sessions = self.sessions();
        if sessions.started == session {
            sessions.current = None;
        }
        Err(MqttError::ConnectionFailed(
            "the broker doesn't acknowledge messages in time".into(),
        ))
    }
}

fn lost() -> MqttError {
    MqttError::ConnectionFailed("the connection to the broker was lost".into())
}

impl Session {
    fn start(options: rumqttc::MqttOptions) -> Self {
        let (client, mut events) = AsyncClient::new(options, MQTT_QUEUE_MAX);
        bound(&mut events);
        let (waiting, waiters) = mpsc::unbounded_channel();
        let task = tokio::spawn(Acknowledgements::new(waiters).follow(events)).abort_handle();
        Self { client, waiting, task }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Which message is meant by which acknowledgement.
struct Acknowledgements {
    waiters: mpsc::UnboundedReceiver<Waiter>,
    taken: VecDeque<Waiter>,
    by_packet: HashMap<u16, Waiter>,
}

impl Acknowledgements {
    fn new(waiters: mpsc::UnboundedReceiver<Waiter>) -> Self {
        Self {
            waiters,
            taken: VecDeque::new(),
            by_packet: HashMap::new(),
        }
    }

    /// Runs the connection until it fails, and tells everybody who waits.
    async fn follow(mut self, mut events: EventLoop) {
        loop {
            match events.poll().await {
                Ok(event) => self.apply(&event),
                Err(error) => {
                    let reason = describe(&events, &error);
                    self.waiters.close();
                    self.take_all();
                    for waiter in self
                        .taken
                        .drain(..)
                        .chain(self.by_packet.drain().map(|(_, waiter)| waiter))
                    {
                        // Who doesn't listen any more gave up, or was cancelled.
                        let _ = waiter.send(Err(reason.clone()));
                    }
                    return;
                }
            }
        }
    }

    fn take_all(&mut self) {
        while let Ok(waiter) = self.waiters.try_recv() {
            self.taken.push_back(waiter);
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) => {
                self.take_all();
                let Some(waiter) = self.taken.pop_front() else { return };
                if *packet == 0 {
                    // QoS 0: sent is all there is to know.
                    let _ = waiter.send(Ok(()));
                } else {
                    self.by_packet.insert(*packet, waiter);
                }
            }
            Event::Incoming(Incoming::PubAck(acknowledgement)) => self.acknowledge(acknowledgement.pkid),
            Event::Incoming(Incoming::PubComp(acknowledgement)) => self.acknowledge(acknowledgement.pkid),
            _ => {}
        }
    }

    fn acknowledge(&mut self, packet: u16) {
        if let Some(waiter) = self.by_packet.remove(&packet) {
            let _ = waiter.send(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests;
