//! The engine's ports: everything through which a component touches the world outside its own memory.
//!
//! A component's imports are answered from these traits and from nothing else, so whoever implements them owns
//! the component's world. The real side reads the machine's clock and entropy, files and sockets; a simulator
//! brings its own. Time that passes (sleeps, timeouts) is tokio's timer: a paused runtime makes it virtual.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http_body_util::combinators::UnsyncBoxBody;

/// A message body as it crosses the engine: streamed, not buffered.
pub type Body = UnsyncBoxBody<Bytes, wasmtime_wasi_http::Error>;

/// What a component can read from a clock.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the Unix epoch; may be stepped back and forth.
    fn wall_ns(&self) -> u64;
    /// Nanoseconds since any fixed point; never goes back.
    fn monotonic_ns(&self) -> u64;
}

/// Where a component's randomness comes from.
pub trait Random: Send + Sync + 'static {
    /// Fills all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Why a key-value call failed; the same cases as `spin:key-value`'s `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyValueError {
    /// The store holds as much as it may.
    #[error("the key-value store is full")]
    StoreTableFull,
    /// No store of that label is configured.
    #[error("there is no such key-value store")]
    NoSuchStore,
    /// The component's manifest doesn't name the store.
    #[error("access to the key-value store is denied")]
    AccessDenied,
    /// Anything else; the text says what.
    #[error("{0}")]
    Other(String),
}

/// One key-value store. Every method is atomic on its own.
#[async_trait]
pub trait KeyValueStore: Send + Sync + 'static {
    /// The values of `keys`, in their order; `None` where a key isn't there.
    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, KeyValueError>;
    /// Sets all pairs or none.
    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError>;
    /// Deletes all keys or none; a key that isn't there is no error.
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError>;
    /// Adds `delta` to the number at `key` (0 where there is none) and returns the sum. Counters live in a space of
    /// their own encoding: what `get_many` returns for one is not promised.
    async fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError>;
    /// All keys, in no promised order.
    async fn keys(&self) -> Result<Vec<String>, KeyValueError>;
    /// Sets `key` to `value` if it holds `current`; says whether it did. (Spin's stores don't hold `current = None`
    /// as create-if-absent; build no claim on it.)
    async fn swap(&self, key: String, current: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool, KeyValueError>;
}

/// The key-value stores of an application, by label.
pub trait KeyValueStores: Send + Sync + 'static {
    /// The store of that label; `None` where the runtime configuration has none.
    fn store(&self, label: &str) -> Option<Arc<dyn KeyValueStore>>;
}

/// A value in a SQLite row or parameter; the same cases as `spin:sqlite`'s `value`.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    /// A 64-bit integer.
    Integer(i64),
    /// A double.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// NULL.
    Null,
}

/// All rows of one statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SqlRows {
    /// Column names.
    pub columns: Vec<String>,
    /// One vector of values per row, as long as `columns`.
    pub rows: Vec<Vec<SqlValue>>,
}

/// Why a SQLite call failed; the same cases as `spin:sqlite`'s `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// No database of that label is configured.
    #[error("there is no such database")]
    NoSuchDatabase,
    /// The component's manifest doesn't name the database.
    #[error("access to the database is denied")]
    AccessDenied,
    /// The connection isn't open.
    #[error("the connection is invalid")]
    InvalidConnection,
    /// The file can't grow.
    #[error("the database is full")]
    DatabaseFull,
    /// SQLite's own message.
    #[error("{0}")]
    Io(String),
}

/// One connection to a SQLite database: transactions, PRAGMAs and temporary tables are its own.
#[async_trait]
pub trait SqlConnection: Send + Sync + 'static {
    /// Runs one statement to its end and returns all of its rows.
    async fn execute(&self, statement: &str, parameters: Vec<SqlValue>) -> Result<SqlRows, SqlError>;
    /// `sqlite3_last_insert_rowid`.
    async fn last_insert_rowid(&self) -> Result<i64, SqlError>;
    /// `sqlite3_changes`.
    async fn changes(&self) -> Result<u64, SqlError>;
}

