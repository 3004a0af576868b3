//! CloudEvents 1.0 for Selvedge: the model, the naming rule, ids, and the JSON and HTTP codecs.
//!
//! The crate is pure: no I/O, no clock, no randomness. Time and random bytes are parameters, so whoever owns the
//! clock owns all of it. JSON data is never parsed on the way through: an event that is decoded, journalled and
//! delivered carries the very bytes its producer sent.
//!
//! The modules stand in the order an event meets them: its type's [name], its [id], the [event](Event) itself, and
//! the codecs that carry it ([json], [http_binding]). Everything is bounded by [limits], and everything that can go
//! wrong is an [`Error`] that says what happened and what to do.
//!
//! ```
//! use selvedge_events::{Event, EventName, Timestamp, TypePattern, http_binding, new_id};
//!
//! # fn main() -> Result<(), selvedge_events::Error> {
//! let now_ms = 1_767_225_600_000;
//! let name = EventName::parse("todos.task.created")?;
//! let event = Event::new(new_id(now_ms, [7; 10]), "/todos", name.as_str())
//!     .with_subject("task-1")
//!     .with_time(Timestamp::from_unix_ms(now_ms as i64))
//!     .with_json(&serde_json::json!({"title": "Buy groceries"}))?
//!     .with_extension("partitionkey", "task-1");
//!
//! let (headers, body) = http_binding::encode_binary(&event)?;
//! assert_eq!(headers["ce-type"], "todos.task.created");
//! assert_eq!(body, br#"{"title":"Buy groceries"}"#);
//!
//! let received = http_binding::decode(&headers, &body)?;
//! assert_eq!(received, [event]);
//! assert!(TypePattern::parse("todos.task.*")?.matches(&received[0].event_type));
//! # Ok(())
//! # }
//! ```

pub mod name;

pub mod id;

pub mod event;

pub mod extension;

pub mod data;

pub mod timestamp;

mod attribute;

mod builder;

pub mod json;

pub mod http_binding;

pub mod kafka_binding;

pub mod limits;

pub mod error;

pub use data::Data;
pub use error::Error;
pub use event::{Event, SPEC_VERSION};
pub use extension::ExtensionValue;
pub use id::{derived_id, is_uuid, new_id};
pub use json::BatchWriter;
pub use name::{EventName, TypePattern, schema_uri};
pub use timestamp::Timestamp;
