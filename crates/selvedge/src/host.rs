//! What the kernel needs from where it runs: clock, randomness, stores and network, as one port.
//!
//! The kernel has no clock and no I/O of its own. On Spin and the embedded engine the adapter is `spin`; tests bring
//! their own.

mod kafka;
mod mqtt;
mod redis;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use selvedge_events::TypePattern;
use selvedge_kafka::Client;
pub use selvedge_kafka::transport::Stream;

pub use self::mqtt::{MqttBroker, MqttMessage};
pub use self::redis::{RedisAnswer, RedisCommand};
use crate::Error;
use crate::http::{Answer, Call};
use crate::projection::Generation;

/// A future that stays on its thread: a component has one.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The port to the world outside.
///
/// A statement is atomic, whatever it changes. Nothing holds over two of them.
pub trait Platform {
    /// The wall clock, in milliseconds since the Unix epoch. It may be set back.
    fn now_ms(&self) -> i64;

    /// Random bits fit for tokens and ids.
    fn random(&self) -> [u8; 16];

    /// Runs one SQL statement on the application's database and gives all its rows.
    ///
    /// # Errors
    /// What [`Error::from_sqlite`] makes of the database's words.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error>;

    /// The pairs of the key-value store that exist under these keys, in any order.
    ///
    /// # Errors
    /// [`Error::KeyValue`].
    fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, Error>;

    /// Writes pairs to the key-value store. After an error any part of them may be there.
    ///
    /// # Errors
    /// [`Error::KeyValue`].
    fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error>;

    /// Removes keys from the key-value store, those that don't exist too.
    ///
    /// # Errors
    /// [`Error::KeyValue`].
    fn delete_many(&self, keys: Vec<String>) -> Result<(), Error>;

    /// Adds to the number under a key of the key-value store, which counts from 0 where there is none, and gives the sum.
    /// Atomic: of many who add 1 at the same moment, one gets 1. How the number is stored is the store's own affair: read
    /// it with nothing but this.
    ///
    /// # Errors
    /// [`Error::KeyValue`]. After an error it may have been added.
    fn increment(&self, key: &str, delta: i64) -> Result<i64, Error>;

    /// Sends an HTTP request and reads the whole answer. Dropping the future drops the request.
    fn send(&self, call: Call) -> LocalFuture<Result<Answer, Error>>;

    /// Sends commands to the Redis server at a `redis://` or `rediss://` URL, in their order and over one connection, and
    /// waits for no answer before it sends the next. Gives what each was answered, in their order. Dropping the future gives
    /// up on the answers; what was sent may be run all the same.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when there is no connection to the server, and [`Error::Configuration`] when the URL is none or
    /// the component may not use it. Neither shows the password that the URL may hold.
    fn redis(&self, url: &str, commands: Vec<RedisCommand>) -> LocalFuture<Result<Vec<RedisAnswer>, Error>>;

    /// Publishes messages to an MQTT broker at QoS 1, in their order and over one connection, and ends when the broker has
    /// acknowledged all of them. Dropping the future gives up on that; what was sent may be published all the same.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the broker doesn't take the connection or loses it, and [`Error::Configuration`] when the URL
    /// is none or the component may not use it. Some of the messages may be published all the same.
    fn mqtt(&self, broker: &MqttBroker, messages: Vec<MqttMessage>) -> LocalFuture<Result<(), Error>>;

    /// A TCP connection to this address, for protocols that the kernel speaks itself. The error is the system's.
    fn connect(&self, address: SocketAddr) -> LocalFuture<Result<Box<dyn Stream>, String>>;

    /// Ends after this time.
    fn wait(&self, duration_ms: u64) -> LocalFuture<()>;

    /// Runs a task that outlives the response of the request that started it.
    fn spawn(&self, task: LocalFuture<()>);

    /// The component's variable of this name; `None` when there is none or it is empty.
    fn variable(&self, name: &str) -> LocalFuture<Result<Option<String>, Error>>;
}

/// A cheap handle to the [`Platform`]; every handler gets one.
#[derive(Clone)]
pub struct Host {
    platform: Rc<dyn Platform>,
    /// The types of event that may be appended through it; `None` for all.
    publishes: Option<Rc<[TypePattern]>>,
    kafka_producer: Rc<kafka::Kept>,
    /// The generation that the delivery is for; `None` when it doesn't say.
    generation: Option<Generation>,
}

impl Host {
    /// A handle to this platform.
    pub fn new(platform: impl Platform + 'static) -> Self {
        Self {
            platform: Rc::new(platform),
            publishes: None,
            kafka_producer: Rc::default(),
            generation: None,
        }
    }

    /// The same platform for a function that may append these types of event and no others.
    pub fn publishing(&self, types: Rc<[TypePattern]>) -> Self {
        Self {
            publishes: Some(types),
            ..self.clone()
        }
    }

    /// The same platform for a delivery that builds this generation of its function's projection.
    pub fn building(&self, generation: Generation) -> Self {
        Self {
            generation: Some(generation),
            ..self.clone()
        }
    }

