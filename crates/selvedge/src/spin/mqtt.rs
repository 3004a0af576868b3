//! Messages through `spin:mqtt`.

use futures::future::try_join_all;
use spin_sdk::mqtt::{Connection, Error as MqttError, Qos};
use spin_sdk::wasip3::random::random::get_random_u64;

use crate::host::{MqttBroker, MqttMessage};
use crate::{Error, limits};

/// How long a connection may be silent, in seconds. It doesn't live that long.
const KEEP_ALIVE_S: u64 = 30;

/// Over a connection of its own: a host tends to one only while something is published, so it wouldn't be there any more by
/// the next time.
pub(super) async fn publish(broker: MqttBroker, messages: Vec<MqttMessage>) -> Result<(), Error> {
    let MqttBroker {
        url,
        username,
        password,
    } = broker;
    let unreachable = |error| unreachable(&password, error);
    let connection = Connection::open(address(&url), &username, &password, KEEP_ALIVE_S);
    let connection = connection.await.map_err(unreachable)?;
    let published = messages
        .into_iter()
        .map(|message| connection.publish(message.topic, message.payload, Qos::AtLeastOnce));
    try_join_all(published).await.map(drop).map_err(unreachable)
}

/// The URL with what Spin takes in it: the client's name, which no two of them may share, and packets that events fit into.
fn address(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    let (bytes, name) = (limits::MQTT_PACKET_BYTES_MAX, get_random_u64());
    format!(
        "{url}{separator}client_id=selvedge-{name:016x}&max_incoming_packet_size_bytes={bytes}\
         &max_outgoing_packet_size_bytes={bytes}"
    )
}

fn unreachable(password: &str, error: MqttError) -> Error {
    let detail = match error {
        MqttError::InvalidAddress => {
            return Error::Configuration {
                name: "the MQTT broker's URL".to_owned(),
                reason: "isn't `mqtt://host[:port]` (or `mqtts://…`), or the component may not use it: add it to the component's \
                         allowed_outbound_hosts in spin.toml"
                    .to_owned(),
            };
        }
        MqttError::ConnectionFailed(detail) | MqttError::Other(detail) => detail,
        MqttError::TooManyConnections => "the component has too many connections open".to_owned(),
    };
    let detail = match password {
        "" => detail,
        password => detail.replace(password, "***"),
    };
    let target = "the MQTT broker".to_owned();
    Error::Unreachable { target, detail }
}
