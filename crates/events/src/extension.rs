//! Extension attributes, and typed access to those that Selvedge documents.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::event::Event;
use crate::timestamp::Timestamp;

/// Events with the same key go to the same place, and in order where a subscription asks for it.
pub const PARTITION_KEY: &str = "partitionkey";
/// The event's place in its stream, as text that sorts like the places do.
pub const SEQUENCE: &str = "sequence";
/// The W3C trace context that the event belongs to.
pub const TRACE_PARENT: &str = "traceparent";
/// The business transaction that the event belongs to.
pub const CORRELATION_ID: &str = "correlationid";
/// The id of the event that caused this one.
pub const CAUSATION_ID: &str = "causationid";
/// When the event loses its meaning: it isn't delivered after this time.
pub const EXPIRY_TIME: &str = "expirytime";
/// When the event is to be delivered: it isn't delivered before this time.
pub const DELIVER_AT: &str = "deliverat";

/// The value of an extension attribute. CloudEvents' other types (binary, URI, time) are strings in every format.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExtensionValue {
    /// A text without control characters.
    String(String),
    /// A whole number.
    Integer(i32),
    /// A truth value.
    Boolean(bool),
}

impl ExtensionValue {
    /// The text, when this is a [`ExtensionValue::String`].
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Integer(_) | Self::Boolean(_) => None,
        }
    }

    /// The canonical string that CloudEvents defines for every type, which is what HTTP headers carry: `5`, `true`.
    pub fn to_canonical_string(&self) -> Cow<'_, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
        }
    }

    /// What this is, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "a boolean",
        }
    }
}

impl fmt::Display for ExtensionValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_canonical_string())
    }
}

impl From<&str> for ExtensionValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for ExtensionValue {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Timestamp> for ExtensionValue {
    fn from(time: Timestamp) -> Self {
        Self::String(time.to_string())
    }
}

impl From<i32> for ExtensionValue {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for ExtensionValue {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl Serialize for ExtensionValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::String(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i32(*number),
            Self::Boolean(truth) => serializer.serialize_bool(*truth),
        }
    }
}

/// The documented extensions. An empty text counts as unset, because some producers send one instead of nothing.
impl Event {
    /// The key of the event's partition: see [`PARTITION_KEY`].
    pub fn partitionkey(&self) -> Option<&str> {
        self.text_extension(PARTITION_KEY)
    }

    /// The event's place in its stream: see [`SEQUENCE`].
    pub fn sequence(&self) -> Option<&str> {
        self.text_extension(SEQUENCE)
    }

    /// The W3C trace context: see [`TRACE_PARENT`]. Its syntax isn't checked.
    pub fn traceparent(&self) -> Option<&str> {
        self.text_extension(TRACE_PARENT)
    }

    /// The business transaction: see [`CORRELATION_ID`].
    pub fn correlationid(&self) -> Option<&str> {
        self.text_extension(CORRELATION_ID)
    }

    /// The id of the causing event: see [`CAUSATION_ID`].
    pub fn causationid(&self) -> Option<&str> {
        self.text_extension(CAUSATION_ID)
    }

    /// When the event expires: see [`EXPIRY_TIME`]. `None` also for what is no time, which
    /// [`Event::validate`] refuses.
    pub fn expirytime(&self) -> Option<Timestamp> {
        self.text_extension(EXPIRY_TIME)?.parse().ok()
    }

    /// When the event is to be delivered: see [`DELIVER_AT`]. `None` also for what is no time, which
    /// [`Event::validate`] refuses.
    pub fn deliverat(&self) -> Option<Timestamp> {
        self.text_extension(DELIVER_AT)?.parse().ok()
    }

    fn text_extension(&self, name: &str) -> Option<&str> {
        self.extensions.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

/// Refuses a documented extension that the accessors above couldn't read: silently ignoring a partition key or an
/// expiry time would break what its producer relies on.
pub(crate) fn check_documented(name: &str, value: &ExtensionValue) -> Result<(), Error> {
    let expected = match name {
        PARTITION_KEY | SEQUENCE | TRACE_PARENT | CORRELATION_ID | CAUSATION_ID => "a string",
        EXPIRY_TIME | DELIVER_AT => "a time as a string",
        _ => return Ok(()),
    };
    match value {
        ExtensionValue::String(text) if matches!(name, EXPIRY_TIME | DELIVER_AT) && !text.is_empty() => {
            Timestamp::parse_attribute(name, text).map(drop)
        }
        ExtensionValue::String(_) => Ok(()),
        other => Err(Error::WrongAttributeType {
            name: name.to_owned(),
            expected,
            found: other.kind(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new("1", "/todos", "todos.task.created")
    }

    #[test]
    fn documented_extensions_have_typed_access() {
        let event = event()
            .with_extension(PARTITION_KEY, "task-1")
            .with_extension(SEQUENCE, "0007")
            .with_extension(TRACE_PARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .with_extension(CORRELATION_ID, "order-1")
            .with_extension(CAUSATION_ID, "0")
            .with_extension(EXPIRY_TIME, Timestamp::from_unix_ms(2000))
            .with_extension(DELIVER_AT, "1970-01-01T00:00:01Z");
        event.validate().expect("all as documented");
        assert_eq!(event.partitionkey(), Some("task-1"));
        assert_eq!(event.sequence(), Some("0007"));
        assert!(event.traceparent().is_some_and(|text| text.ends_with("-01")));
        assert_eq!(event.correlationid(), Some("order-1"));
        assert_eq!(event.causationid(), Some("0"));
        assert_eq!(event.expirytime().map(Timestamp::unix_ms), Some(2000));
        assert_eq!(event.deliverat().map(Timestamp::unix_ms), Some(1000));
    }

    #[test]
    fn absent_and_empty_extensions_are_unset() {
        assert_eq!(event().partitionkey(), None);
        assert_eq!(event().expirytime(), None);
        let empty = event().with_extension(TRACE_PARENT, "").with_extension(EXPIRY_TIME, "");
        empty.validate().expect("empty counts as unset");
        assert_eq!(empty.traceparent(), None);
        assert_eq!(empty.expirytime(), None);
    }

    #[test]
    fn documented_extensions_of_another_type_are_refused() {
        for name in [
            PARTITION_KEY,
            SEQUENCE,
            TRACE_PARENT,
            CORRELATION_ID,
            CAUSATION_ID,
            EXPIRY_TIME,
            DELIVER_AT,
        ] {
            let error = event().with_extension(name, 5).validate().expect_err(name);
            assert!(
                matches!(error, Error::WrongAttributeType { found: "a number", .. }),
                "{error}"
            );
        }
        for name in [EXPIRY_TIME, DELIVER_AT] {
            let error = event().with_extension(name, "soon").validate().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
        event()
            .with_extension("tries", 5)
            .with_extension("urgent", true)
            .validate()
            .expect("free to choose");
    }

    #[test]
    fn values_have_canonical_strings() {
        assert_eq!(ExtensionValue::from(-5).to_string(), "-5");
        assert_eq!(ExtensionValue::from(true).to_string(), "true");
        assert_eq!(ExtensionValue::from(false).to_canonical_string(), "false");
        assert_eq!(ExtensionValue::from("x".to_owned()).to_string(), "x");
    }
}
