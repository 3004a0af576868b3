//! Events from JSON, in one pass and with JSON data left as it stands.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::builder::{AttributeValue, EventBuilder};
use crate::data::{self, Data};
use crate::error::Error;
use crate::event::Event;
use crate::limits;

/// Reads one event.
///
/// # Errors
/// [`Error::BodyTooLarge`] before anything is read; otherwise whatever is wrong first, in the body's order.
pub fn decode(body: &[u8]) -> Result<Event, Error> {
    let mut failure = None;
    let event = read(body, "event", EventSeed { failure: &mut failure });
    event.map_err(|error| failure.unwrap_or(error))
}

/// Reads a batch, which may be empty. It is taken as a whole or not at all.
///
/// # Errors
/// Those of [`decode`]; [`Error::TooManyEvents`] beyond the limit; what is wrong with one event is an [`Error::InBatch`]
/// that has its index, unless it already breaks the batch's JSON.
pub fn decode_batch(body: &[u8]) -> Result<Vec<Event>, Error> {
    let mut failure = None;
    let events = read(body, "batch", BatchSeed { failure: &mut failure });
    events.map_err(|error| failure.unwrap_or(error))
}

fn read<'de, S: DeserializeSeed<'de>>(body: &'de [u8], what: &'static str, seed: S) -> Result<S::Value, Error> {
    if body.len() > limits::MAX_BODY_BYTES {
        return Err(Error::BodyTooLarge {
            length_bytes: body.len(),
            limit_bytes: limits::MAX_BODY_BYTES,
        });
    }
    // Checked once here, so that serde_json needn't check string by string.
    let text = std::str::from_utf8(body).map_err(|source| Error::InvalidUtf8 {
        what: "body".to_owned(),
        source,
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|source| Error::InvalidJson { what, source })
}

/// The JSON event format, checked as [`decode`] checks it. Works with serde_json only, since JSON data is passed
/// through as it stands.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut failure = None;
        let event = EventSeed { failure: &mut failure }.deserialize(deserializer);
        event.map_err(|error| failure.map_or(error, de::Error::custom))
    }
}

/// Reads an event. serde's errors are texts: what is wrong with the event, other than its JSON, is left in `failure`.
struct EventSeed<'f> {
    failure: &'f mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = Event;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a CloudEvent as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut members = Members::default();
        while let Some(Name(name)) = map.next_key()? {
            let taken = match &*name {
                "data" => members.set_data(map.next_value()?),
                "data_base64" => members.set_base64(map.next_value()?),
                _ => members.attributes.set(name, map.next_value()?),
            };
            taken.map_err(|error| leave(self.failure, error))?;
        }
        members.build().map_err(|error| leave(self.failure, error))
    }
}

struct BatchSeed<'f> {
    failure: &'f mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for BatchSeed<'_> {
    type Value = Vec<Event>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Event>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed<'_> {
    type Value = Vec<Event>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a batch of CloudEvents as a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Event>, A::Error> {
        let mut events = Vec::new();
        while events.len() < limits::MAX_BATCH_EVENTS {
            let mut failure = None;
            match seq.next_element_seed(EventSeed { failure: &mut failure }) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return Ok(events),
                Err(error) => {
                    *self.failure = failure.map(|source| Error::InBatch {
                        index: events.len(),
                        source: Box::new(source),
                    });
                    return Err(error);
                }
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(leave(
                self.failure,
                Error::TooManyEvents {
                    limit: limits::MAX_BATCH_EVENTS,
                },
            )),
            None => Ok(events),
        }
    }
}

/// Leaves the error where the caller finds it, and gives serde one to stop with.
fn leave<E: de::Error>(failure: &mut Option<Error>, error: Error) -> E {
    *failure = Some(error);
    E::custom("the event is refused")
}

/// The members of the JSON object so far.
#[derive(Default)]
struct Members {
    attributes: EventBuilder,
    data: Option<Box<RawValue>>,
    base64: Option<Vec<u8>>,
}

impl Members {
    fn set_data(&mut self, json: Box<RawValue>) -> Result<(), Error> {
        if self.base64.is_some() {
            return Err(Error::DataTwice);
        }
        match self.data.replace(json) {
            Some(_) => Err(Error::DuplicateAttribute {
                name: "data".to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn set_base64(&mut self, value: AttributeValue<'_>) -> Result<(), Error> {
        let found = match value {
            AttributeValue::Unset => return Ok(()),
            AttributeValue::String(_) if self.data.is_some() => return Err(Error::DataTwice),
            AttributeValue::String(text) => {
                let bytes = STANDARD
                    .decode(&*text)
                    .map_err(|source| Error::InvalidBase64 { source })?;
                return match self.base64.replace(bytes) {
                    Some(_) => Err(Error::DuplicateAttribute {
                        name: "data_base64".to_owned(),
                    }),
                    None => Ok(()),
                };
            }
            AttributeValue::Integer(_) => "a number",
            AttributeValue::Boolean(_) => "a boolean",
            AttributeValue::Other(found) => found,
        };
        Err(Error::WrongAttributeType {
            name: "data_base64".to_owned(),
            expected: "a string of Base64",
            found,
        })
    }

    fn build(self) -> Result<Event, Error> {
        let content_type = self.attributes.datacontenttype();
        let data = match (self.data, self.base64) {
            (Some(json), _) => json_data(content_type, json)?,
            // A producer may send JSON as Base64: then it is JSON here all the same.
            (None, Some(bytes)) if content_type.is_some_and(data::is_json_content) => {
                Data::from_content(content_type, bytes)?
            }
            (None, Some(bytes)) => Data::Binary(bytes),
            (None, None) => Data::None,
        };
        self.attributes.build(data)
    }
}

/// What the `data` member stands for depends on the content type, which may come after it.
fn json_data(content_type: Option<&str>, json: Box<RawValue>) -> Result<Data, Error> {
    match content_type {
        Some(content_type) if !data::is_json_content(content_type) => match json.get() {
            "null" => Ok(Data::None),
            text if text.starts_with('"') => serde_json::from_str(text)
                .map(Data::Text)
                .map_err(|source| Error::InvalidJson { what: "data", source }),
            _ => Err(Error::DataContentTypeMismatch {
                content_type: content_type.to_owned(),
                found: "a JSON value other than a string",
            }),
        },
        _ => {
            data::check_depth(json.get())?;
            Ok(Data::Json(json))
        }
    }
}

/// A member's name, borrowed from the input where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for AttributeValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttributeValueVisitor)
    }
}

/// Takes any JSON value: which of them the attribute may have is not this visitor's matter.
struct AttributeValueVisitor;

impl<'de> Visitor<'de> for AttributeValueVisitor {
    type Value = AttributeValue<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an attribute's value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(AttributeValue::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(AttributeValue::String(Cow::Owned(text)))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(AttributeValue::Boolean(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let too_large = AttributeValue::Other("a number of more than 32 bits");
        Ok(i32::try_from(number).map_or(too_large, AttributeValue::Integer))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(AttributeValue::Other("a number with a fraction or an exponent"))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(AttributeValue::Unset)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AttributeValue::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(AttributeValue::Other("an object"))
    }
}
