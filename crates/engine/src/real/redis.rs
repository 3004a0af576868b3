//! `spin:redis` for components: commands to a Redis server.
//!
//! As on Spin, each opened connection is one of its own, so that what Redis keeps per connection (MULTI, WATCH, SELECT, a
//! BLPOP that waits) is not mixed with another component's.

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates, Value};

use super::limits::{BROKER_CONNECT_TIMEOUT, REDIS_COMMAND_TIMEOUT, RESULT_BYTES_MAX};
use super::trust::own_certificates;
use crate::ports::{RedisConnection, RedisError, RedisParameter, RedisValue};

/// A connection to a Redis server.
pub(super) struct RealRedisConnection {
    connection: MultiplexedConnection,
}

impl RealRedisConnection {
    /// Connects within [`BROKER_CONNECT_TIMEOUT`].
    pub(super) async fn open(address: &str) -> Result<Self, RedisError> {
        let client = client(address).map_err(|_| RedisError::InvalidAddress)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(BROKER_CONNECT_TIMEOUT))
            .set_response_timeout(Some(REDIS_COMMAND_TIMEOUT));
        match client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => Ok(Self { connection }),
            Err(error) => Err(RedisError::Other(unreachable(&client, &error))),
        }
    }
}

/// A client for a `redis://` or `rediss://` URL.
pub(super) fn client(address: &str) -> Result<Client, redis::RedisError> {
    let server = address.into_connection_info()?;
    let uses_tls = matches!(server.addr(), ConnectionAddr::TcpTls { .. });
    match own_certificates().filter(|_| uses_tls) {
        Some(certificates) => {
            let trusted = TlsCertificates {
                client_tls: None,
                root_cert: Some(certificates),
            };
            Client::build_with_tls(server, trusted)
        }
        None => Client::open(server),
    }
}

/// What an operator is told: the server's name without the password that its URL may hold.
pub(super) fn unreachable(client: &Client, error: &redis::RedisError) -> String {
    format!(
        "the Redis server at {} can't be reached: {error}",
        client.get_connection_info().addr()
    )
}

#[async_trait]
impl RedisConnection for RealRedisConnection {
    async fn execute(&self, command: &str, arguments: Vec<RedisParameter>) -> Result<Vec<RedisValue>, RedisError> {
        let mut request = redis::cmd(command);
        for argument in &arguments {
            match argument {
                RedisParameter::Int64(number) => request.arg(number),
                RedisParameter::Binary(bytes) => request.arg(bytes),
            };
        }
        let answer: Value = request
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| RedisError::Other(error.to_string()))?;
        let mut values = Vec::new();
        flatten(answer, &mut values)?;
        let bytes: usize = values.iter().map(size_of).sum();
        if bytes > RESULT_BYTES_MAX {
            return Err(RedisError::Other(format!(
                "query result exceeds limit of {RESULT_BYTES_MAX} bytes"
            )));
        }
        Ok(values)
    }
}

/// Appends an answer, and what is nested in it, in its order. The cases are Spin's.
fn flatten(answer: Value, values: &mut Vec<RedisValue>) -> Result<(), RedisError> {
    let unsupported = |kind: &str| Err(RedisError::Other(format!("Redis {kind} type is not supported")));
    values.push(match answer {
        Value::Nil => RedisValue::Nil,
        Value::Int(number) => RedisValue::Int64(number),
        Value::BulkString(bytes) => RedisValue::Binary(bytes),
        Value::SimpleString(text) => RedisValue::Status(text),
        Value::Okay => RedisValue::Status("OK".into()),
        Value::Double(number) => RedisValue::Binary(number.to_string().into_bytes()),
        Value::Boolean(yes) => RedisValue::Int64(i64::from(yes)),
        Value::BigNumber(digits) => RedisValue::Binary(digits),
        Value::Array(nested) | Value::Set(nested) => {
            return nested.into_iter().try_for_each(|answer| flatten(answer, values));
        }
        Value::ServerError(error) => return Err(RedisError::Other(redis::RedisError::from(error).to_string())),
        Value::Map(_) => return unsupported("Map"),
        Value::Attribute { .. } => return unsupported("Attribute"),
        Value::VerbatimString { .. } => return unsupported("VerbatimString"),
        Value::Push { .. } => return unsupported("Pub/Sub"),
        _ => return unsupported("answer's"),
    });
    Ok(())
}

fn size_of(value: &RedisValue) -> usize {
    std::mem::size_of::<RedisValue>()
        + match value {
            RedisValue::Binary(bytes) => bytes.len(),
            RedisValue::Status(text) => text.len(),
            RedisValue::Nil | RedisValue::Int64(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn nested_answers_are_flattened_in_their_order() {
        let answer = Value::Array(vec![
            Value::Okay,
            Value::Array(vec![
                Value::Int(1),
                Value::Nil,
                Value::Set(vec![Value::BulkString(b"a".to_vec())]),
            ]),
            Value::Boolean(true),
            Value::Double(1.5),
            Value::SimpleString("QUEUED".into()),
        ]);
        let mut values = Vec::new();
        flatten(answer, &mut values).unwrap();
        assert_eq!(
            values,
            [
                RedisValue::Status("OK".into()),
                RedisValue::Int64(1),
                RedisValue::Nil,
                RedisValue::Binary(b"a".to_vec()),
                RedisValue::Int64(1),
                RedisValue::Binary(b"1.5".to_vec()),
                RedisValue::Status("QUEUED".into()),
            ]
        );
    }

    #[test]
    fn an_answer_that_spin_does_not_take_is_an_error() {
        let error = flatten(Value::Array(vec![Value::Map(Vec::new())]), &mut Vec::new()).unwrap_err();
        assert_eq!(error, RedisError::Other("Redis Map type is not supported".into()));
    }

    #[tokio::test]
    async fn a_bad_address_is_told_from_a_server_that_is_not_there() {
        for address in ["", "nonsense", "http://127.0.0.1:6379", "redis://127.0.0.1:port"] {
            let error = RealRedisConnection::open(address).await.err();
            assert_eq!(error, Some(RedisError::InvalidAddress), "{address}");
        }
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let start = Instant::now();
        let Err(RedisError::Other(text)) =
            RealRedisConnection::open(&format!("redis://user:secret@127.0.0.1:{port}")).await
        else {
            panic!("there is no server");
        };
        assert!(start.elapsed() < BROKER_CONNECT_TIMEOUT);
        assert!(
            text.contains(&format!("127.0.0.1:{port}")) && !text.contains("secret"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let address = format!("redis://{}", silent.local_addr().unwrap());
        assert!(matches!(
            RealRedisConnection::open(&address).await,
            Err(RedisError::Other(_))
        ));
        assert!(start.elapsed() < 3 * BROKER_CONNECT_TIMEOUT);
    }
}
