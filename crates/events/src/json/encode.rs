//! Events to JSON, straight into one buffer.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::data::Data;
use crate::error::Error;
use crate::event::{Event, SPEC_VERSION};
use crate::limits;

/// What names, quotes and commas add to an event's size, about: room for them spares the buffer from growing.
const PUNCTUATION_BYTES: usize = 64;

/// Writes one event.
///
/// # Errors
/// Those of [`Event::validate`].
pub fn encode(event: &Event) -> Result<Vec<u8>, Error> {
    event.validate()?;
    let mut body = Vec::with_capacity(event.size_bytes() + PUNCTUATION_BYTES);
    write_event(event, &mut body);
    Ok(body)
}

/// Writes a batch, which may be empty.
///
/// # Errors
/// Those of [`BatchWriter::push`]; what is wrong with one event is an [`Error::InBatch`] that has its index.
pub fn encode_batch<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<Vec<u8>, Error> {
    let mut batch = BatchWriter::new();
    for event in events {
        batch.push(event)?;
    }
    Ok(batch.finish())
}

/// Writes a batch event by event, for callers that cut their batches to size: when an event no longer fits, the batch
/// is as it was before, and the event begins the next one. Any valid event fits into an empty batch.
///
/// ```
/// use selvedge_events::{BatchWriter, Event};
///
/// let mut batch = BatchWriter::new();
/// batch.push(&Event::new("1", "/todos", "todos.task.created"))?;
/// assert_eq!(batch.len(), 1);
/// assert_eq!(batch.finish(), br#"[{"specversion":"1.0","id":"1","source":"/todos","type":"todos.task.created"}]"#);
/// # Ok::<(), selvedge_events::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchWriter {
    body: Vec<u8>,
    length: usize,
}

impl BatchWriter {
    /// An empty batch.
    pub fn new() -> Self {
        Self {
            body: vec![b'['],
            length: 0,
        }
    }

    /// Appends an event. After an error the batch is as it was before.
    ///
    /// # Errors
    /// [`Error::TooManyEvents`] and [`Error::BodyTooLarge`] when the batch is full; [`Error::InBatch`] when the event is
    /// not valid.
    pub fn push(&mut self, event: &Event) -> Result<(), Error> {
        if self.length == limits::MAX_BATCH_EVENTS {
            return Err(Error::TooManyEvents {
                limit: limits::MAX_BATCH_EVENTS,
            });
        }
        event.validate().map_err(|error| Error::InBatch {
            index: self.length,
            source: Box::new(error),
        })?;
        let length_before = self.body.len();
        self.body.reserve(event.size_bytes() + PUNCTUATION_BYTES);
        if self.length > 0 {
            self.body.push(b',');
        }
        write_event(event, &mut self.body);
        let length_bytes = self.body.len() + "]".len();
        if length_bytes > limits::MAX_BODY_BYTES {
            self.body.truncate(length_before);
            return Err(Error::BodyTooLarge {
                length_bytes,
                limit_bytes: limits::MAX_BODY_BYTES,
            });
        }
        self.length += 1;
        Ok(())
    }

    /// How many events the batch has.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the batch has no events.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes the finished batch will have.
    pub fn len_bytes(&self) -> usize {
        self.body.len() + "]".len()
    }

    /// The batch's JSON.
    pub fn finish(mut self) -> Vec<u8> {
        self.body.push(b']');
        self.body
    }
}

impl Default for BatchWriter {
    fn default() -> Self {
        Self::new()
    }
}

fn write_event(event: &Event, body: &mut Vec<u8>) {
    serde_json::to_writer(body, event).expect("a Vec takes every byte, and all of an event's values have JSON forms");
}

/// The JSON event format, unchecked: [`encode`] checks the event too. Works with serde_json only, since JSON data is
/// passed through as it stands.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPEC_VERSION)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", &self.event_type)?;
        if let Some(subject) = &self.subject {
            map.serialize_entry("subject", subject)?;
        }
        if let Some(time) = &self.time {
            map.serialize_entry("time", time)?;
        }
        if let Some(content_type) = &self.datacontenttype {
            map.serialize_entry("datacontenttype", content_type)?;
        }
        if let Some(schema) = &self.dataschema {
            map.serialize_entry("dataschema", schema)?;
        }
        for (name, value) in &self.extensions {
            map.serialize_entry(name, value)?;
        }
        match &self.data {
            Data::None => {}
            Data::Json(json) => map.serialize_entry("data", json)?,
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Binary(bytes) => map.serialize_entry("data_base64", &Base64(bytes))?,
        }
        map.end()
    }
}

