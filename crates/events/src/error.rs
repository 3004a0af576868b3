//! What can be wrong with an event.

use crate::limits;

/// Why an event, a name or a pattern was refused.
///
/// Each message says what is wrong and what to send instead, and repeats at most a short, escaped excerpt of the input,
/// so that it may be shown to the caller and written to a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A required attribute is missing.
    #[error("the event has no `{name}`: set this attribute, CloudEvents 1.0 requires it")]
    MissingAttribute {
        /// The attribute that is missing.
        name: &'static str,
    },

    /// The same attribute or HTTP header is there twice, so that readers could disagree about which one counts.
    #[error("`{name}` is there more than once: send it once")]
    DuplicateAttribute {
        /// The attribute or header that is there twice.
        name: String,
    },

    /// An attribute has a value of a type that it can't have.
    #[error("`{name}` is {found}: send {expected}")]
    WrongAttributeType {
        /// The attribute.
        name: String,
        /// What it must be, with its article: `a string`.
        expected: &'static str,
        /// What it is, with its article: `an array`.
        found: &'static str,
    },

    /// An attribute has the right type, but not a value that it may have.
    #[error("`{name}` is {value}: {reason}")]
    InvalidAttribute {
        /// The attribute.
        name: String,
        /// An escaped excerpt of its value.
        value: String,
        /// What it has to be.
        reason: &'static str,
    },

    /// An attribute's value is longer than the limit.
    #[error("`{name}` has {length_bytes} bytes, the limit is {limit_bytes}: shorten it, or move it into the data")]
    AttributeTooLong {
        /// The attribute.
        name: String,
        /// How long it is.
        length_bytes: usize,
        /// How long it may be.
        limit_bytes: usize,
    },

    /// An extension has a name that CloudEvents doesn't permit.
    #[error(
        "{name} can't be the name of an extension attribute: use 1 to {max} lower-case letters a-z and digits, and none of \
         the names that CloudEvents defines itself",
        max = limits::MAX_EXTENSION_NAME_BYTES
    )]
    InvalidExtensionName {
        /// An escaped excerpt of the name.
        name: String,
    },

    /// The event has more extension attributes than the limit.
    #[error("the event has more than {limit} extension attributes: move some into the data")]
    TooManyExtensions {
        /// How many it may have.
        limit: usize,
    },

    /// The event is of a version of CloudEvents that this crate doesn't know.
    #[error("`specversion` is {found}: send \"1.0\", the only version understood here")]
    UnsupportedSpecVersion {
        /// An escaped excerpt of the version that the event names.
        found: String,
    },

    /// An event type breaks the naming rule.
    #[error(
        "{name} is no event type: {reason}; write `<domain>.<entity>.<action>`, each part a lower-case letter and then \
         letters, digits or underscores, such as `todos.task.created`"
    )]
    InvalidEventName {
        /// An escaped excerpt of the name.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },

    /// A subscription's type pattern breaks the rule for patterns.
    #[error(
        "{pattern} is no type pattern: {reason}; write `<domain>.<entity>.<action>` where each part may be `*`, such as \
         `todos.task.*`, or a single `*` for everything"
    )]
    InvalidTypePattern {
        /// An escaped excerpt of the pattern.
        pattern: String,
        /// Which rule it breaks.
        reason: &'static str,
    },

    /// The event has no data where data was asked for.
    #[error("the event has no data: send the data that its type `{event_type}` calls for")]
    NoData {
        /// The event's type.
        event_type: String,
    },

    /// The event's data is not JSON where JSON was asked for.
    #[error("the data is {found}: send JSON, with `datacontenttype` application/json")]
    DataNotJson {
        /// What the data is, with its article.
        found: &'static str,
    },

    /// The event's data is JSON, but not of the shape that was asked for.
    #[error("the data does not have the shape that `{event_type}` calls for: {}", brief(source))]
    DataShape {
        /// The event's type.
        event_type: String,
        /// Where the data and the shape part.
        source: serde_json::Error,
    },

    /// A value could not be written as JSON, so that it can't become an event's data.
    #[error(
        "the value can't be written as JSON: {}; use string keys, and numbers that are finite",
        brief(source)
    )]
    DataNotSerializable {
        /// What serde_json objected to.
        source: serde_json::Error,
    },

    /// The data and `datacontenttype` contradict each other.
    #[error("`datacontenttype` is {content_type}, but the data is {found}: make them agree")]
    DataContentTypeMismatch {
        /// The content type, or that there is none.
        content_type: String,
        /// What the data is, with its article.
        found: &'static str,
    },

    /// JSON data nests deeper than the limit.
    #[error("the data nests deeper than {limit} levels: make it flatter")]
    DataTooDeep {
        /// How deep it may nest.
        limit: usize,
    },

    /// Both `data` and `data_base64` are there.
    #[error("the event has both `data` and `data_base64`: send one of them")]
    DataTwice,

    /// `data_base64` is not Base64.
    #[error("`data_base64` is not Base64: {source}; encode it with the standard alphabet and padding")]
    InvalidBase64 {
        /// Where it isn't.
        source: base64::DecodeError,
    },

    /// What must be JSON is not, or is not an event's JSON object or a batch's JSON array.
    #[error("the {what} can't be read as JSON: {}", brief(source))]
    InvalidJson {
        /// What was read: `event`, `batch` or `data`.
        what: &'static str,
        /// Where it isn't.
        source: serde_json::Error,
    },

    /// What must be text is not UTF-8.
    #[error("the {what} is not UTF-8: {source}; send it in this encoding")]
    InvalidUtf8 {
        /// What was read: `body`, `data`, or the name of a header.
        what: String,
        /// Where it isn't.
        source: std::str::Utf8Error,
    },

    /// The HTTP message carries no CloudEvent in any of the three content modes.
    #[error(
        "the request carries no CloudEvent: send Content-Type application/cloudevents+json or \
         application/cloudevents-batch+json, or the headers ce-specversion, ce-id, ce-source and ce-type"
    )]
    NotACloudEvent,

    /// The HTTP message is in an event format other than JSON.
    #[error("events as {content_type} are not understood here: send application/cloudevents+json")]
    UnsupportedFormat {
        /// An escaped excerpt of the content type.
        content_type: String,
    },

    /// One event is larger than the limit.
    #[error(
        "the event has {length_bytes} bytes, the limit is {limit_bytes}: send a reference to the data instead of it"
    )]
    EventTooLarge {
        /// How large it is.
        length_bytes: usize,
        /// How large it may be.
        limit_bytes: usize,
    },

    /// An encoded event or batch is larger than the limit.
    #[error("the body has {length_bytes} bytes, the limit is {limit_bytes}: send smaller batches")]
    BodyTooLarge {
        /// How large it is, or has become when it was given up.
        length_bytes: usize,
        /// How large it may be.
        limit_bytes: usize,
    },

    /// A batch has more events than the limit.
    #[error("the batch has more than {limit} events: send smaller batches")]
    TooManyEvents {
        /// How many it may have.
        limit: usize,
    },

    /// One event of a batch was refused, and with it the batch.
    #[error("event {index} of the batch, counted from 0: {source}")]
    InBatch {
        /// The event's place in the batch, counted from 0.
        index: usize,
        /// Why it was refused.
        source: Box<Error>,
    },
}

