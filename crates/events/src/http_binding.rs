//! The HTTP binding: events as HTTP messages, in all three content modes.
//!
//! | Content mode | `Content-Type` | attributes | data |
//! |---|---|---|---|
//! | binary | the event's `datacontenttype` | `ce-` headers | the body, byte by byte |
//! | structured | `application/cloudevents+json` | in the body | in the body |
//! | batched | `application/cloudevents-batch+json` | in the body | in the body |
//!
//! Some things don't survive binary mode, because HTTP can't say them: extensions that are numbers or booleans arrive
//! as strings, empty data arrives as no data, and JSON data without a `datacontenttype` arrives with the one that its
//! absence stands for.
//!
//! ```
//! use http::HeaderMap;
//! use selvedge_events::http_binding;
//!
//! let mut headers = HeaderMap::new();
//! for (name, value) in [
//!     ("ce-specversion", "1.0"),
//!     ("ce-id", "1"),
//!     ("ce-source", "/todos"),
//!     ("ce-type", "todos.task.created"),
//!     ("ce-subject", "Euro%20%E2%82%AC"),
//!     ("content-type", "application/json"),
//! ] {
//!     headers.insert(name, value.parse().expect("a header value"));
//! }
//! let events = http_binding::decode(&headers, br#"{"title":"Buy groceries"}"#)?;
//! assert_eq!(events[0].subject.as_deref(), Some("Euro €"));
//! # Ok::<(), selvedge_events::Error>(())
//! ```

mod header_value;

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::builder::{AttributeValue, EventBuilder};
use crate::data::Data;
use crate::error::{Error, excerpt};
use crate::event::{Event, SPEC_VERSION};
use crate::{json, limits};

/// What the headers of attributes begin with.
const PREFIX: &str = "ce-";

/// The attributes that every event has, and the content type.
const USUAL_HEADERS: usize = 8;

