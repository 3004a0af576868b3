//! MQTT: a message for each event, a structured CloudEvent at QoS 1, as the CloudEvents binding for MQTT has it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::delivery::Outcome;
use crate::host::{MqttBroker, MqttMessage};
use crate::subscription::Address;
use crate::{Error, Host, limits};

/// The variables with the broker's URL, and with whom it is reached as.
const URL: &str = "mqtt_url";
const USERNAME: &str = "mqtt_username";
const PASSWORD: &str = "mqtt_password";

/// What stands in a subscription's topic for the event's type.
const TYPE: &str = "{type}";
/// Where nobody need listen: a message here shows that the broker takes messages.
const HEALTH_TOPIC: &str = "selvedge/health";

/// Publishes each event and says what became of it. The broker's acknowledgement says that it took a message, not that anybody
/// heard it.
pub(super) async fn to_topic(
    host: &Host,
    address: &Address,
    topic: &str,
    bodies: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    let (mut outcomes, mut messages) = (Vec::with_capacity(bodies.len()), Vec::with_capacity(bodies.len()));
    for payload in bodies {
        let topic = topic_of(topic, &event_type(&payload));
        if is_publishable(&topic) {
            outcomes.push(Outcome::Success);
            messages.push(MqttMessage { topic, payload });
        } else {
            outcomes.push(Outcome::drop(format!(
                "{address}: the event's type makes the topic {topic:?}, and a topic must not hold `+`, `#`, or begin with `$`"
            )));
        }
    }
    if !messages.is_empty() {
        publish(host, messages).await.map_err(|error| match error {
            Error::Configuration { .. } => error,
            error => Error::Broker {
                address: address.to_string(),
                reason: trouble(error),
            },
        })?;
    }
    Ok(outcomes)
}

/// Asks the broker whether it takes messages.
pub(super) async fn check(host: &Host) -> Result<(), Error> {
    let message = MqttMessage {
        topic: HEALTH_TOPIC.to_owned(),
        payload: Vec::new(),
    };
    publish(host, vec![message]).await.map_err(|error| match error {
        Error::Configuration { .. } => error,
        error => Error::Broker {
            address: "mqtt".to_owned(),
            reason: trouble(error),
        },
    })
}

async fn publish(host: &Host, messages: Vec<MqttMessage>) -> Result<(), Error> {
    let url = host.variable(URL).await?.unwrap_or_default();
    if url.is_empty() || url.contains('@') {
        return Err(Error::Configuration {
            name: format!("the variable {URL}"),
            reason: format!(
                "must be the broker's URL, mqtt://host[:port] or mqtts://host[:port]; user and password are {USERNAME} and \
                 {PASSWORD}. Set it, and give it to the component"
            ),
        });
    }
    let broker = MqttBroker {
        url,
        username: host.variable(USERNAME).await?.unwrap_or_default(),
        password: host.variable(PASSWORD).await?.unwrap_or_default(),
    };
    host.mqtt(&broker, messages).await
}

/// The topic of an event: dots become slashes, so that whoever listens can use wildcards.
fn topic_of(pattern: &str, event_type: &str) -> String {
    pattern.replace(TYPE, event_type).replace('.', "/")
}

fn is_publishable(topic: &str) -> bool {
    (1..=limits::MQTT_TOPIC_BYTES_MAX).contains(&topic.len())
        && !topic.starts_with('$')
        && !topic.contains(['+', '#', '\0'])
}

fn event_type(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Typed<'b> {
        #[serde(borrow, rename = "type")]
        event_type: Cow<'b, str>,
    }
    let typed: Typed<'_> = serde_json::from_slice(body).expect("the relay wrote a CloudEvent");
    typed.event_type.into_owned()
}

/// Why nothing was published. The embedded engine's own words name the broker.
fn trouble(error: Error) -> String {
    match error {
        Error::Unreachable { detail, .. } if detail.starts_with("the MQTT broker") => refusal(&detail),
        other => refusal(&other.to_string()),
    }
}

/// What the broker or the host said, and what to do where that is known.
fn refusal(detail: &str) -> String {
    let is_about_password = ["BadUserNamePassword", "NotAuthorized"]
        .iter()
        .any(|word| detail.contains(word));
    if is_about_password {
        format!("{detail}: check the variables {USERNAME} and {PASSWORD}")
    } else {
        detail.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_become_slashes() {
        for (pattern, topic) in [
            ("todos/task/created", "todos/task/created"),
            ("todos.task.created", "todos/task/created"),
            ("{type}", "orders/order/placed"),
            ("shop/{type}", "shop/orders/order/placed"),
        ] {
            assert_eq!(topic_of(pattern, "orders.order.placed"), topic);
        }
    }

    #[test]
    fn only_a_topic_that_a_broker_takes_is_published_to() {
        assert!(is_publishable("todos/task/created") && is_publishable("a"));
        for topic in ["", "a/+", "#", "$SYS/x", "a\0b"] {
            assert!(!is_publishable(topic), "{topic:?}");
        }
        assert!(!is_publishable(&"a".repeat(limits::MQTT_TOPIC_BYTES_MAX + 1)));
    }

    #[test]
    fn the_type_is_read_as_json_writes_it() {
        assert_eq!(
            event_type(br#"{"specversion":"1.0","id":"1","type":"a.b\u002ec"}"#),
            "a.b.c"
        );
    }

    #[test]
    fn a_refused_password_names_the_variables() {
        assert!(refusal("doesn't know this user and password (NotAuthorized)").contains(PASSWORD));
        assert_eq!(refusal("Connection refused"), "Connection refused");
    }
}
