//! Messages of MQTT topics, for the MQTT trigger.

use futures::StreamExt;
use futures::stream;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, Publish, QoS, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::limits::{BROKER_CONNECT_TIMEOUT, BROKER_RESPONSE_TIMEOUT, MQTT_PACKET_BYTES_MAX, MQTT_QUEUE_MAX};
use super::mqtt_client::{self, bound, describe};
use crate::ports::{MqttError, MqttMessage, MqttMessages, MqttOptions, MqttQos};

/// Requests of a client that hears: one subscription.
const REQUESTS_MAX: usize = 1;

/// Subscribes in a session of its own. As on Spin a message is acknowledged when it has come, whatever becomes of it then. The
/// stream ends when the connection is lost, which the keep-alive interval bounds the time to find out. What comes while
/// [`MQTT_QUEUE_MAX`] messages wait for their turn is dropped.
pub(super) async fn subscribe(mut options: MqttOptions, filter: &str, qos: MqttQos) -> Result<MqttMessages, MqttError> {
    if !rumqttc::valid_filter(filter) {
        return Err(MqttError::Other(format!(
            "{filter:?} is no topic filter: + stands for one level, # for all that follow, at the end"
        )));
    }
    if !options.address.contains("client_id=") {
        let separator = if options.address.contains('?') { '&' } else { '?' };
        // Two clients of one name would take turns in throwing each other out.
        options.address += &format!("{separator}client_id=selvedge-{:016x}", rand::random::<u64>());
    }
    let mut options = mqtt_client::options(options)?;
    options.set_max_packet_size(MQTT_PACKET_BYTES_MAX, MQTT_PACKET_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
    bound(&mut events);
    let failed = |error: rumqttc::ClientError| MqttError::Other(error.to_string());
    client.try_subscribe(filter, quality(qos)).map_err(failed)?;
    let (sender, receiver) = mpsc::channel(MQTT_QUEUE_MAX);
    let subscribed = timeout(
        BROKER_CONNECT_TIMEOUT + BROKER_RESPONSE_TIMEOUT,
        until_subscribed(&mut events, &sender),
    );
    match subscribed.await {
        Ok(subscribed) => subscribed?,
        Err(_) => {
            let text = format!("the MQTT broker doesn't acknowledge the subscription to {filter:?} in time");
            return Err(MqttError::ConnectionFailed(text));
        }
    }
    let task = tokio::spawn(follow(events, client, sender)).abort_handle();
    let connection = Connection { receiver, task };
    Ok(stream::unfold(connection, |mut connection| async {
        let message = connection.receiver.recv().await?;
        Some((message, connection))
    })
    .boxed())
}

fn quality(qos: MqttQos) -> QoS {
    match qos {
        MqttQos::AtMostOnce => QoS::AtMostOnce,
        MqttQos::AtLeastOnce => QoS::AtLeastOnce,
        MqttQos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// A subscription that is followed until this is dropped.
struct Connection {
    receiver: mpsc::Receiver<MqttMessage>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until_subscribed(events: &mut EventLoop, sender: &mpsc::Sender<MqttMessage>) -> Result<(), MqttError> {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::SubAck(acknowledgement))) => {
                return match acknowledgement.return_codes.contains(&SubscribeReasonCode::Failure) {
                    false => Ok(()),
                    true => Err(MqttError::Other(
                        "the MQTT broker refuses the subscription: may this user hear the topic?".to_owned(),
                    )),
                };
            }
            Ok(Event::Incoming(Incoming::Publish(message))) => pass_on(sender, message),
            Ok(_) => {}
            Err(error) => return Err(describe(events, &error)),
        }
    }
}

/// Runs the connection until it is lost. The client is held because the event loop ends with it.
async fn follow(mut events: EventLoop, _client: AsyncClient, sender: mpsc::Sender<MqttMessage>) {
    while let Ok(event) = events.poll().await {
        if let Event::Incoming(Incoming::Publish(message)) = event {
            pass_on(&sender, message);
        }
    }
}

fn pass_on(sender: &mpsc::Sender<MqttMessage>, message: Publish) {
    // To wait for room would also stop the pings, and with them the connection.
    _ = sender.try_send(MqttMessage {
        topic: message.topic,
        payload: message.payload.into(),
    });
}

#[cfg(test)]
mod tests;
