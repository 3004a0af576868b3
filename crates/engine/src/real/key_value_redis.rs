//! A key-value store on a Redis server. As Spin's, it takes the keys as they are: stores of the same server and database
//! number share them.

use std::collections::HashSet;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, cmd};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::limits::{BROKER_CONNECT_TIMEOUT, BROKER_RESPONSE_TIMEOUT, RESULT_BYTES_MAX};
use super::redis::{client, unreachable};
use crate::ports::{KeyValueError, KeyValueStore};

/// How many keys one step of a scan is asked for.
const SCAN_COUNT: usize = 1_000;
/// Sets a key that still holds what the caller saw.
const SWAP: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
    redis.call('SET', KEYS[1], ARGV[2]) return 1 else return 0 end";

/// A store on a Redis server. It connects with the first call, and again after the connection was lost; no call takes
/// much longer than [`BROKER_RESPONSE_TIMEOUT`].
pub struct KeyValueRedis {
    client: Client,
    manager: OnceCell<ConnectionManager>,
}

impl std::fmt::Debug for KeyValueRedis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own would show the password.
        formatter
            .debug_tuple("KeyValueRedis")
            .field(&self.client.get_connection_info().addr().to_string())
            .finish()
    }
}

impl KeyValueRedis {
    /// The store at a `redis://` or `rediss://` URL. Connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, KeyValueError> {
        let client = client(url).map_err(|error| {
            KeyValueError::Other(format!(
                "the key-value store's url is no Redis URL (redis://host:port/database): {error}"
            ))
        })?;
        Ok(Self {
            client,
            manager: OnceCell::new(),
        })
    }

    async fn connection(&self) -> Result<ConnectionManager, redis::RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(BROKER_CONNECT_TIMEOUT))
            .set_response_timeout(Some(BROKER_RESPONSE_TIMEOUT));
        let connect = || ConnectionManager::new_with_config(self.client.clone(), config);
        self.manager.get_or_try_init(connect).await.cloned()
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, KeyValueError> {
        let call = async { command.query_async(&mut self.connection().await?).await };
        match timeout(2 * BROKER_CONNECT_TIMEOUT + BROKER_RESPONSE_TIMEOUT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.is_io_error() || error.is_timeout() => {
                Err(KeyValueError::Other(unreachable(&self.client, &error)))
            }
            Ok(Err(error)) => Err(KeyValueError::Other(error.to_string())),
            Err(_) => Err(KeyValueError::Other(format!(
                "the Redis server at {} doesn't answer",
                self.client.get_connection_info().addr()
            ))),
        }
    }
}

fn within_limit(bytes: usize) -> Result<(), KeyValueError> {
    if bytes > RESULT_BYTES_MAX {
        return Err(KeyValueError::Other(format!(
            "query result exceeds limit of {RESULT_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

#[async_trait]
impl KeyValueStore for KeyValueRedis {
    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, KeyValueError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<Option<Vec<u8>>> = self.run(cmd("MGET").arg(&keys)).await?;
        within_limit(values.iter().flatten().map(Vec::len).sum())?;
        Ok(values)
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        if pairs.is_empty() {
            return Ok(());
        }
        let mut command = cmd("MSET");
        for (key, value) in &pairs {
            command.arg(key).arg(value);
        }
        self.run(&command).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run::<i64>(cmd("DEL").arg(&keys)).await.map(drop)
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError> {
        self.run(cmd("INCRBY").arg(&key).arg(delta)).await
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        // A scan may name a key twice. One that is no UTF-8 can't be a component's.
        let (mut keys, mut bytes, mut cursor) = (HashSet::new(), 0, 0u64);
        loop {
            let step = self.run(cmd("SCAN").arg(cursor).arg("COUNT").arg(SCAN_COUNT)).await?;
            let (next, found): (u64, Vec<Vec<u8>>) = step;
            for key in found.into_iter().filter_map(|key| String::from_utf8(key).ok()) {
                bytes += size_of::<String>() + key.len();
                keys.insert(key);
            }
            within_limit(bytes)?;
            cursor = next;
            if cursor == 0 {
                return Ok(keys.into_iter().collect());
            }
        }
    }

    async fn swap(&self, key: String, current: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool, KeyValueError> {
        match current {
            Some(current) => {
                self.run(cmd("EVAL").arg(SWAP).arg(1).arg(&key).arg(&current).arg(&value))
                    .await
            }
            None => {
                let answer: Option<String> = self.run(cmd("SET").arg(&key).arg(&value).arg("NX")).await?;
                Ok(answer.is_some())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_at_once() {
        for url in ["", "localhost", "http://127.0.0.1", "redis://127.0.0.1:x"] {
            let error = KeyValueRedis::new(url).expect_err(url);
            assert!(error.to_string().contains("redis://host:port"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_quickly_and_without_its_password() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let store = KeyValueRedis::new(&format!("redis://user:secret@127.0.0.1:{port}/1")).unwrap();
        let start = Instant::now();
        let error = store.get_many(vec!["key".into()]).await.unwrap_err();
        assert!(start.elapsed() < BROKER_RESPONSE_TIMEOUT);
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(!format!("{error} {store:?}").contains("secret"));
    }

    #[tokio::test]
    async fn nothing_to_do_asks_no_server() {
        let store = KeyValueRedis::new("redis://127.0.0.1:1").unwrap();
        assert_eq!(store.get_many(Vec::new()).await, Ok(Vec::new()));
        assert_eq!(store.set_many(Vec::new()).await, Ok(()));
        assert_eq!(store.delete_many(Vec::new()).await, Ok(()));
    }
}
