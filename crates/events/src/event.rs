//! The event: attributes, extensions and data.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attribute;
use crate::data::Data;
use crate::error::Error;
use crate::extension::{self, ExtensionValue};
use crate::id;
use crate::limits;
use crate::timestamp::Timestamp;

/// The version of CloudEvents that every event here is of: its `specversion`.
pub const SPEC_VERSION: &str = "1.0";

/// A CloudEvent, version 1.0.
///
/// The fields are open, so that an event can be put together from wherever its parts lie; [`Event::validate`] checks
/// them. Decoders give valid events only, and encoders refuse any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Identifies the event among all of its source's. Selvedge's own are UUIDv7: see [`crate::new_id`].
    pub id: String,
    /// Where it happened: a URI-reference such as `/todos`.
    pub source: String,
    /// What happened: the `type` attribute. Selvedge's own follow [`crate::EventName`].
    pub event_type: String,
    /// What it happened to, within the source.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// The media type of the data. None stands for JSON, unless the data is binary.
    pub datacontenttype: Option<String>,
    /// The absolute URI of the schema that the data adheres to.
    pub dataschema: Option<String>,
    /// All other attributes, by name.
    pub extensions: BTreeMap<String, ExtensionValue>,
    /// What the event carries.
    pub data: Data,
}

