//! What the data of an application's events may be: one JSON Schema (2020-12) per type, in the folder `schemas/`.
//!
//! `schemas/todos.task.created.json` is the schema of the data of `todos.task.created`. Its annotation `x-publisher`
//! names the source of the function that appends events of the type (`/todos`); a type without it is for events from
//! outside the application. Schemas are compiled when they are first used.
//!
//! ```
//! use selvedge_events::Event;
//! use selvedge_schemas::Schemas;
//!
//! let text = r#"{"type": "object", "required": ["celsius"], "properties": {"celsius": {"type": "number"}}}"#;
//! let schemas = Schemas::parse([("weather.report.published.json".to_owned(), text.to_owned())])?;
//! let event = Event::new("1", "https://weather.example", "weather.report.published");
//! let warm = event.clone().with_json(&serde_json::json!({"celsius": 21})).expect("JSON");
//! assert!(schemas.check(&warm).is_ok());
//! let odd = event.with_json(&serde_json::json!({"celsius": "warm"})).expect("JSON");
//! assert_eq!(schemas.check(&odd).expect_err("no number")[0].path, "/celsius");
//! # Ok::<(), selvedge_schemas::Error>(())
//! ```

#![warn(missing_docs)]

mod error;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;

use selvedge_events::{Event, EventName};

pub use error::Error;
pub use schema::{Mistake, Schema};

/// The folder that the schemas are in, as the project and its components see it.
pub const FOLDER: &str = "schemas";

/// The annotation that names the source of the only function that may append events of a type.
pub const PUBLISHER: &str = "x-publisher";

/// The schemas of an application, by event type.
#[derive(Debug, Default)]
pub struct Schemas {
    all: BTreeMap<String, Schema>,
}

/// Why an event can't have come from outside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// Its source is that of a function.
    #[error(
        "`source` {claimed} is that of a function of this application: send one of your own, such as a URI of yours"
    )]
    Source {
        /// The source that the event claims.
        claimed: String,
    },
    /// Its type is in a domain whose events functions append.
    #[error(
        "types of the domain `{domain}` are appended by a function of this application only: send a type of your own"
    )]
    Domain {
        /// The first part of the event's type.
        domain: String,
    },
}

impl Schemas {
    /// Reads every `<type>.json` of a folder. A folder that isn't there has none.
    ///
    /// # Errors
    /// [`Error`] names the file, and says what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let unreadable = |path: &Path| {
            let file = path.display().to_string();
            move |cause| Error::Unreadable { file, cause }
        };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(cause) => return Err(unreadable(folder)(cause)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable(folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name.ends_with(".json") {
                let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
                files.push((name.to_owned(), text));
            }
        }
        Self::parse(files)
    }

    /// Takes the names and texts of the files.
    ///
    /// # Errors
    /// [`Error`] names the file, and says what is wrong with it. Whether it is a valid schema is seen when it is compiled.
    pub fn parse(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for (file, text) in files {
            let event_type = file.strip_suffix(".json").unwrap_or(&file).to_owned();
            if let Err(cause) = EventName::parse(&event_type) {
                return Err(Error::Name { file, cause });
            }
            let schema = Schema::parse(&file, text)?;
            all.insert(event_type, schema);
        }
        Ok(Self { all })
    }

    /// All schemas with their types, by type.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.all.iter().map(|(event_type, schema)| (&**event_type, schema))
    }

    /// The schema of a type, where there is one.
    pub fn get(&self, event_type: &str) -> Option<&Schema> {
        self.all.get(event_type)
    }

    /// Checks the data of an event against its type's schema. A type without one may have any data.
    ///
    /// # Errors
    /// What is wrong with it: at least one mistake, and at most [`schema::MISTAKES_MAX`].
    pub fn check(&self, event: &Event) -> Result<(), Vec<Mistake>> {
        self.get(&event.event_type)
            .map_or(Ok(()), |schema| schema.check(&event.data))
    }

    /// Whether an event may come from outside: functions' sources and functions' domains are theirs alone. A type whose
    /// schema has no publisher is for everybody, whatever its domain.
    ///
    /// # Errors
    /// What it claims that isn't its sender's.
    pub fn check_outside(&self, event: &Event) -> Result<(), Forged> {
        let publishers = || self.all.values().filter_map(Schema::publisher);
        let is_claimed = |publisher: &str| {
            event
                .source
                .strip_prefix(publisher)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
        };
        if publishers().any(is_claimed) {
            return Err(Forged::Source {
                claimed: event.source.clone(),
            });
        }
        let domain = domain(&event.event_type);
        let is_public = self
            .get(&event.event_type)
            .is_some_and(|schema| schema.publisher().is_none());
        let is_owned = || {
            self.iter()
                .any(|(name, schema)| schema.publisher().is_some() && self::domain(name) == domain)
        };
        if !is_public && is_owned() {
            return Err(Forged::Domain {
                domain: domain.to_owned(),
            });
        }
        Ok(())
    }
}

