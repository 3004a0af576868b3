//! The Kafka binding in binary mode: an event as a record's headers and value.
//!
//! Every attribute is a header whose name begins with `ce_`; the data's content type is the header `content-type`, and the
//! data are the value, byte by byte. An event without data has no value.

use std::borrow::Cow;

use crate::data::Data;
use crate::error::Error;
use crate::event::{Event, SPEC_VERSION};

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
    let mut add = |name: &str, value: &str| headers.push((format!("ce_{name}"), value.as_bytes().to_vec()));
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
        headers.push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
    }
    let value = (!event.data.is_none()).then(|| event.data.as_bytes().to_vec());
    Ok(Record { headers, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
        let found = record.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(&found.1).ok()
    }

    #[test]
    fn attributes_are_headers_and_data_are_the_value() {
        let event = Event::new("1", "/todos", "todos.task.created")
            .with_extension("partitionkey", "u1")
            .with_extension("sequence", 7)
            .with_json(&serde_json::json!({ "title": "Größe: 1 m² 🌍" }))
            .expect("JSON");
        let record = encode_binary(&event).expect("a valid event");
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "/todos"),
            ("ce_type", "todos.task.created"),
            ("ce_partitionkey", "u1"),
            ("ce_sequence", "7"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(header(&record, name), Some(value), "{name}");
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
            (record.value.clone(), header(&record, "content-type")),
            (Some(bytes), Some("image/png"))
        );
    }

    #[test]
    fn what_is_no_valid_event_is_refused() {
        assert!(encode_binary(&Event::new("", "/a", "a.b.c")).is_err());
    }
}
