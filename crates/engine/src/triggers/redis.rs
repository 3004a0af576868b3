//! The Redis trigger: `spin:redis/inbound-redis@3.0.0`.
//!
//! As on Spin: a component hears a channel by SUBSCRIBE, so what is published while nobody listens is lost; there is one message
//! at a time per server, whoever it is for; and what a component answers is only logged. Other than on Spin, a connection that
//! was lost is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;

use super::reconnect::{self, Listener};
use crate::Error;
use crate::application::Inner;
use crate::bindings::spin::redis::redis::Error as GuestError;
use crate::component::Component;
use crate::component::once::{self, Export};
use crate::ports::{RedisMessage, RedisMessages};

/// What the trigger calls.
const HANDLER: Export = Export {
    interface: Some("spin:redis/inbound-redis@3.0.0"),
    name: "handle-message",
};

/// A server, and who hears which of its channels.
struct Server {
    application: Arc<Inner>,
    address: String,
    channels: BTreeMap<String, Vec<Arc<Component>>>,
}

/// Runs every Redis trigger of the application for as long as it is polled.
pub(crate) async fn run(application: Arc<Inner>) {
    join_all(servers(&application).into_values().map(reconnect::listen)).await;
}

/// One connection for each address.
fn servers(application: &Arc<Inner>) -> BTreeMap<String, Server> {
    let mut servers: BTreeMap<String, Server> = BTreeMap::new();
    for trigger in &application.redis_triggers {
        let server = servers.entry(trigger.source.address.clone()).or_insert_with(|| Server {
            application: application.clone(),
            address: trigger.source.address.clone(),
            channels: BTreeMap::new(),
        });
        let hearing = server.channels.entry(trigger.source.channel.clone()).or_default();
        hearing.push(trigger.component.clone());
    }
    servers
}

#[async_trait]
impl Listener for Server {
    type Message = RedisMessage;

    async fn connect(&self) -> Result<RedisMessages, String> {
        let channels: Vec<String> = self.channels.keys().cloned().collect();
        let network = &self.application.ports.network;
        let messages = network.redis_messages(&self.address, &channels).await;
        messages.map_err(|error| error.to_string())
    }

    async fn deliver(&self, message: RedisMessage) {
        let hearing = self.channels.get(&message.channel).into_iter().flatten();
        let delivering = hearing.map(|component| async {
            if let Err(error) = deliver(component, message.payload.clone()).await {
                self.application
                    .log(component.id(), &format!("a Redis message had no effect: {error}"));
            }
        });
        join_all(delivering).await;
    }

    fn say(&self, line: &str) {
        let hearing: BTreeSet<&str> = self
            .channels
            .values()
            .flatten()
            .map(|component| component.id())
            .collect();
        for component in hearing {
            self.application.log(component, &format!("the Redis trigger: {line}"));
        }
    }
}

/// One message for a component.
pub(crate) async fn deliver(component: &Component, payload: Vec<u8>) -> Result<(), Error> {
    let refusal = |error| match error {
        GuestError::Other(text) => text,
        error => error.to_string(),
    };
    once::call(component, HANDLER, (payload,), refusal).await
}