fn domain(event_type: &str) -> &str {
    event_type.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas() -> Schemas {
        let owned = r#"{"x-publisher": "/todos", "type": "object", "required": ["title"]}"#;
        let files = [
            ("todos.task.created.json", owned),
            ("todos.import.requested.json", r#"{"type": "object"}"#),
            ("weather.report.published.json", "true"),
        ];
        Schemas::parse(files.map(|(name, text)| (name.to_owned(), text.to_owned()))).expect("valid")
    }

    fn event(source: &str, event_type: &str) -> Event {
        Event::new("1", source, event_type)
            .with_json(&serde_json::json!({}))
            .expect("JSON")
    }

    #[test]
    fn functions_sources_and_domains_are_theirs_alone() {
        let schemas = schemas();
        for source in ["/todos", "/todos/1", "/todos?x", "/todos#x"] {
            let forged = schemas.check_outside(&event(source, "weather.report.published"));
            assert!(matches!(forged, Err(Forged::Source { .. })), "{source}");
        }
        for event_type in ["todos.task.created", "todos.task.invented", "todos.other.thing"] {
            let forged = schemas.check_outside(&event("/me", event_type));
            assert!(matches!(forged, Err(Forged::Domain { .. })), "{event_type}");
        }
        for (source, event_type) in [
            ("/me", "weather.report.published"),
            ("/me", "stocks.price.changed"),
            ("/me", "todos.import.requested"),
            ("/todosphere", "stocks.price.changed"),
        ] {
            assert_eq!(
                schemas.check_outside(&event(source, event_type)),
                Ok(()),
                "{event_type}"
            );
        }
    }

    #[test]
    fn a_type_without_a_schema_may_have_any_data() {
        let schemas = schemas();
        assert_eq!(schemas.check(&event("/me", "stocks.price.changed")), Ok(()));
        let mistakes = schemas
            .check(&event("/todos", "todos.task.created"))
            .expect_err("no title");
        assert!(mistakes[0].reason.contains("title"), "{mistakes:?}");
    }

    #[test]
    fn files_are_named_after_types_and_hold_schemas() {
        for (name, text, said) in [
            ("Task.json", "{}", "Task.json"),
            ("todos.task.json", "{}", "todos.task.json"),
            ("a.b.c.json", "{", "a.b.c.json can't be read as JSON"),
            ("a.b.c.json", "[]", "a.b.c.json is no JSON Schema"),
            ("a.b.c.json", r#"{"x-publisher": 3}"#, "x-publisher"),
            ("a.b.c.json", r#"{"x-publisher": ""}"#, "x-publisher"),
        ] {
            let error = Schemas::parse([(name.to_owned(), text.to_owned())]).expect_err(text);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_folder_is_read_and_one_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.b.c.json"), "{}").expect("written");
        std::fs::write(folder.path().join("README.md"), "no schema").expect("written");
        let schemas = Schemas::read(folder.path()).expect("readable");
        assert_eq!(
            schemas.iter().map(|(event_type, _)| event_type).collect::<Vec<_>>(),
            ["a.b.c"]
        );
        let nowhere = Schemas::read(&folder.path().join("nowhere")).expect("empty");
        assert_eq!(nowhere.iter().count(), 0);
        let file = folder.path().join("a.b.c.json");
        assert!(matches!(Schemas::read(&file), Err(Error::Unreadable { .. })));
    }
}
