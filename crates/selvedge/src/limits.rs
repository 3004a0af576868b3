//! Every bound of the kernel, in one place.

/// A public request's body, in bytes.
pub const REQUEST_BODY_BYTES_MAX: usize = 64 * 1024;
/// A delivery's body, in bytes: the encoded batch and some room.
pub const DELIVERY_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The body of an answer that the kernel reads, in bytes.
pub const ANSWER_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// The body of a request that brings events from outside, in bytes.
pub const INGEST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// An event that comes from outside, in bytes: what CloudEvents wants every intermediary to pass on.
pub const INGEST_EVENT_BYTES_MAX: usize = 64 * 1024;
/// An event in the journal, in bytes: 256 KiB of any data, as JSON writes them, and its attributes.
pub const EVENT_BYTES_MAX: usize = 512 * 1024;
/// Events that one command appends.
pub const APPEND_EVENTS_MAX: usize = 100;
/// How many events a command must have had to apply before a snapshot of what it made of them is kept, unless the entity
/// says otherwise.
pub const SNAPSHOT_EVERY_EVENTS: i64 = 100;
/// A snapshot's state, in bytes; larger ones aren't kept.
pub const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024;
/// How often a command is decided anew when another one was faster.
pub const DECIDE_ATTEMPTS_MAX: u32 = 5;
/// An `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long an answer is kept under its `Idempotency-Key`, in milliseconds: a week.
pub const KEPT_ANSWER_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Kept answers older than that which go with each request that brings a key: more than it adds.
pub const KEPT_ANSWERS_ENDED_AT_ONCE: u32 = 4;

/// Events in one delivery, unless a subscription says less; also the most it may say.
pub const BATCH_EVENTS_MAX: u32 = 500;
/// Encoded events in one delivery, in bytes.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most that a subscription may say with `max_in_flight`.
pub const IN_FLIGHT_MAX: u32 = 10_000;
/// Events that follow a retry of an ordered subscription in one delivery, from each stream.
pub const FOLLOWERS_MAX: u32 = 64;
/// Events that are sent to a webhook at once, unless a subscription says less; also the most it may say.
pub const WEBHOOK_BATCH_EVENTS_MAX: u32 = 32;
/// Secrets of a webhook that are valid at once.
pub const WEBHOOK_SECRETS_MAX: usize = 2;
/// A webhook's secret, in bytes: what Standard Webhooks allows.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;
/// A webhook's secret, in bytes.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 64;
/// Entries that a Redis stream keeps, unless a variable says otherwise.
pub const REDIS_STREAM_ENTRIES: u32 = 100_000;
/// An MQTT packet, in bytes: an event as JSON, at its longest, and its topic.
pub const MQTT_PACKET_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Events that go to an MQTT topic at once, unless a subscription says otherwise: their consumers take them one by one.
pub const MQTT_BATCH_EVENTS: u32 = 100;
/// An MQTT topic, in bytes.
pub const MQTT_TOPIC_BYTES_MAX: usize = 65_535;
/// The longest time between two looks for what consumers say of an event that was published, in milliseconds.
pub const WORD_POLL_MS_MAX: u64 = 50;
/// How long a consumer waits for a broker's answer before it connects anew, in milliseconds.
pub const CONSUME_ANSWER_MS: u64 = 10_000;
/// How long a consumer waits after something went wrong before it begins anew, in milliseconds.
pub const CONSUME_PAUSE_MS: u64 = 500;
/// How long a consumer that can't deliver now waits before it looks again, in milliseconds.
pub const CONSUME_LOOK_MS: u64 = 50;
/// How often a consumer that has reached its topic's end notes how far that is, in milliseconds.
pub const CONSUME_PROGRESS_MS: i64 = 500;
/// What is kept of a refused record's key, and of its value, in bytes.
pub const REFUSED_RECORD_BYTES_MAX: usize = 32 * 1024;
/// A request that publishes by Dapr's API, in bytes: what a sidecar takes unless it is told otherwise.
pub const DAPR_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries of one bulk request of Dapr's API.
pub const DAPR_BULK_ENTRIES_MAX: usize = 1_000;
/// Events that a Dapr application gets at once when it wants several and doesn't say how many.
pub const DAPR_BULK_EVENTS: u32 = 100;
/// How long a sidecar may wait until it has as many events as it may bring this application at once, in milliseconds.
pub const DAPR_BULK_WAIT_MS: u32 = 20;
/// Rules of a Dapr application's subscription that are looked at.
pub const DAPR_RULES_MAX: usize = 100;
/// The longest time to live of an event that is published by Dapr's API, in seconds: about three centuries.
pub const DAPR_TTL_S_MAX: i64 = 9_000_000_000;
/// How much of a wrong value an answer of Dapr's API repeats, in characters.
pub const DAPR_EXCERPT_CHARS_MAX: usize = 80;
/// A `match` expression, in bytes.
pub const MATCH_BYTES_MAX: usize = 1_000;
/// Brackets within each other in a `match` expression.
pub const MATCH_NESTING_MAX: usize = 24;
/// Subscriptions in subscriptions.toml.
pub const SUBSCRIPTIONS_MAX: usize = 200;
/// A subscription's name, in bytes.
pub const SUBSCRIPTION_NAME_BYTES_MAX: usize = 64;
/// The reason that is kept for a failed delivery, in bytes.
pub const REASON_BYTES_MAX: usize = 500;
/// Exceptions that one statement writes: with a dozen parameters each they stay below SQLite's 32,766.
pub const EXCEPTIONS_PER_STATEMENT_MAX: usize = 1_000;
/// Due retries and delayed events that one pass takes up.
pub const RETRIES_PER_PASS_MAX: u32 = 64;

