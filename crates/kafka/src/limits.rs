//! The client's bounds, in one place.

/// Brokers that a client is told of.
pub const BROKERS_MAX: usize = 32;
/// A response, in bytes. What a broker announces beyond it isn't read.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records in one batch, in bytes: below the 1 MiB that brokers take unless they are told otherwise. A larger record goes
/// alone.
pub const BATCH_BYTES_MAX: usize = 900 * 1024;
/// What a record takes beside its key, headers and value, at most, in bytes.
pub const RECORD_OVERHEAD_BYTES: usize = 64;
/// How often a topic that is being made is asked for.
pub const NEW_TOPIC_ATTEMPTS_MAX: u32 = 20;
/// How long is waited between two questions for a topic that is being made, in milliseconds.
pub const NEW_TOPIC_PAUSE_MS: u64 = 50;
/// How long a request for records waits at the broker for the first one, in milliseconds. Kafka answers when there is one; others look
/// once or twice within that time.
pub const FETCH_WAIT_MS: i32 = 250;
/// Records that one request brings, in bytes: at least one batch comes whatever its size is.
pub const FETCH_BYTES: i32 = 2 * 1024 * 1024;
/// Records of one partition that one request brings, in bytes.
pub const FETCH_PARTITION_BYTES: i32 = 1024 * 1024;
/// A batch's records without their compression, in bytes.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often a group's coordinator is asked for that isn't ready.
pub const COORDINATOR_ATTEMPTS_MAX: u32 = 40;
/// How long is waited between two such questions, in milliseconds.
pub const COORDINATOR_PAUSE_MS: u64 = 100;