    /// The generation of its function's projection that the delivery builds; `None` when it doesn't say.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Whether events of this type may be appended.
    pub fn may_publish(&self, event_type: &str) -> bool {
        let publishes = self.publishes.as_deref();
        publishes.is_none_or(|types| TypePattern::any_matches(types, event_type))
    }

    /// A client of the Kafka cluster that these brokers are of.
    pub fn kafka(&self, brokers: Vec<SocketAddr>) -> Client {
        kafka::client(self.platform.clone(), brokers)
    }

    /// The producer that is kept from one delivery to the next.
    pub(crate) fn kafka_producer(&self) -> &kafka::Kept {
        &self.kafka_producer
    }

    /// Sends a request and gives up on it after a time, dropping it.
    ///
    /// # Errors
    /// [`Error::Timeout`], or whatever [`Platform::send`] fails with.
    pub async fn send_within(&self, call: Call, timeout_ms: u64) -> Result<Answer, Error> {
        let target = call.target();
        let answer = self.send(call);
        match futures::future::select(answer, self.wait(timeout_ms)).await {
            futures::future::Either::Left((answer, _)) => answer,
            futures::future::Either::Right(_) => Err(Error::Timeout { target, timeout_ms }),
        }
    }

    /// A fresh event id: a UUIDv7 of this moment.
    pub fn new_id(&self) -> String {
        let [.., a, b, c, d, e, f, g, h, i, j] = self.random();
        // Before 1970 there is no such id; a clock that wrong gets the ids of its first moment.
        selvedge_events::new_id(
            u64::try_from(self.now_ms()).unwrap_or(0),
            [a, b, c, d, e, f, g, h, i, j],
        )
    }

    /// A fresh token that no one can guess: 32 hexadecimal digits.
    pub fn new_token(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.random()))
    }

    /// A random number from 0 up to but not including 1.
    pub fn random_fraction(&self) -> f64 {
        let [a, b, c, d, e, f, g, ..] = self.random();
        let bits = u64::from_be_bytes([0, a, b, c, d, e, f, g]) >> 3;
        bits as f64 / (1_u64 << 53) as f64
    }
}

impl std::ops::Deref for Host {
    type Target = dyn Platform;

    fn deref(&self) -> &Self::Target {
        &*self.platform
    }
}

/// A parameter of a statement, or a column of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a real number",
            Self::Text(_) => "a text",
            Self::Blob(_) => "a blob",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Integer(truth.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row, read column by column in the order of the SELECT.
#[derive(Debug)]
pub struct Row {
    columns: std::vec::IntoIter<Value>,
}

impl Row {
    /// A row of these columns.
    pub fn new(columns: Vec<Value>) -> Self {
        Self {
            columns: columns.into_iter(),
        }
    }

    /// The next column, whatever it is.
    ///
    /// # Errors
    /// [`Error::UnexpectedRow`] when there is no further column.
    pub fn value(&mut self) -> Result<Value, Error> {
        self.columns.next().ok_or(Error::UnexpectedRow {
            expected: "a further column",
            found: "the row's end",
        })
    }

    /// The next column as a text.
    ///
    /// # Errors
    /// [`Error::UnexpectedRow`] when it is anything else.
    pub fn text(&mut self) -> Result<String, Error> {
        match self.value()? {
            Value::Text(text) => Ok(text),
            other => Err(Error::UnexpectedRow {
                expected: "a text",
                found: other.kind(),
            }),
        }
    }

    /// The next column as a text, or `None` for NULL.
    ///
    /// # Errors
    /// [`Error::UnexpectedRow`] when it is anything else.
    pub fn optional_text(&mut self) -> Result<Option<String>, Error> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            other => Err(Error::UnexpectedRow {
                expected: "a text or NULL",
                found: other.kind(),
            }),
        }
    }

    /// The next column as a whole number.
    ///
    /// # Errors
    /// [`Error::UnexpectedRow`] when it is anything else.
    pub fn integer(&mut self) -> Result<i64, Error> {
        match self.value()? {
            Value::Integer(number) => Ok(number),
            other => Err(Error::UnexpectedRow {
                expected: "an integer",
                found: other.kind(),
            }),
        }
    }

    /// The next column as a whole number, or `None` for NULL.
    ///
    /// # Errors
    /// [`Error::UnexpectedRow`] when it is anything else.
    pub fn optional_integer(&mut self) -> Result<Option<i64>, Error> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(number)),
            other => Err(Error::UnexpectedRow {
                expected: "an integer or NULL",
                found: other.kind(),
            }),
        }
    }
}

/// The `(?, ?), (?, ?)` of a statement with this many rows of this many columns.
///
/// ```
/// assert_eq!(selvedge::host::placeholders(2, 3), "(?, ?, ?), (?, ?, ?)");
/// ```
pub fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * (columns * 3 + 4));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            text.push_str(if column == 0 { "?" } else { ", ?" });
        }
        text.push(')');
    }
    text
}
