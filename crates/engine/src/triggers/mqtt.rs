//! The MQTT trigger: `handle-message` of the world `spin:mqtt-trigger/spin-mqtt@3.0.0`.
//!
//! As on Spin: each trigger is a client of its own, in a session that ends with its connection; it has one message at a time,
//! which is acknowledged before its component gets it; and what a component answers is only logged. Other than on Spin, a
//! connection that was lost is made again.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use wasmtime::component::{ComponentType, Lift, Lower};

use super::reconnect::{self, Listener};
use crate::Error;
use crate::application::Inner;
use crate::component::Component;
use crate::component::once::{self, Export};
use crate::config::MqttSource;
use crate::ports::{MqttMessage, MqttMessages};

/// What the trigger calls.
const HANDLER: Export = Export {
    interface: None,
    name: "handle-message",
};

/// `spin:mqtt-trigger/spin-mqtt-types.metadata`.
#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Metadata {
    topic: String,
}

/// `spin:mqtt-trigger/spin-mqtt-types.error`.
#[derive(Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum MqttError {
    #[component(name = "other")]
    Other(String),
}

/// One of the application's MQTT triggers, by its place.
struct Subscriber {
    application: Arc<Inner>,
    place: usize,
}

/// Runs every MQTT trigger of the application for as long as it is polled.
pub(crate) async fn run(application: Arc<Inner>) {
    let subscriber = |place| Subscriber {
        application: application.clone(),
        place,
    };
    let subscribers = (0..application.mqtt_triggers.len()).map(subscriber);
    join_all(subscribers.map(reconnect::listen)).await;
}

impl Subscriber {
    fn trigger(&self) -> &crate::application::MqttTrigger {
        &self.application.mqtt_triggers[self.place]
    }
}

#[async_trait]
impl Listener for Subscriber {
    type Message = MqttMessage;

    async fn connect(&self) -> Result<MqttMessages, String> {
        let trigger = self.trigger();
        let network = &self.application.ports.network;
        let MqttSource {
            broker, filter, qos, ..
        } = &trigger.source;
        let messages = network.mqtt_messages(broker.clone(), filter, *qos);
        messages.await.map_err(|error| error.to_string())
    }

    async fn deliver(&self, message: MqttMessage) {
        let component = &self.trigger().component;
        if let Err(error) = deliver(component, message).await {
            self.application
                .log(component.id(), &format!("an MQTT message had no effect: {error}"));
        }
    }

    fn say(&self, line: &str) {
        let trigger = self.trigger();
        self.application.log(
            trigger.component.id(),
            &format!("the MQTT trigger of {}: {line}", trigger.source.filter),
        );
    }
}

/// One message for a component.
pub(crate) async fn deliver(component: &Component, message: MqttMessage) -> Result<(), Error> {
    let MqttMessage { topic, payload } = message;
    let refusal = |MqttError::Other(text)| text;
    once::call(component, HANDLER, (payload, Metadata { topic }), refusal).await
}