/// Reads the events of an HTTP request or response in whichever content mode it is: one, or those of a batch, which
/// may be none. A batch is taken as a whole or not at all.
///
/// # Errors
/// [`Error::NotACloudEvent`] and [`Error::UnsupportedFormat`] when it is in none of the modes; otherwise whatever is
/// wrong first.
pub fn decode(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Event>, Error> {
    let content_type = content_type(headers)?;
    match content_type.map(format_of) {
        Some(Format::Event) => Ok(vec![json::decode(body)?]),
        Some(Format::Batch) => json::decode_batch(body),
        Some(Format::Unknown) => Err(Error::UnsupportedFormat {
            content_type: excerpt(content_type.unwrap_or_default()),
        }),
        Some(Format::None) | None => Ok(vec![decode_binary(headers, content_type, body)?]),
    }
}

/// Writes one event in binary mode.
///
/// # Errors
/// Those of [`Event::validate`], and [`Error::InvalidAttribute`] where the data is itself an encoded CloudEvent: by the
/// content type, whoever gets it would take the data for the event. Structured mode can carry it.
pub fn encode_binary(event: &Event) -> Result<(HeaderMap, Vec<u8>), Error> {
    event.validate()?;
    if let Some(content_type) = &event.datacontenttype
        && !matches!(format_of(content_type), Format::None)
    {
        return Err(Error::InvalidAttribute {
            name: "datacontenttype".to_owned(),
            value: excerpt(content_type),
            reason: "send an event whose data is a CloudEvent in structured mode",
        });
    }
    let mut headers = HeaderMap::with_capacity(USUAL_HEADERS + event.extensions.len());
    headers.insert(
        HeaderName::from_static("ce-specversion"),
        HeaderValue::from_static(SPEC_VERSION),
    );
    headers.insert(HeaderName::from_static("ce-id"), header_value::encode(&event.id));
    headers.insert(
        HeaderName::from_static("ce-source"),
        header_value::encode(&event.source),
    );
    headers.insert(
        HeaderName::from_static("ce-type"),
        header_value::encode(&event.event_type),
    );
    if let Some(subject) = &event.subject {
        headers.insert(HeaderName::from_static("ce-subject"), header_value::encode(subject));
    }
    if let Some(time) = &event.time {
        headers.insert(
            HeaderName::from_static("ce-time"),
            header_value::encode(&time.to_string()),
        );
    }
    if let Some(schema) = &event.dataschema {
        headers.insert(HeaderName::from_static("ce-dataschema"), header_value::encode(schema));
    }
    for (name, value) in &event.extensions {
        let name = HeaderName::try_from(format!("{PREFIX}{name}"))
            .expect("a valid event's extension names are letters and digits");
        headers.insert(name, header_value::encode(&value.to_canonical_string()));
    }
    match (&event.datacontenttype, &event.data) {
        (Some(content_type), _) => {
            let value = HeaderValue::try_from(content_type.as_str())
                .expect("a valid event's content type is ASCII without control characters");
            headers.insert(CONTENT_TYPE, value);
        }
        // JSON is what an absent content type stands for, but HTTP readers can't know that.
        (None, Data::Json(_)) => _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (None, _) => {}
    }
    Ok((headers, event.data.as_bytes().to_vec()))
}

/// Writes one event in structured mode.
///
/// # Errors
/// Those of [`Event::validate`].
pub fn encode_structured(event: &Event) -> Result<(HeaderMap, Vec<u8>), Error> {
    Ok((content_type_header(json::MEDIA_TYPE), json::encode(event)?))
}

/// Writes a batch, which may be empty. Use [`json::BatchWriter`] to cut batches to size.
///
/// # Errors
/// Those of [`json::encode_batch`].
pub fn encode_batch<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<(HeaderMap, Vec<u8>), Error> {
    Ok((content_type_header(json::BATCH_MEDIA_TYPE), json::encode_batch(events)?))
}

/// Whether an HTTP message looks like it carries CloudEvents, in any mode, so that it is worth a [`decode`].
pub fn is_cloud_event(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
        || headers.get(CONTENT_TYPE).is_some_and(|value| {
            matches!(
                std::str::from_utf8(value.as_bytes()).map(format_of),
                Ok(Format::Event | Format::Batch | Format::Unknown)
            )
        })
}

/// The event format that a content type names.
enum Format {
    /// JSON, one event.
    Event,
    /// JSON, a batch.
    Batch,
    /// CloudEvents in a format other than JSON.
    Unknown,
    /// No event format: the message may be in binary mode.
    None,
}

fn format_of(content_type: &str) -> Format {
    const FAMILY: &str = "application/cloudevents";
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(json::MEDIA_TYPE) {
        Format::Event
    } else if media_type.eq_ignore_ascii_case(json::BATCH_MEDIA_TYPE) {
        Format::Batch
    } else if media_type
        .get(..FAMILY.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(FAMILY))
    {
        Format::Unknown
    } else {
        Format::None
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let Some(value) = single_value(headers, &CONTENT_TYPE)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|source| Error::InvalidUtf8 {
        what: CONTENT_TYPE.to_string(),
        source,
    })
}

fn content_type_header(media_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
}

fn decode_binary(headers: &HeaderMap, content_type: Option<&str>, body: &[u8]) -> Result<Event, Error> {
    if !headers.contains_key("ce-specversion") {
        return Err(Error::NotACloudEvent);
    }
    if body.len() > limits::MAX_EVENT_BYTES {
        return Err(Error::EventTooLarge {
            length_bytes: body.len(),
            limit_bytes: limits::MAX_EVENT_BYTES,
        });
    }
    let mut attributes = EventBuilder::default();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if attribute == "datacontenttype" {
            let reason = "send Content-Type instead of the header ce-datacontenttype";
            return Err(Error::InvalidAttribute {
                name: attribute.to_owned(),
                value: "a header".to_owned(),
                reason,
            });
        }
        if let Some(value) = single_value(headers, name)? {
            let text = header_value::decode(name, value)?;
            attributes.set(Cow::Borrowed(attribute), AttributeValue::String(text))?;
        }
    }
    if let Some(content_type) = content_type {
        attributes.set(
            Cow::Borrowed("datacontenttype"),
            AttributeValue::String(Cow::Borrowed(content_type)),
        )?;
    }
    attributes.build(Data::from_content(content_type, body.to_vec())?)
}

/// The value of a header that must not be there twice: readers could disagree about which one counts.
fn single_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Error::DuplicateAttribute { name: name.to_string() }),
    }
}