/// Base64 that is written as it is computed, without a string in between.
struct Base64<'b>(&'b [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decode_batch;
    use crate::timestamp::Timestamp;

    fn event() -> Event {
        Event::new("1", "/todos", "todos.task.created")
    }

    #[test]
    fn attributes_come_in_a_fixed_order_and_data_as_it_stands() {
        let mut event = event()
            .with_subject("täsk \"1\"")
            .with_time(Timestamp::from_unix_ms(0))
            .with_extension("urgent", true)
            .with_extension("tries", -2)
            .with_data(
                "application/json",
                Data::from_json_text(r#"{"b" : 1.0}"#.to_owned()).expect("JSON"),
            );
        event.dataschema = Some("urn:task".to_owned());
        let json = String::from_utf8(encode(&event).expect("valid")).expect("UTF-8");
        let expected = concat!(
            r#"{"specversion":"1.0","id":"1","source":"/todos","type":"todos.task.created","#,
            r#""subject":"täsk \"1\"","time":"1970-01-01T00:00:00.000Z","#,
            r#""datacontenttype":"application/json","dataschema":"urn:task","tries":-2,"urgent":true,"#,
            r#""data":{"b" : 1.0}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn text_becomes_a_string_and_binary_becomes_base64() {
        let text = event().with_data("text/plain", Data::Text("a\n\u{0}".to_owned()));
        let json = String::from_utf8(encode(&text).expect("valid")).expect("UTF-8");
        assert!(
            json.ends_with(r#""datacontenttype":"text/plain","data":"a\n\u0000"}"#),
            "{json}"
        );
        let binary = event().with_data("image/png", Data::Binary(vec![0, 0xff, 0x10]));
        let json = String::from_utf8(encode(&binary).expect("valid")).expect("UTF-8");
        assert!(
            json.ends_with(r#""datacontenttype":"image/png","data_base64":"AP8Q"}"#),
            "{json}"
        );
    }

    #[test]
    fn invalid_events_are_not_written() {
        assert!(matches!(
            encode(&Event::new("", "/", "a")),
            Err(Error::MissingAttribute { name: "id" })
        ));
        let error = encode_batch(&[event(), event().with_extension("Bad", true)]).expect_err("the second is invalid");
        assert!(matches!(error, Error::InBatch { index: 1, .. }), "{error}");
    }

    #[test]
    fn an_event_that_does_not_fit_leaves_the_batch_as_it_was() {
        let mut worst = event().with_data("text/plain", Data::None);
        // Escapes to six bytes each: the longest that a valid event can become.
        worst.data = Data::Text("\u{1}".repeat(limits::MAX_EVENT_BYTES - worst.size_bytes()));
        let mut batch = BatchWriter::new();
        batch.push(&worst).expect("any valid event fits into an empty batch");
        let before = batch.len_bytes();
        assert!(matches!(batch.push(&worst), Err(Error::BodyTooLarge { .. })));
        assert_eq!((batch.len(), batch.len_bytes()), (1, before));
        let body = batch.finish();
        assert_eq!(body.len(), before);
        assert_eq!(decode_batch(&body).expect("whole"), [worst]);
    }

    #[test]
    fn a_batch_has_at_most_so_many_events() {
        let event = event();
        let body = encode_batch(std::iter::repeat_n(&event, limits::MAX_BATCH_EVENTS)).expect("just fits");
        assert_eq!(
            decode_batch(&body).expect("within limits").len(),
            limits::MAX_BATCH_EVENTS
        );
        let error = encode_batch(std::iter::repeat_n(&event, limits::MAX_BATCH_EVENTS + 1)).expect_err("one too many");
        assert!(matches!(error, Error::TooManyEvents { .. }));
        assert_eq!(encode_batch([]).expect("may be empty"), b"[]");
        assert!(BatchWriter::default().is_empty());
    }
}
