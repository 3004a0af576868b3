//! The platform, put together from Spin's interfaces.

use std::cell::RefCell;
use std::net::SocketAddr;

use selvedge_kafka::transport::Stream;
use spin_sdk::wasip3::clocks::{monotonic_clock, system_clock};
use spin_sdk::wasip3::random::random::get_random_bytes;
use spin_sdk::{variables, wit_bindgen};

use super::database::Database;
use super::key_value::KeyValue;
use super::redis::Redis;
use super::{mqtt, outgoing, tcp};
use crate::Error;
use crate::host::{Host, LocalFuture, MqttBroker, MqttMessage, Platform, RedisAnswer, RedisCommand, Row, Value};
use crate::http::{Answer, Call};
use crate::schema::Tables;

/// The host that a component runs on. These tables are there before its database is used.
pub fn host(tables: &[Tables]) -> Host {
    Host::new(Spin {
        database: Database::new(tables),
        key_value: KeyValue::default(),
        redis: Redis::default(),
        randomness: RefCell::default(),
    })
}

/// Random bytes that are asked for at once: a command takes three times sixteen.
const RANDOM_BYTES: u64 = 480;

struct Spin {
    database: Database,
    key_value: KeyValue,
    redis: Redis,
    /// Random bytes that nobody has had yet.
    randomness: RefCell<Vec<u8>>,
}

impl Platform for Spin {
    fn now_ms(&self) -> i64 {
        let now = system_clock::now();
        now.seconds * 1000 + i64::from(now.nanoseconds / 1_000_000)
    }

    fn random(&self) -> [u8; 16] {
        let mut randomness = self.randomness.borrow_mut();
        // The host may give fewer bytes than asked for.
        while randomness.len() < 16 {
            randomness.extend(get_random_bytes(RANDOM_BYTES));
        }
        let bytes = *randomness.last_chunk().expect("there are 16 bytes or more");
        let left = randomness.len() - bytes.len();
        randomness.truncate(left);
        bytes
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.database.execute(statement, parameters)
    }

    fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.key_value.get_many(&keys)
    }

    fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.key_value.set_many(&pairs)
    }

    fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        self.key_value.delete_many(&keys)
    }

    fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.key_value.increment(key, delta)
    }

    fn send(&self, call: Call) -> LocalFuture<Result<Answer, Error>> {
        Box::pin(outgoing::send(call))
    }

    fn redis(&self, url: &str, commands: Vec<RedisCommand>) -> LocalFuture<Result<Vec<RedisAnswer>, Error>> {
        Box::pin(self.redis.clone().run(url.to_owned(), commands))
    }

    fn mqtt(&self, broker: &MqttBroker, messages: Vec<MqttMessage>) -> LocalFuture<Result<(), Error>> {
        Box::pin(mqtt::publish(broker.clone(), messages))
    }

    fn connect(&self, address: SocketAddr) -> LocalFuture<Result<Box<dyn Stream>, String>> {
        Box::pin(tcp::connect(address))
    }

    fn wait(&self, duration_ms: u64) -> LocalFuture<()> {
        Box::pin(monotonic_clock::wait_for(duration_ms.saturating_mul(1_000_000)))
    }

    fn spawn(&self, task: LocalFuture<()>) {
        wit_bindgen::spawn(async move {
            // The response goes first: it is what the caller waits for.
            wit_bindgen::yield_async().await;
            wit_bindgen::yield_async().await;
            task.await;
        });
    }

    fn variable(&self, name: &str) -> LocalFuture<Result<Option<String>, Error>> {
        let name = name.to_owned();
        Box::pin(async move {
            match variables::get(&name).await {
                Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
                Err(variables::Error::Undefined(_)) => Ok(None),
                // The message may hold the value.
                Err(_) => Err(Error::Configuration {
                    name,
                    reason: "can't be read: check its provider".to_owned(),
                }),
            }
        })
    }
}
