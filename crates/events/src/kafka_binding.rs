//! The Kafka binding: an event as a record's headers and value.
//!
//! It is written in binary mode: every attribute is a header whose name begins with `ce_`; the data's content type is the header `content-type`, and the
//! data are the value, byte by byte. An event without data has no value.
//! Extensions that are numbers or booleans arrive as strings. Structured mode is read as well.

use std::borrow::Cow;

use crate::builder::{AttributeValue, EventBuilder};
use crate::data::Data;
use crate::error::{Error, excerpt};
use crate::event::{Event, SPEC_VERSION};
use crate::{json, limits};

/// What the headers of attributes begin with.
const PREFIX: &str = "ce_";
/// The header of the data's content type.
const CONTENT_TYPE: &str = "content-type";

/// A record's headers and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The headers, each once.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value; `None` where the event has no data.
    pub value: Option<Vec<u8>>,
}

/// Writes an event in binary mode.
///
/// ```
/// use selvedge_events::{Event, kafka_binding};
///
/// let event = Event::new("1", "/todos", "todos.task.created").with_subject("Größe");
/// let record = kafka_binding::encode_binary(&event)?;
/// assert!(record.headers.contains(&("ce_subject".to_owned(), "Größe".into())));
/// assert_eq!(record.value, None);
/// # Ok::<(), selvedge_events::Error>(())
/// ```
///
/// # Errors
/// Those of [`Event::validate`].
pub fn encode_binary(event: &Event) -> Result<Record, Error> {
    event.validate()?;
    let mut headers = Vec::with_capacity(8 + event.extensions.len());
    let mut add = |name: &str, value: &str| headers.push((format!("{PREFIX}{name}"), value.as_bytes().to_vec()));
    add("specversion", SPEC_VERSION);
    add("id", &event.id);
    add("source", &event.source);
    add("type", &event.event_type);
    if let Some(subject) = &event.subject {
        add("subject", subject);
    }
    if let Some(time) = &event.time {
        add("time", &time.to_string());
    }
    if let Some(schema) = &event.dataschema {
        add("dataschema", schema);
    }
    for (name, value) in &event.extensions {
        add(name, &value.to_canonical_string());
    }
    let content_type = match (&event.datacontenttype, &event.data) {
        (Some(content_type), _) => Some(Cow::from(content_type)),
        // JSON is what an absent content type stands for, but readers of records can't know that.
        (None, Data::Json(_)) => Some(Cow::from("application/json")),
        (None, _) => None,
    };
    if let Some(content_type) = content_type {
        headers.push((CONTENT_TYPE.to_owned(), content_type.as_bytes().to_vec()));
    }
    let value = (!event.data.is_none()).then(|| event.data.as_bytes().to_vec());
    Ok(Record { headers, value })
}

/// Reads an event in binary or structured mode.
///
/// # Errors
/// [`Error::NotACloudEvent`] and [`Error::UnsupportedFormat`] when it is in neither of the modes; otherwise whatever is wrong
/// first.
pub fn decode(record: &Record) -> Result<Event, Error> {
    let value = record.value.as_deref().unwrap_or_default();
    let content_type = header(record, CONTENT_TYPE)?;
    let media_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    match media_type {
        Some(media_type) if media_type.eq_ignore_ascii_case(json::MEDIA_TYPE) => return json::decode(value),
        Some(media_type) if media_type.starts_with("application/cloudevents") => {
            return Err(Error::UnsupportedFormat {
                content_type: excerpt(media_type),
            });
        }
        _ => {}
    }
    if header(record, "ce_specversion")?.is_none() {
        return Err(Error::NotACloudEvent);
    }
    if value.len() > limits::MAX_EVENT_BYTES {
        return Err(Error::EventTooLarge {
            length_bytes: value.len(),
            limit_bytes: limits::MAX_EVENT_BYTES,
        });
    }
    let mut attributes = EventBuilder::default();
    for (name, value) in &record.headers {
        if let Some(attribute) = name.strip_prefix(PREFIX) {
            attributes.set(
                Cow::Borrowed(attribute),
                AttributeValue::String(text(name, value)?.into()),
            )?;
        }
    }
    if let Some(content_type) = content_type {
        let value = AttributeValue::String(content_type.into());
        attributes.set(Cow::Borrowed("datacontenttype"), value)?;
    }
    let data = match &record.value {
        None => Data::None,
        Some(value) => Data::from_content(content_type, value.clone())?,
    };
    attributes.build(data)
}

