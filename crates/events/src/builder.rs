//! Collects the attributes of an event that is being decoded, whatever it is decoded from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::attribute;
use crate::data::Data;
use crate::error::{Error, excerpt};
use crate::event::{Event, SPEC_VERSION};
use crate::extension::ExtensionValue;
use crate::limits;
use crate::timestamp::Timestamp;

/// An attribute's value as it was read, of a type that may not fit the attribute.
pub(crate) enum AttributeValue<'a> {
    /// JSON's null: the attribute counts as unset.
    Unset,
    String(Cow<'a, str>),
    Integer(i32),
    Boolean(bool),
    /// A value that no attribute can have, by what it is, with its article.
    Other(&'static str),
}

/// The attributes so far. Each may be set once.
#[derive(Default)]
pub(crate) struct EventBuilder {
    spec_version: Option<()>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    subject: Option<String>,
    time: Option<Timestamp>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    extensions: BTreeMap<String, ExtensionValue>,
}

impl EventBuilder {
    /// Sets the attribute `name`, which may be any extension's.
    pub(crate) fn set(&mut self, name: Cow<'_, str>, value: AttributeValue<'_>) -> Result<(), Error> {
        if matches!(value, AttributeValue::Unset) {
            return Ok(());
        }
        let slot = match &*name {
            "specversion" => {
                let version = string(&name, value)?;
                if version != SPEC_VERSION {
                    return Err(Error::UnsupportedSpecVersion {
                        found: excerpt(&version),
                    });
                }
                return set_once(&mut self.spec_version, &name, ());
            }
            "time" => {
                let time = Timestamp::parse_attribute(&name, &string(&name, value)?)?;
                return set_once(&mut self.time, &name, time);
            }
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "subject" => &mut self.subject,
            "datacontenttype" => &mut self.datacontenttype,
            "dataschema" => &mut self.dataschema,
            _ => return self.set_extension(name, value),
        };
        let text = string(&name, value)?.into_owned();
        set_once(slot, &name, text)
    }

    /// The data's content type, as far as it has been set.
    pub(crate) fn datacontenttype(&self) -> Option<&str> {
        self.datacontenttype.as_deref()
    }

    /// The event, validated.
    pub(crate) fn build(self, data: Data) -> Result<Event, Error> {
        let missing = |name| move || Error::MissingAttribute { name };
        self.spec_version.ok_or_else(missing("specversion"))?;
        let event = Event {
            id: self.id.ok_or_else(missing("id"))?,
            source: self.source.ok_or_else(missing("source"))?,
            event_type: self.event_type.ok_or_else(missing("type"))?,
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            extensions: self.extensions,
            data,
        };
        event.validate()?;
        Ok(event)
    }

    fn set_extension(&mut self, name: Cow<'_, str>, value: AttributeValue<'_>) -> Result<(), Error> {
        attribute::check_extension_name(&name)?;
        let value = match value {
            AttributeValue::String(text) => ExtensionValue::String(text.into_owned()),
            AttributeValue::Integer(number) => ExtensionValue::Integer(number),
            AttributeValue::Boolean(truth) => ExtensionValue::Boolean(truth),
            AttributeValue::Unset => return Ok(()),
            AttributeValue::Other(found) => {
                let expected = "a string, a boolean or a whole number of 32 bits, or move it into the data";
                return Err(Error::WrongAttributeType {
                    name: name.into_owned(),
                    expected,
                    found,
                });
            }
        };
        if self.extensions.len() == limits::MAX_EXTENSIONS {
            return Err(Error::TooManyExtensions {
                limit: limits::MAX_EXTENSIONS,
            });
        }
        match self.extensions.entry(name.into_owned()) {
            Entry::Occupied(entry) => Err(Error::DuplicateAttribute {
                name: entry.key().clone(),
            }),
            Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
        }
    }
}

fn set_once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), Error> {
    match slot.replace(value) {
        Some(_) => Err(Error::DuplicateAttribute { name: name.to_owned() }),
        None => Ok(()),
    }
}

fn string<'a>(name: &str, value: AttributeValue<'a>) -> Result<Cow<'a, str>, Error> {
    let found = match value {
        AttributeValue::String(text) => return Ok(text),
        AttributeValue::Unset => "null",
        AttributeValue::Integer(_) => "a number",
        AttributeValue::Boolean(_) => "a boolean",
        AttributeValue::Other(found) => found,
    };
    Err(Error::WrongAttributeType {
        name: name.to_owned(),
        expected: "a string",
        found,
    })
}
