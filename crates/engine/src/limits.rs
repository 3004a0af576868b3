//! The engine's bounds, all in one place. What one of them refuses is answered with a clear error.

use std::time::Duration;

/// Requests that one component instance answers before it is replaced; Spin's default.
pub const INSTANCE_REUSE_MAX: usize = 128;
/// Requests that one component instance answers at the same time; Spin's default.
pub const INSTANCE_CONCURRENCY_MAX: usize = 16;
/// How long an instance without work is kept; Spin's default.
pub const INSTANCE_IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a component may take to answer a request, and to end what it does after its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Instances of all components together that may live at the same time.
pub const INSTANCES_MAX: u32 = 512;
/// Linear memory of one instance.
pub const INSTANCE_MEMORY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Requests in work at the same time; more of them wait for their turn.
pub const REQUESTS_IN_WORK_MAX: usize = 256;
/// Client connections open at the same time; more of them wait in the system's accept queue.
pub const CONNECTIONS_MAX: usize = 8192;
/// How long after a connection couldn't be accepted, because file descriptors are short, it is tried again.
pub const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);
/// A request's body.
pub const REQUEST_BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A request's body up to this size is read before its component is called.
pub const READ_AHEAD_BYTES_MAX: u64 = 64 * 1024;
/// A request's head: how large hyper's read buffer may grow for it.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take to send a small request's body, [`READ_AHEAD_BYTES_MAX`], from its head to its last byte.
pub const READ_AHEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head, and to begin its next request on the same connection.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may pause while it sends a request's body.
pub const REQUEST_BODY_PAUSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in work get to end when the engine stops.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a message trigger's connection failed it is made again, at first; the time doubles with each failure.
pub const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
/// See [`RECONNECT_DELAY_MIN`]: no delay is longer.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(5);
/// How deep service chaining may nest: a component that calls itself in a circle ends here.
pub const CHAIN_DEPTH_MAX: u32 = 16;
/// Open SQLite connections of one instance; Spin's limit.
pub const SQLITE_CONNECTIONS_MAX: usize = 256;
/// Open key-value stores of one instance; Spin's limit.
pub const KEY_VALUE_STORES_MAX: usize = 256;
/// Open Redis connections, and open MQTT connections, of one instance.
pub const BROKER_CONNECTIONS_MAX: usize = 256;
/// How often a running instance is made to give other tasks their turn.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);
/// A component whose compilation takes longer is mentioned; from the cache it takes a few milliseconds.
pub const SLOW_COMPILATION: Duration = Duration::from_millis(500);
/// Compiled components that the cache keeps: those of several versions of several applications.
pub const COMPILED_COMPONENTS_MAX: usize = 256;
