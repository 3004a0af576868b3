//! The journal: every event, in order, once. Appending to it is the business write.

use std::collections::BTreeMap;

use selvedge_events::{Data, Event, ExtensionValue, Timestamp};
use serde::Deserialize;

use crate::host::{Host, Row, Value, placeholders};
use crate::{Error, limits, mutant};

/// The columns that [`Record::from_row`] reads, in its order.
pub const COLUMNS: &str = "journal.position, journal.stream, journal.version, journal.id, journal.source, journal.type, \
    journal.subject, journal.time_ms, journal.datacontenttype, journal.dataschema, journal.extensions, journal.data";

/// How many columns [`push_row`] writes.
pub(crate) const COLUMN_COUNT: usize = 11;

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place among all events, rising from 1.
    pub position: i64,
    /// The entity that it happened to.
    pub stream: String,
    /// Its place among the stream's events, rising from 1.
    pub version: i64,
    /// The event.
    pub event: Event,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Until when a relay has said to be awake, in milliseconds since the Unix epoch. In the past: none is.
    pub relay_awake_until_ms: i64,
}

/// Appends events to a stream that is at version `expected_version`, in one statement: all of them are committed, or
/// none. A new stream is at version 0.
///
/// # Errors
/// [`Error::VersionConflict`] when the stream is at another version, [`Error::DuplicateEvent`] when the journal has an
/// event of the same source and id; either may be reported where both hold. [`Error::EventTooLarge`],
/// [`Error::TooManyEvents`], [`Error::OutOfScope`] and [`Error::Event`] before anything is written.
pub fn append(host: &Host, stream: &str, expected_version: i64, events: Vec<Event>) -> Result<Appended, Error> {
    if events.is_empty() || events.len() > limits::APPEND_EVENTS_MAX {
        return Err(Error::TooManyEvents {
            count: events.len(),
            limit: limits::APPEND_EVENTS_MAX,
        });
    }
    check_scope(host, &events)?;
    let expected_version = match mutant::is("append_at_any_version") {
        true => read_stream(host, stream)?.len() as i64,
        false => expected_version,
    };
    let source_uri = events[0].source.clone();
    let count = events.len();
    let mut parameters = Vec::with_capacity(count * COLUMN_COUNT);
    for (version, event) in (expected_version + 1..).zip(events) {
        let time_ms = event.time.map_or_else(|| host.now_ms(), Timestamp::unix_ms);
        push_row(&mut parameters, stream, version, time_ms, event)?;
    }
    let statement = format!(
        "INSERT INTO journal (id, source, type, subject, stream, version, time_ms, datacontenttype, dataschema, extensions, data)
         VALUES {} RETURNING (SELECT awake_until_ms FROM relay WHERE id = 1)",
        placeholders(count, COLUMN_COUNT)
    );
    appended(
        host.execute(&statement, parameters),
        stream,
        expected_version,
        &source_uri,
    )
}

/// What an INSERT into the journal did, which returns until when a relay is awake.
pub(crate) fn appended(
    inserted: Result<Vec<Row>, Error>,
    stream: &str,
    expected_version: i64,
    source_uri: &str,
) -> Result<Appended, Error> {
    let rows = inserted.map_err(|error| match error {
        Error::Constraint { columns } if columns.contains("version") => Error::VersionConflict {
            stream: stream.to_owned(),
            expected_version,
        },
        Error::Constraint { columns } if columns.contains("source") => Error::DuplicateEvent {
            source_uri: source_uri.to_owned(),
        },
        other => other,
    })?;
    let awake = rows
        .into_iter()
        .next()
        .map(|mut row| row.optional_integer())
        .transpose()?
        .flatten();
    Ok(Appended {
        relay_awake_until_ms: awake.unwrap_or(0),
    })
}

/// Refuses events that whoever has this host may not publish.
pub(crate) fn check_scope(host: &Host, events: &[Event]) -> Result<(), Error> {
    match events.iter().find(|event| !host.may_publish(&event.event_type)) {
        None => Ok(()),
        Some(event) => Err(Error::OutOfScope {
            event_type: event.event_type.clone(),
        }),
    }
}

/// All events of a stream, oldest first; none when there is no such stream.
///
/// # Errors
/// What the database fails with.
pub fn read_stream(host: &Host, stream: &str) -> Result<Vec<Record>, Error> {
    let statement = format!("SELECT {COLUMNS} FROM journal WHERE stream = ? ORDER BY version");
    records(host.execute(&statement, vec![stream.into()])?)
}

