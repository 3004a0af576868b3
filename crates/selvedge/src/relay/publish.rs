//! Publishes parcels to message brokers.
//!
//! Where the broker keeps what it takes, its acknowledgement settles an event. Where it may lose it, the event's consumers
//! do ([`settled`]), and the broker is only the way to them.

mod dapr;
pub(super) mod kafka;
mod mqtt;
mod redis;
mod settled;

use futures::future::{Either, select};

use super::parcel::{Delivered, Parcel};
use crate::delivery::Outcome;
use crate::subscription::{Address, Broker};
use crate::{Error, Host};

/// Publishes the events of a parcel, each a structured CloudEvent, and says of each whether it is settled.
///
/// A broker that can't be reached is no event's fault: then all of them are tried again, and together.
pub(super) async fn all(host: &Host, parcel: &Parcel, broker: &Broker, bodies: Vec<Vec<u8>>) -> Delivered {
    let address = &broker.address;
    let count = bodies.len();
    let published = match address {
        Address::RedisChannel { channel } if broker.consumers.is_empty() => {
            let messages = bodies.into_iter().map(|body| (body, 1)).collect();
            acknowledged(
                host,
                parcel,
                address,
                redis::to_channel(host, address, channel, messages),
            )
            .await
        }
        Address::RedisChannel { channel } => {
            let send = |letters| redis::to_channel(host, address, channel, vec![redis::batch(letters)]);
            settled::publish(host, parcel, broker, &bodies, send).await
        }
        Address::RedisStream { stream } => {
            acknowledged(host, parcel, address, redis::to_stream(host, address, stream, bodies)).await
        }
        Address::Mqtt { topic } if broker.consumers.is_empty() => {
            acknowledged(host, parcel, address, mqtt::to_topic(host, address, topic, bodies)).await
        }
        Address::Mqtt { topic } => {
            let send = |letters| mqtt::to_topic(host, address, topic, letters);
            settled::publish(host, parcel, broker, &bodies, send).await
        }
        Address::Dapr { pubsub, topic } => {
            let traces = parcel.items.iter().map(|item| item.trace.clone()).collect();
            let publish = dapr::to_topic(host, address, (pubsub, topic), traces, bodies);
            acknowledged(host, parcel, address, publish).await
        }
        Address::Kafka { topic } => {
            let publish = kafka::to_topic(host, parcel, address, topic, bodies);
            acknowledged(host, parcel, address, publish).await
        }
    };
    published.unwrap_or_else(|error| Delivered::Answered(vec![Outcome::retry(error.to_string()); count]))
}

/// Asks the broker of an address whether it is there. How long that may take is the caller's to say.
pub(crate) async fn check(host: &Host, address: &Address) -> Result<(), Error> {
    match address {
        Address::RedisChannel { .. } | Address::RedisStream { .. } => redis::check(host).await,
        Address::Mqtt { .. } => mqtt::check(host).await,
        Address::Dapr { .. } => dapr::check(host, address).await,
        Address::Kafka { .. } => kafka::check(host, address).await,
    }
}

/// What the broker's acknowledgements say.
async fn acknowledged(
    host: &Host,
    parcel: &Parcel,
    address: &Address,
    publish: impl Future<Output = Result<Vec<Outcome>, Error>>,
) -> Result<Delivered, Error> {
    within(host, parcel, address, publish)
        .await
        .flatten()
        .map(Delivered::Answered)
}

/// Gives up on the broker when a delivery of the subscription may take no longer.
async fn within<T>(
    host: &Host,
    parcel: &Parcel,
    address: &Address,
    publish: impl Future<Output = T>,
) -> Result<T, Error> {
    let timeout_ms = parcel.subscription.timeout_ms;
    match select(std::pin::pin!(publish), host.wait(timeout_ms)).await {
        Either::Left((published, _)) => Ok(published),
        Either::Right(_) => Err(Error::Broker {
            address: address.to_string(),
            reason: format!("the broker gave no answer within {timeout_ms} ms: look whether it is well"),
        }),
    }
}