impl Error {
    /// Whether the same input could be accepted when it is tried again: never. This crate has no I/O, and what it
    /// refuses once it refuses always.
    pub fn is_retryable(&self) -> bool {
        false
    }

    /// Whether a limit was exceeded, which over HTTP is 413 rather than 400.
    pub fn is_too_large(&self) -> bool {
        match self {
            Error::EventTooLarge { .. } | Error::BodyTooLarge { .. } | Error::TooManyEvents { .. } => true,
            Error::InBatch { source, .. } => source.is_too_large(),
            _ => false,
        }
    }

    /// Whether the message was in no format that is understood here, which over HTTP is 415 rather than 400.
    pub fn is_unsupported_format(&self) -> bool {
        matches!(self, Error::NotACloudEvent | Error::UnsupportedFormat { .. })
    }
}

/// The beginning of an input, quoted and escaped, so that a message stays one short line whatever was sent.
pub(crate) fn excerpt(input: &str) -> String {
    match input.char_indices().nth(limits::MAX_EXCERPT_CHARS) {
        Some((end, _)) => format!("{:?}…", &input[..end]),
        None => format!("{input:?}"),
    }
}

/// serde_json's message without what would make it long: it repeats whole strings of the input. The place comes last and
/// is kept.
fn brief(error: &serde_json::Error) -> String {
    const MAX_CHARS: usize = 2 * limits::MAX_EXCERPT_CHARS;
    let message = error.to_string().replace(char::is_control, " ");
    match message.char_indices().nth(MAX_CHARS) {
        Some((end, _)) if error.line() > 0 => {
            format!(
                "{}… at line {} column {}",
                &message[..end],
                error.line(),
                error.column()
            )
        }
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("a\nb"), r#""a\nb""#);
        let long = excerpt(&"é".repeat(10_000));
        assert!(long.chars().count() <= limits::MAX_EXCERPT_CHARS + 3, "{long}");
    }

    #[test]
    fn messages_stay_short_whatever_was_sent() {
        let huge = format!("\"{}\"", "x".repeat(100_000));
        let error = crate::json::decode(huge.as_bytes())
            .expect_err("a string is no event")
            .to_string();
        assert!(
            error.contains("invalid type: string \"xxx") && error.len() < 300,
            "{error}"
        );
        assert!(error.ends_with("… at line 1 column 100002"), "{error}");
    }

    #[test]
    fn a_limit_exceeded_within_a_batch_counts_as_too_large() {
        let inner = Error::EventTooLarge {
            length_bytes: 2,
            limit_bytes: 1,
        };
        let error = Error::InBatch {
            index: 3,
            source: Box::new(inner),
        };
        assert!(error.is_too_large());
        assert!(!error.is_retryable());
        assert!(
            error
                .to_string()
                .starts_with("event 3 of the batch, counted from 0: the event has 2 bytes")
        );
    }
}