/// Whether a stream has the event of this source and id.
///
/// # Errors
/// What the database fails with.
pub fn contains(host: &Host, stream: &str, source: &str, id: &str) -> Result<bool, Error> {
    let statement = "SELECT 1 FROM journal WHERE source = ? AND id = ? AND stream = ?";
    let rows = host.execute(statement, vec![source.into(), id.into(), stream.into()])?;
    Ok(!rows.is_empty())
}

/// The rows of a statement that selects [`COLUMNS`].
///
/// # Errors
/// [`Error::UnexpectedRow`] and [`Error::Event`] for rows that this kernel didn't write.
pub fn records(rows: Vec<Row>) -> Result<Vec<Record>, Error> {
    rows.into_iter().map(|mut row| Record::from_row(&mut row)).collect()
}

impl Record {
    /// Reads the next columns of a row, which are [`COLUMNS`].
    ///
    /// # Errors
    /// [`Error::UnexpectedRow`] and [`Error::Event`] for rows that this kernel didn't write.
    pub fn from_row(row: &mut Row) -> Result<Self, Error> {
        let record = Self {
            position: row.integer()?,
            stream: row.text()?,
            version: row.integer()?,
            event: Event {
                id: row.text()?,
                source: row.text()?,
                event_type: row.text()?,
                subject: row.optional_text()?,
                time: Some(Timestamp::from_unix_ms(row.integer()?)),
                datacontenttype: row.optional_text()?,
                dataschema: row.optional_text()?,
                extensions: read_extensions(row.optional_text()?)?,
                // Whether a text is JSON follows from the content type, which stands before it.
                data: Data::None,
            },
        };
        record.with_data(row.value()?)
    }

    fn with_data(mut self, stored: Value) -> Result<Self, Error> {
        self.event.data = match stored {
            Value::Null => Data::None,
            Value::Blob(bytes) => Data::Binary(bytes),
            Value::Text(text) if is_json(self.event.datacontenttype.as_deref()) => json_or_text(text),
            Value::Text(text) => Data::Text(text),
            _ => {
                return Err(Error::UnexpectedRow {
                    expected: "an event's data",
                    found: "a number",
                });
            }
        };
        Ok(self)
    }
}

/// JSON that isn't any (the row was changed by hand) goes on as text: who hears it refuses it, and it becomes a dead
/// letter of theirs instead of a stone in everybody's way.
fn json_or_text(text: String) -> Data {
    // The copy is cheaper than parsing twice.
    Data::from_json_text(text.clone()).unwrap_or(Data::Text(text))
}

/// Adds the columns of one row, in the order of the INSERT.
pub(crate) fn push_row(
    row: &mut Vec<Value>,
    stream: &str,
    version: i64,
    time_ms: i64,
    event: Event,
) -> Result<(), Error> {
    event.validate()?;
    let length_bytes = event.size_bytes();
    if length_bytes > limits::EVENT_BYTES_MAX {
        return Err(Error::EventTooLarge {
            id: event.id,
            length_bytes,
            limit_bytes: limits::EVENT_BYTES_MAX,
        });
    }
    row.extend([
        event.id.into(),
        event.source.into(),
        event.event_type.into(),
        event.subject.into(),
        stream.into(),
        version.into(),
        time_ms.into(),
        event.datacontenttype.into(),
        event.dataschema.into(),
        write_extensions(&event.extensions)?.into(),
        match event.data {
            Data::None => Value::Null,
            Data::Json(json) => Value::Text(Box::<str>::from(json).into_string()),
            Data::Text(text) => Value::Text(text),
            Data::Binary(bytes) => Value::Blob(bytes),
        },
    ]);
    Ok(())
}

fn write_extensions(extensions: &BTreeMap<String, ExtensionValue>) -> Result<Option<String>, Error> {
    if extensions.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(extensions);
    Ok(Some(text.map_err(|source| {
        selvedge_events::Error::DataNotSerializable { source }
    })?))
}

fn read_extensions(stored: Option<String>) -> Result<BTreeMap<String, ExtensionValue>, Error> {
    /// An extension's value as JSON has it.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        String(String),
        Integer(i32),
        Boolean(bool),
    }
    let Some(text) = stored else { return Ok(BTreeMap::new()) };
    let extensions: BTreeMap<String, Stored> = serde_json::from_str(&text).map_err(|_| Error::UnexpectedRow {
        expected: "extensions as JSON",
        found: "another text",
    })?;
    let value = |stored| match stored {
        Stored::String(text) => ExtensionValue::String(text),
        Stored::Integer(number) => ExtensionValue::Integer(number),
        Stored::Boolean(truth) => ExtensionValue::Boolean(truth),
    };
    Ok(extensions
        .into_iter()
        .map(|(name, stored)| (name, value(stored)))
        .collect())
}

/// Whether a content type stands for JSON. None does.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}