impl Event {
    /// An event with the required attributes and nothing else.
    pub fn new(id: impl Into<String>, source: impl Into<String>, event_type: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            event_type: event_type.into(),
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: BTreeMap::new(),
            data: Data::None,
        }
    }

    /// Sets what it happened to.
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets when it happened.
    pub fn with_time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Sets an extension attribute, in place of one of the same name.
    pub fn with_extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// Sets the data to a value written as JSON, and `datacontenttype` to `application/json`.
    ///
    /// # Errors
    /// Those of [`Data::json`].
    pub fn with_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Error> {
        Ok(self.with_data("application/json", Data::json(value)?))
    }

    /// Sets the data and its content type.
    pub fn with_data(mut self, content_type: impl Into<String>, data: Data) -> Self {
        self.datacontenttype = Some(content_type.into());
        self.data = data;
        self
    }

    /// Reads the data's JSON as a `T`.
    ///
    /// # Errors
    /// [`Error::NoData`] without data, [`Error::DataNotJson`] for data other than JSON, [`Error::DataShape`] for JSON that
    /// is no `T`.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match &self.data {
            Data::None => Err(Error::NoData {
                event_type: self.event_type.clone(),
            }),
            Data::Json(json) => serde_json::from_str(json.get()).map_err(|source| Error::DataShape {
                event_type: self.event_type.clone(),
                source,
            }),
            other => Err(Error::DataNotJson { found: other.kind() }),
        }
    }

    /// The id for the `index`-th event that `producer` appends because of this one: see [`crate::derived_id`].
    pub fn derived_id(&self, producer: &str, index: u32) -> String {
        id::derived_id(&self.source, &self.id, producer, index)
    }

    /// How large the event is whatever it is encoded as: names and values of its attributes, and the data's raw bytes.
    pub fn size_bytes(&self) -> usize {
        let optional = |name: &str, value: &Option<String>| value.as_ref().map_or(0, |value| name.len() + value.len());
        let extensions = self.extensions.iter().map(|(name, value)| {
            name.len()
                + match value {
                    ExtensionValue::String(text) => text.len(),
                    // As long as the longest of them, so that nothing needs to be written out to be measured.
                    ExtensionValue::Integer(_) | ExtensionValue::Boolean(_) => 11,
                }
        });
        "specversion1.0idsourcetype".len()
            + self.id.len()
            + self.source.len()
            + self.event_type.len()
            + optional("subject", &self.subject)
            + self.time.map_or(0, |_| "time0000-00-00T00:00:00.000Z".len())
            + optional("datacontenttype", &self.datacontenttype)
            + optional("dataschema", &self.dataschema)
            + extensions.sum::<usize>()
            + self.data.as_bytes().len()
    }

    /// Checks everything that CloudEvents 1.0 and the [`limits`] ask of an event. The event's type needn't
    /// follow Selvedge's naming rule: [`crate::EventName`] checks that.
    ///
    /// # Errors
    /// The first thing that is wrong, as the [`Error`] that says so.
    pub fn validate(&self) -> Result<(), Error> {
        attribute::check_required("id", &self.id, limits::MAX_ATTRIBUTE_BYTES)?;
        attribute::check_required("source", &self.source, limits::MAX_ATTRIBUTE_BYTES)?;
        attribute::check_uri_reference("source", &self.source)?;
        attribute::check_required("type", &self.event_type, limits::MAX_TYPE_BYTES)?;
        if let Some(subject) = &self.subject {
            attribute::check_not_empty("subject", subject)?;
        }
        if let Some(content_type) = &self.datacontenttype {
            attribute::check_not_empty("datacontenttype", content_type)?;
            attribute::check_media_type("datacontenttype", content_type)?;
        }
        if let Some(schema) = &self.dataschema {
            attribute::check_not_empty("dataschema", schema)?;
            attribute::check_absolute_uri("dataschema", schema)?;
        }
        if self.extensions.len() > limits::MAX_EXTENSIONS {
            return Err(Error::TooManyExtensions {
                limit: limits::MAX_EXTENSIONS,
            });
        }
        for (name, value) in &self.extensions {
            attribute::check_extension_name(name)?;
            if let ExtensionValue::String(text) = value {
                attribute::check_text(name, text, limits::MAX_ATTRIBUTE_BYTES)?;
            }
            extension::check_documented(name, value)?;
        }
        self.check_data()
    }

    fn check_data(&self) -> Result<(), Error> {
        if !self.data.agrees_with(self.datacontenttype.as_deref()) {
            return Err(Error::DataContentTypeMismatch {
                content_type: self
                    .datacontenttype
                    .clone()
                    .unwrap_or_else(|| "absent, which stands for JSON".to_owned()),
                found: self.data.kind(),
            });
        }
        let length_bytes = self.size_bytes();
        if length_bytes > limits::MAX_EVENT_BYTES {
            return Err(Error::EventTooLarge {
                length_bytes,
                limit_bytes: limits::MAX_EVENT_BYTES,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn event() -> Event {
        Event::new("1", "/todos", "todos.task.created")
    }

    fn refused(event: &Event) -> String {
        event.validate().expect_err("is refused").to_string()
    }

    #[test]
    fn required_attributes_must_not_be_empty() {
        event().validate().expect("complete");
        for (event, name) in [
            (Event::new("", "/todos", "a.b.c"), "id"),
            (Event::new("1", "", "a.b.c"), "source"),
            (Event::new("1", "/todos", ""), "type"),
        ] {
            assert!(
                matches!(event.validate(), Err(Error::MissingAttribute { name: found }) if found == name),
                "{name}"
            );
        }
        assert!(refused(&event().with_subject("")).contains("`subject`"));
    }

    #[test]
    fn attributes_are_bounded() {
        let long = "x".repeat(limits::MAX_ATTRIBUTE_BYTES + 1);
        assert!(refused(&Event::new(&*long, "/", "a")).contains("`id` has 4097 bytes, the limit is 4096"));
        assert!(refused(&Event::new("1", "/", "x".repeat(256))).contains("`type` has 256 bytes, the limit is 255"));
        assert!(refused(&event().with_subject(&*long)).contains("`subject` has"));
        assert!(refused(&event().with_extension("note", &*long)).contains("`note` has"));
        let crowd = (0..=limits::MAX_EXTENSIONS).fold(event(), |event, n| event.with_extension(format!("x{n}"), true));
        assert!(matches!(crowd.validate(), Err(Error::TooManyExtensions { .. })));
    }

    #[test]
    fn the_whole_event_is_bounded() {
        let with_bytes = |length| event().with_data("image/png", Data::Binary(vec![0; length]));
        let overhead = with_bytes(0).size_bytes();
        with_bytes(limits::MAX_EVENT_BYTES - overhead)
            .validate()
            .expect("just fits");
        let error = with_bytes(limits::MAX_EVENT_BYTES - overhead + 1)
            .validate()
            .expect_err("one byte too many");
        assert!(error.is_too_large(), "{error}");
    }

    #[test]
    fn data_and_content_type_must_agree() {
        let text = event().with_data("application/json", Data::Text("x".to_owned()));
        assert!(refused(&text).contains("`datacontenttype` is application/json, but the data is a text"));
        let mut bare = event();
        bare.data = Data::Text("x".to_owned());
        assert!(refused(&bare).contains("absent, which stands for JSON"));
        bare.data = Data::json("x").expect("JSON");
        bare.validate().expect("JSON is what an absent content type stands for");
    }

    #[test]
    fn data_is_read_as_the_type_asked_for() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Task {
            title: String,
        }
        let task = event().with_json(&serde_json::json!({"title": "Buy"})).expect("JSON");
        assert_eq!(
            task.data_as::<Task>().expect("the shape"),
            Task {
                title: "Buy".to_owned()
            }
        );
        assert!(matches!(task.data_as::<Vec<Task>>(), Err(Error::DataShape { .. })));
        assert!(matches!(event().data_as::<Task>(), Err(Error::NoData { .. })));
        let text = event().with_data("text/plain", Data::Text("{}".to_owned()));
        assert!(matches!(
            text.data_as::<Task>(),
            Err(Error::DataNotJson { found: "a text" })
        ));
    }

    #[test]
    fn an_event_derives_the_ids_of_its_consequences() {
        assert_eq!(
            event().derived_id("audit", 2),
            id::derived_id("/todos", "1", "audit", 2)
        );
    }
}