/// How long a delivery may take unless its subscription says otherwise, in milliseconds.
pub const DELIVERY_TIMEOUT_MS: u64 = 30_000;
/// The longest that a subscription may let a delivery take, in milliseconds: a drain and its last delivery together
/// stay below the minute after which hosts end a task.
pub const DELIVERY_TIMEOUT_MS_MAX: u64 = 45_000;
/// How long a lease lasts unless it is renewed, in milliseconds: so long does it take until another relay goes on with
/// what a dead one left behind.
pub const LEASE_MS: i64 = 5_000;
/// How far two relays' clocks may be apart before one takes the other's leases and mark for those of a clock that was set back
/// since, in milliseconds.
pub const LEASE_CLOCK_DIFFERENCE_MS_MAX: i64 = 5_000;
/// How far two relays' clocks may be apart, and how long one may take from looking at its clock to acting on it, in
/// milliseconds: a failure that was written down later than that from now was written before the clock was set back.
pub const CLOCK_DIFFERENCE_MS_MAX: i64 = 60_000;
/// How often the leases on deliveries that are under way are renewed, in milliseconds.
pub const RENEW_EVERY_MS: i64 = 2_000;
/// How long a relay's mark says that it is awake, in milliseconds: short, so that a crashed relay's mark ends soon.
pub const AWAKE_MS: i64 = 2_000;
/// How long one drain works before it rings the next, in milliseconds.
pub const DRAIN_MS_MAX: i64 = 10_000;
/// How long a busy relay waits between passes so that batches grow, in milliseconds.
pub const LINGER_MS: u64 = 10;
/// A relay is busy when a pass brings at least this many events, and at least one for each millisecond that it took.
pub const BUSY_EVENTS_MIN: usize = 4;
/// How long a pass waits for its first delivery before it looks whether there is something else to do, in milliseconds.
/// Well below [`AWAKE_MS`] and [`RENEW_EVERY_MS`], so that the mark and the leases are renewed in time.
pub const FIRST_DELIVERY_MS: u64 = 250;
/// How long a pass waits for its slower deliveries after the first one ended, in milliseconds.
pub const GATHER_MS: u64 = 5;
/// How long ringing the relay may take, in milliseconds.
pub const BELL_TIMEOUT_MS: u64 = 5_000;
/// How long one function may take to say that it is healthy, in milliseconds.
pub const HEALTH_TIMEOUT_MS: u64 = 2_000;

/// How long an instance goes by what it saw of a circuit breaker's state before it asks the store again, in milliseconds.
pub const BREAKER_SEEN_MS: i64 = 1_000;
/// How much longer than its call a circuit breaker's probe may take, in milliseconds: the time for saying how it ended.
pub const PROBE_MARGIN_MS: u64 = 1_000;
/// How long an upstream may take for one call unless it is said otherwise, in milliseconds.
pub const UPSTREAM_TIMEOUT_MS: u64 = 2_000;
/// How long an upstream's call and all its repetitions may take unless it is said otherwise, in milliseconds.
pub const UPSTREAM_TOTAL_MS: u64 = 5_000;
/// How long a provider outside may take to answer, quick repetitions included, in milliseconds.
pub const PROVIDER_TIMEOUT_MS: u64 = 5_000;
/// Calls to a provider that one delivery has under way at the same time.
pub const PROVIDER_CALLS_MAX: usize = 16;

