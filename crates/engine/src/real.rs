//! The real side of the [`ports`](crate::ports): the machine's clock and entropy, SQLite files, Redis and MQTT servers,
//! HTTP, log files.
//!
//! Nothing here knows spin.toml or runtime-config.toml: constructors take plain paths and addresses.

mod busy;
mod checkpoint;
mod clock;
mod connector;
mod http_client;
mod key_value_file;
mod key_value_redis;
pub mod limits;
mod mqtt;
mod mqtt_client;
mod mqtt_messages;
mod network;
mod output;
mod random;
mod redis;
mod redis_messages;
mod sqlite;
mod sqlite_file;
mod sqlite_session;
mod sqlite_shared;
mod trust;

pub use clock::SystemClock;
pub use key_value_file::{KeyValueFile, KeyValueFileStore};
pub use key_value_redis::KeyValueRedis;
pub use network::RealNetwork;
pub use output::ComponentOutput;
pub use random::SystemRandom;
pub use sqlite::SqliteDatabases;
pub use sqlite_file::SqliteFile;
