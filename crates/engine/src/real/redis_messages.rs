//! Messages of Redis channels, for the Redis trigger.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::timeout;

use super::limits::{BROKER_CONNECT_TIMEOUT, BROKER_RESPONSE_TIMEOUT, BROKER_SILENCE};
use super::redis::{client, unreachable};
use crate::ports::{RedisError, RedisMessage, RedisMessages};

/// Subscribes to these channels. The stream ends when the connection is lost, or when the server has nothing to say for
/// [`BROKER_SILENCE`] and doesn't answer when it is asked.
pub(super) async fn subscribe(address: &str, channels: &[String]) -> Result<RedisMessages, RedisError> {
    let client = client(address).map_err(|_| RedisError::InvalidAddress)?;
    let (sink, messages) = within(&client, BROKER_CONNECT_TIMEOUT, client.get_async_pubsub())
        .await?
        .split();
    let connection = Connection { sink, messages };
    let subscribed = {
        let mut sink = connection.sink.clone();
        within(&client, BROKER_RESPONSE_TIMEOUT, async move {
            sink.subscribe(channels).await
        })
    };
    subscribed.await?;
    Ok(stream::unfold(connection, next).boxed())
}

async fn within<T>(
    client: &Client,
    limit: Duration,
    work: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, RedisError> {
    match timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(RedisError::Other(unreachable(client, &error))),
        Err(_) => Err(RedisError::Other(format!(
            "the Redis server at {} doesn't answer within {limit:?}",
            client.get_connection_info().addr()
        ))),
    }
}

struct Connection {
    sink: PubSubSink,
    messages: PubSubStream,
}

async fn next(mut connection: Connection) -> Option<(RedisMessage, Connection)> {
    loop {
        let Ok(message) = timeout(BROKER_SILENCE, connection.messages.next()).await else {
            let answer = timeout(BROKER_RESPONSE_TIMEOUT, connection.sink.ping::<redis::Value>());
            answer.await.ok()?.ok()?;
            continue;
        };
        let message = message?;
        let message = RedisMessage {
            channel: message.get_channel_name().to_owned(),
            payload: message.get_payload_bytes().to_vec(),
        };
        return Some((message, connection));
    }
}