/// How long the report of everybody's health may take, in milliseconds: that of one function and some more.
pub const HEALTH_REPORT_TIMEOUT_MS: u64 = 4_000;

/// How often old done markers are looked for, in milliseconds.
pub const COLLECT_EVERY_MS: i64 = 60_000;
/// How old an event must be before its done marker may go, in milliseconds: a week.
pub const MARKER_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Events of the journal whose done markers one step of a collection removes.
pub const COLLECT_EVENTS_MAX: u32 = 2_000;
/// Steps that one collection makes per subscription: together they remove what 4,000 events a second leave behind.
pub const COLLECT_STEPS_MAX: u32 = 120;
/// How long a collection lets others have their turn between two steps, in milliseconds.
pub const COLLECT_PAUSE_MS: u64 = 1;
/// A key in the key-value store, in bytes; longer ones are hashed.
pub const STORE_KEY_BYTES_MAX: usize = 200;

/// Attempts that a subscription may ask for.
pub const ATTEMPTS_MAX: u32 = 100;
/// The longest interval between attempts, in milliseconds: a day.
pub const RETRY_INTERVAL_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The longest that a receiver's `Retry-After` defers an attempt, in milliseconds: an hour.
pub const RETRY_AFTER_MS_MAX: i64 = 60 * 60 * 1000;
/// Items on one page of a list.
pub const PAGE_ITEMS_MAX: u32 = 100;
/// Items on one page of a list when the caller doesn't say.
pub const PAGE_ITEMS: u32 = 20;
/// Events that one page of the feed looks at for those that pass its filter.
pub const FEED_SCAN_EVENTS_MAX: i64 = 10_000;
/// Patterns of types in one filter.
pub const FEED_PATTERNS_MAX: usize = 20;
/// How often a stream of events looks for new ones, in milliseconds.
pub const STREAM_POLL_MS: u64 = 200;
/// How long a stream of events may be silent before it says that it is there, in milliseconds.
pub const STREAM_HEARTBEAT_MS: i64 = 5_000;
/// How long a stream of events lasts before its client has to come back, in milliseconds: some hosts end requests after
/// 30 s, and the embedded engine after 60 s.
pub const STREAM_MS_MAX: i64 = 25_000;

/// Dead letters that one redrive or discard takes up; the answer says how to go on.
pub const REDRIVE_LETTERS_MAX: u32 = 10_000;
/// Dead letters that a redrive or discard may name one by one.
pub const REDRIVE_IDS_MAX: usize = 500;
/// Events that a redrive or a replay makes due in a second, unless it says otherwise.
pub const REDRIVE_PER_SECOND: u32 = 100;
/// The most events that a redrive or a replay may make due in a second.
pub const REDRIVE_PER_SECOND_MAX: u32 = 10_000;
/// Events of the journal that one step of a replay looks at.
pub const REPLAY_EVENTS_MAX: u32 = 500;
/// How far ahead of the time a replay makes events due, in milliseconds.
pub const REPLAY_AHEAD_MS: i64 = 1_000;
/// Replays that may run at once.
pub const REPLAYS_MAX: u32 = 20;
/// Replays that are remembered in a list.
pub const REPLAYS_LISTED_MAX: u32 = 100;
/// A text that an operator leaves behind, such as why a dead letter was discarded, in bytes.
pub const REMARK_BYTES_MAX: usize = 500;
/// How far ahead a redrive may begin, in milliseconds: a week.
pub const REDRIVE_AHEAD_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;
/// Type patterns that a replay may name.
pub const REPLAY_TYPES_MAX: usize = 50;
/// How long a rebuild that has reached its live projection waits before it looks again whether it may take its place, in
/// milliseconds.
pub const REBUILD_LOOK_MS: i64 = 200;
/// How far behind the live projection a rebuild may be that asks it to wait for the moment of the switch, in events.
pub const REBUILD_BEHIND_MAX: i64 = BATCH_EVENTS_MAX as i64;
/// When a delivery is due that waits for something else than time, in milliseconds since the Unix epoch: the year 9999.
pub const NEVER_MS: i64 = 253_402_300_799_000;
/// How long after a generation was retired what is left of it may go, in milliseconds: no delivery to it is under way then.
pub const RETIRED_MS: i64 = 60_000;
/// Rows of a retired generation that one statement removes.
pub const CLEAR_ROWS_MAX: u32 = 2_000;
/// How long a function may take to remove some of a retired generation's rows, in milliseconds.
pub const CLEAR_TIMEOUT_MS: u64 = 10_000;
