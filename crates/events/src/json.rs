//! The JSON event format: one event as `application/cloudevents+json`, several as
//! `application/cloudevents-batch+json`.
//!
//! Both ways, JSON data is copied as it stands and not parsed. Unset attributes may be `null`; `"data": null` is data,
//! as the specification has it.
//!
//! ```
//! use selvedge_events::{Event, json};
//!
//! let body = br#"{"specversion":"1.0","id":"1","source":"/todos","type":"todos.task.created","data":{"a": 1.0}}"#;
//! let event = json::decode(body)?;
//! assert_eq!(event.data.as_bytes(), br#"{"a": 1.0}"#);
//! assert_eq!(json::encode(&event)?, body);
//! # Ok::<(), selvedge_events::Error>(())
//! ```

mod decode;
mod encode;

pub use decode::{decode, decode_batch};
pub use encode::{BatchWriter, encode, encode_batch};

/// The media type of one event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// The media type of a batch of events.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";