/// The value of a header that must not be there twice: readers could disagree about which one counts.
fn header<'r>(record: &'r Record, name: &str) -> Result<Option<&'r str>, Error> {
    let mut values = record.headers.iter().filter(|(header, _)| header == name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some((name, value)), None) => text(name, value).map(Some),
        (Some(_), Some(_)) => Err(Error::DuplicateAttribute { name: name.to_owned() }),
    }
}

fn text<'v>(name: &str, value: &'v [u8]) -> Result<&'v str, Error> {
    std::str::from_utf8(value).map_err(|source| Error::InvalidUtf8 {
        what: name.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
        let found = record.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(&found.1).ok()
    }

    #[test]
    fn attributes_are_headers_and_data_are_the_value() {
        let event = Event::new("1", "/todos", "todos.task.created")
            .with_extension("partitionkey", "u1")
            .with_extension("attempts", 7)
            .with_json(&serde_json::json!({ "title": "Größe: 1 m² 🌍" }))
            .expect("JSON");
        let record = encode_binary(&event).expect("a valid event");
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "/todos"),
            ("ce_type", "todos.task.created"),
            ("ce_partitionkey", "u1"),
            ("ce_attempts", "7"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(header_of(&record, name), Some(value), "{name}");
        }
        assert_eq!(
            record.value.as_deref(),
            Some(r#"{"title":"Größe: 1 m² 🌍"}"#.as_bytes())
        );
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let bytes = vec![0, 0xff, b'"'];
        let event = Event::new("1", "/a", "a.b.c").with_data("image/png", Data::Binary(bytes.clone()));
        let record = encode_binary(&event).expect("a valid event");
        assert_eq!(
            (record.value.clone(), header_of(&record, "content-type")),
            (Some(bytes), Some("image/png"))
        );
    }

    #[test]
    fn what_is_no_valid_event_is_refused() {
        assert!(encode_binary(&Event::new("", "/a", "a.b.c")).is_err());
    }

    #[test]
    fn an_event_is_read_as_it_was_written_in_either_mode() {
        let event = Event::new("1", "/todos", "todos.task.created")
            .with_subject("100% \"ä\"")
            .with_extension("partitionkey", "u1");
        let structured = |event: &Event| Record {
            headers: vec![(
                CONTENT_TYPE.to_owned(),
                b"application/cloudevents+json; charset=utf-8".to_vec(),
            )],
            value: Some(json::encode(event).expect("a valid event")),
        };
        for event in [
            event.clone(),
            event.clone().with_data("text/plain", Data::Text("ä".to_owned())),
            event.with_data("image/png", Data::Binary(vec![0, 0xff])),
        ] {
            let written = encode_binary(&event).expect("a valid event");
            assert_eq!(decode(&written).expect("an event"), event);
            assert_eq!(decode(&structured(&event)).expect("an event"), event);
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let of = |headers: &[(&str, &[u8])]| {
            let header = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
            decode(&Record {
                headers: headers.iter().map(header).collect(),
                value: Some(b"{}".to_vec()),
            })
        };
        let version: (&str, &[u8]) = ("ce_specversion", b"1.0");
        assert!(matches!(of(&[]), Err(Error::NotACloudEvent)));
        assert!(matches!(of(&[version]), Err(Error::MissingAttribute { .. })));
        assert!(matches!(of(&[version, version]), Err(Error::DuplicateAttribute { .. })));
        assert!(matches!(
            of(&[version, ("ce_id", b"\xff")]),
            Err(Error::InvalidUtf8 { .. })
        ));
        assert!(matches!(
            of(&[("content-type", b"application/cloudevents+avro")]),
            Err(Error::UnsupportedFormat { .. })
        ));
        assert!(of(&[("content-type", b"application/cloudevents+json")]).is_err());
    }
}
