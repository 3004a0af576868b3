//! The bounds of the real side, all in one place.

use std::time::Duration;

/// Bytes that one call may bring into the host's memory: a result set, the values of a `get-many`. Spin's limit.
pub const RESULT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long a statement waits for a lock that another connection holds, before it fails with "database is locked".
/// Spin's limit.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long one statement may run, so that no statement blocks the engine for ever.
pub const STATEMENT_TIME: Duration = Duration::from_secs(30);
/// Prepared statements that a connection keeps.
pub const PREPARED_STATEMENTS_MAX: usize = 64;
/// Pages in a write-ahead log, or pages added to it since, at which it is copied into the database: 16 MiB.
pub const CHECKPOINT_PAGES: u32 = 4_096;
/// Pages at which the writers wait until the log is copied completely and can start anew: 64 MiB. Below it, a checkpoint runs
/// beside them, and the log starts anew at the first pause in the writing.
pub const LOG_PAGES_MAX: u32 = 16_384;
/// Connections that a key-value file keeps for reading.
pub const READERS_MAX: usize = 4;
/// How long a Redis server or MQTT broker may take to accept a connection.
pub const BROKER_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a Redis server may take to answer for the key-value store, and an MQTT broker to acknowledge a message.
pub const BROKER_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a Redis server may take to answer a component's command: longer, because commands such as BLPOP wait.
pub const REDIS_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection that waits for messages may be silent before the server is asked whether it is still there.
pub const BROKER_SILENCE: Duration = Duration::from_secs(15);
/// Messages that wait for the MQTT event loop of one connection, and that wait for an MQTT trigger's component.
pub const MQTT_QUEUE_MAX: usize = 1_000;
/// An MQTT packet that a trigger takes: an event of the largest size that there is, as JSON, and room for more.
pub const MQTT_PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an HTTP timeout is where the component doesn't set one. Spin's default.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(600);
/// Idle HTTP connections kept per host, and for how long.
pub const HTTP_IDLE_CONNECTIONS_MAX: usize = 64;
/// See [`HTTP_IDLE_CONNECTIONS_MAX`].
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A line of a component's output; a longer one is cut into several.
pub const OUTPUT_LINE_BYTES_MAX: usize = 64 * 1024;