/// The SQLite databases of an application, by label.
#[async_trait]
pub trait SqlDatabases: Send + Sync + 'static {
    /// Whether the runtime configuration has that label.
    fn has(&self, label: &str) -> bool;
    /// A new connection to the database of that label.
    async fn open(&self, label: &str) -> Result<Arc<dyn SqlConnection>, SqlError>;
}

/// An HTTP request that leaves the application, or comes back to it by its public address.
pub struct OutboundRequest {
    /// The request; its URI is absolute.
    pub request: http::Request<Body>,
    /// How long the connection may take to be made.
    pub connect_timeout: Option<std::time::Duration>,
    /// How long the first byte of the response may take.
    pub first_byte_timeout: Option<std::time::Duration>,
    /// How long the time between two bytes may be.
    pub between_bytes_timeout: Option<std::time::Duration>,
}

/// The network outside the application. Allowed hosts were checked before it is called.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Sends a request and returns the response as soon as its head is there.
    async fn send(&self, request: OutboundRequest) -> Result<http::Response<Body>, wasmtime_wasi_http::Error>;
    /// A connection to a Redis server; the address is a `redis://` or `rediss://` URL.
    async fn redis(&self, address: &str) -> Result<Arc<dyn RedisConnection>, RedisError>;
    /// Who connects components' own TCP sockets. `None`: the machine's system does.
    fn tcp(&self) -> Option<Arc<dyn TcpNetwork>>;
    /// The messages of these channels of a Redis server, from now on; the stream ends when the connection is lost.
    async fn redis_messages(&self, address: &str, channels: &[String]) -> Result<RedisMessages, RedisError>;
    /// A connection to an MQTT broker.
    async fn mqtt(&self, options: MqttOptions) -> Result<Arc<dyn MqttConnection>, MqttError>;
    /// The messages of an MQTT broker whose topic fits `filter`, which may hold wildcards, from now on; the stream ends when the
    /// connection is lost.
    async fn mqtt_messages(&self, options: MqttOptions, filter: &str, qos: MqttQos) -> Result<MqttMessages, MqttError>;
}

/// Why a TCP call failed; those cases of `wasi:sockets`' `error-code` that the other side brings about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// Nobody listens at the address.
    #[error("the connection was refused")]
    ConnectionRefused,
    /// The connection was open, and is no more.
    #[error("the connection was reset")]
    ConnectionReset,
}

/// Connects TCP sockets. Allowed hosts were checked before it is called.
#[async_trait]
pub trait TcpNetwork: Send + Sync + 'static {
    /// A connection to whoever listens at this address.
    async fn connect(&self, address: SocketAddr) -> Result<Arc<dyn TcpConnection>, TcpError>;
}

/// One TCP connection. Dropping it closes it.
#[async_trait]
pub trait TcpConnection: Send + Sync + 'static {
    /// Sends all of these bytes.
    async fn send(&self, bytes: Bytes) -> Result<(), TcpError>;
    /// The next bytes that arrive, at least one; none when the other side has closed the connection. Whoever drops the future loses
    /// none.
    async fn receive(&self) -> Result<Bytes, TcpError>;
}

/// Why a Redis call failed; the same cases as `spin:redis`'s `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The address isn't a Redis URL, or may not be reached.
    #[error("invalid address")]
    InvalidAddress,
    /// The component has too many open connections.
    #[error("too many connections")]
    TooManyConnections,
    /// The key holds a value of another type.
    #[error("type error")]
    TypeError,
    /// Anything else; the text says what.
    #[error("{0}")]
    Other(String),
}

/// A parameter of a Redis command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisParameter {
    /// A number, sent as its decimal text.
    Int64(i64),
    /// Bytes.
    Binary(Vec<u8>),
}

/// A value in a Redis command's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisValue {
    /// Nothing.
    Nil,
    /// A status, such as `OK`.
    Status(String),
    /// A number.
    Int64(i64),
    /// Bytes.
    Binary(Vec<u8>),
}

