//! A TOML file with its place on disk, so that every problem in it can be located.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::error::{ConfigError, Location};

/// A file's text and name.
#[derive(Clone, Copy)]
pub(crate) struct TomlSource<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl TomlSource<'_> {
    /// Reads the whole file into `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| self.located(error))
    }

    fn located(&self, mut error: toml::de::Error) -> ConfigError {
        // The parser would print the line, and with it perhaps a secret.
        error.set_input(None);
        let span = error.span();
        let location = span
            .as_ref()
            .map_or_else(|| Location::new(self.file, 0), |span| self.at(span));
        let key = span.and_then(|span| self.text.get(span));
        let problem = match (error.message(), key) {
            ("duplicate key", Some(key)) => format!("the key `{key}` is there twice"),
            _ => error.to_string().trim().replace('\n', " "),
        };
        ConfigError::Format {
            location,
            problem,
            cause: Box::new(error),
        }
    }

    /// The place where a span begins.
    pub fn at(&self, span: &Range<usize>) -> Location {
        Location::new(self.file, self.line(span))
    }

    /// The line where a span begins, counted from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        self.text.as_bytes()[..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }
}

/// A text or a table, the choice that many of the manifest's keys give.
#[derive(Debug, Clone)]
pub(crate) enum TextOr<T> {
    Text(String),
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
            type Value = TextOr<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a table")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(TextOr::Table)
            }
        }
        deserializer.deserialize_any(TextOrVisitor(std::marker::PhantomData))
    }
}

/// A text or a list of texts.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;
        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a list of strings")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(sequence)).map(OneOrMany)
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

/// A text that may be a secret: an error about its type doesn't quote it, and neither does `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(a value that isn't shown)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            other => Err(de::Error::custom(format!(
                "invalid type: {}, expected a string",
                other.type_str()
            ))),
        }
    }
}

/// A table whose allowed keys depend on its `type`; taken key by key, and whatever is left over is an error.
pub(crate) struct KeyedTable<'a> {
    source: TomlSource<'a>,
    title: String,
    location: Location,
    entries: BTreeMap<String, Spanned<toml::Value>>,
    known: Vec<&'static str>,
}

impl<'a> KeyedTable<'a> {
    pub fn new(source: TomlSource<'a>, title: String, table: Spanned<BTreeMap<String, Spanned<toml::Value>>>) -> Self {
        let location = source.at(&table.span());
        Self {
            source,
            title,
            location,
            entries: table.into_inner(),
            known: Vec::new(),
        }
    }

    /// Where the table is.
    pub fn location(&self) -> Location {
        self.location.clone()
    }

    /// The value of a key; `None` where it isn't there.
    pub fn take(&mut self, key: &'static str) -> Option<Spanned<toml::Value>> {
        self.known.push(key);
        self.entries.remove(key)
    }

    /// The text of a key, with its place.
    pub fn take_text(&mut self, key: &'static str) -> Result<Option<(String, Location)>, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let location = self.source.at(&value.span());
        match value.into_inner() {
            toml::Value::String(text) => Ok(Some((text, location))),
            other => Err(self.wrong_type(location, key, "a string", &other)),
        }
    }

    /// The truth value of a key; false where it isn't there.
    pub fn take_bool(&mut self, key: &'static str) -> Result<bool, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(false) };
        let location = self.source.at(&value.span());
        match value.into_inner() {
            toml::Value::Boolean(truth) => Ok(truth),
            other => Err(self.wrong_type(location, key, "true or false", &other)),
        }
    }

    /// The text of a key that must be there.
    pub fn require_text(&mut self, key: &'static str, example: &str) -> Result<(String, Location), ConfigError> {
        self.take_text(key)?.ok_or_else(|| {
            let problem = format!("{} has no `{key}`", self.title);
            ConfigError::invalid(
                self.location.clone(),
                problem,
                format!("add one, for example `{key} = {example}`"),
            )
        })
    }

    /// An error about the type of a key's value; it doesn't quote the value.
    pub fn wrong_type(&self, location: Location, key: &str, expected: &str, found: &toml::Value) -> ConfigError {
        let problem = format!("`{key}` of {} is {}", self.title, article(found.type_str()));
        ConfigError::invalid(location, problem, format!("make it {expected}"))
    }

    /// An error if a key is left over.
    pub fn finish(self) -> Result<(), ConfigError> {
        let Some((key, value)) = self.entries.first_key_value() else {
            return Ok(());
        };
        let problem = format!("{} has an unknown key `{key}`", self.title);
        let known = self
            .known
            .iter()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>()
            .join(", ");
        Err(ConfigError::invalid(
            self.source.at(&value.span()),
            problem,
            format!("its keys are {known}"),
        ))
    }
}

fn article(type_name: &str) -> String {
    match type_name.starts_with(['a', 'i']) {
        true => format!("an {type_name}"),
        false => format!("a {type_name}"),
    }
}