/// One connection to a Redis server. `spin:redis`'s other functions are commands too.
#[async_trait]
pub trait RedisConnection: Send + Sync + 'static {
    /// Runs one command; a nested answer is flattened.
    async fn execute(&self, command: &str, arguments: Vec<RedisParameter>) -> Result<Vec<RedisValue>, RedisError>;
}

/// A message of a Redis channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisMessage {
    /// The channel.
    pub channel: String,
    /// What was published.
    pub payload: Vec<u8>,
}

/// Messages as they come.
pub type RedisMessages = BoxStream<'static, RedisMessage>;

/// How a message is to be delivered by an MQTT broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttQos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

/// How to reach an MQTT broker.
#[derive(Clone)]
pub struct MqttOptions {
    /// `mqtt://host:port` or `mqtts://host:port`; whoever publishes names itself, `?client_id=…`.
    pub address: String,
    /// Empty: none.
    pub username: String,
    /// Empty: none.
    pub password: String,
    /// The keep-alive interval.
    pub keep_alive: std::time::Duration,
}

/// Why an MQTT call failed; the same cases as `spin:mqtt`'s `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MqttError {
    /// The address isn't an MQTT URL, or may not be reached.
    #[error("invalid address")]
    InvalidAddress,
    /// The component has too many open connections.
    #[error("too many connections")]
    TooManyConnections,
    /// The broker refused, or could not be reached.
    #[error("{0}")]
    ConnectionFailed(String),
    /// Anything else; the text says what.
    #[error("{0}")]
    Other(String),
}

/// One connection to an MQTT broker.
#[async_trait]
pub trait MqttConnection: Send + Sync + 'static {
    /// Publishes a message; with QoS 1 and 2 it returns when the broker acknowledged it.
    async fn publish(&self, topic: &str, payload: Vec<u8>, qos: MqttQos) -> Result<(), MqttError>;
}

/// A message of an MQTT topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    /// The topic.
    pub topic: String,
    /// What was published.
    pub payload: Vec<u8>,
}

/// Messages as they come.
pub type MqttMessages = BoxStream<'static, MqttMessage>;

/// Where components' standard output and error go, line by line.
pub trait Output: Send + Sync + 'static {
    /// One write of a component. `stream` is 1 for standard output, 2 for standard error.
    fn write(&self, component: &str, stream: u8, bytes: &[u8]);
}

/// A call of a component to its host, before and after which a [`Gate`] is asked.
#[derive(Debug, Clone)]
pub struct HostCall {
    /// The component that calls.
    pub component: Arc<str>,
    /// The interface and function, for example `sqlite.execute`.
    pub function: &'static str,
    /// What it is about: the statement, the keys, the URL. Empty when nobody listens.
    pub detail: String,
}

/// What is to become of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Answer with the interface's own error, with this text.
    Fail(String),
    /// Trap the instance.
    Trap,
    /// Go on, and where the call sends an HTTP request have a copy of it arrive after this time, whose answer nobody hears:
    /// what a network may do. Said after a call it means [`Verdict::Proceed`].
    Copy(std::time::Duration),
}

/// Asked before and after every call of a component to its host: the one place where a simulator traces and injects
/// faults. A gate that never answers makes the call hang.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Before the call has any effect.
    async fn before(&self, call: &HostCall) -> Verdict;
    /// After the call had its effect, before the component gets the answer.
    async fn after(&self, call: &HostCall) -> Verdict;
}

/// All ports of one application.
#[derive(Clone)]
pub struct Ports {
    /// See [`Clock`].
    pub clock: Arc<dyn Clock>,
    /// See [`Random`].
    pub random: Arc<dyn Random>,
    /// See [`KeyValueStores`].
    pub key_value: Arc<dyn KeyValueStores>,
    /// See [`SqlDatabases`].
    pub sql: Arc<dyn SqlDatabases>,
    /// See [`Network`].
    pub network: Arc<dyn Network>,
    /// See [`Output`].
    pub output: Arc<dyn Output>,
    /// See [`Gate`]; `None` costs nothing.
    pub gate: Option<Arc<dyn Gate>>,
}
