//! Events from outside: appended once by source and id, however often they are sent.
//!
//! An event gets a stream of its own; events of one source with the same `partitionkey` share one, in the order of
//! their arrival. The next version is worked out within the INSERT, so that nothing has to be read before it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use selvedge_events::extension::{CORRELATION_ID, TRACE_PARENT};
use selvedge_events::{Event, Timestamp};

use crate::host::{Value, placeholders};
use crate::journal::{self, Appended, Record};
use crate::{Error, Host, limits};

/// What streams of events from outside begin with. No entity's stream does: an entity's kind has a dot.
pub const STREAM_PREFIX: &str = "external";

/// Extensions that the journal adds to events which have none.
pub(crate) const ADDED: [&str; 2] = [TRACE_PARENT, CORRELATION_ID];

/// What became of events from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// How many of them are new to the journal.
    pub appended: usize,
    /// How many were there already, with the same content.
    pub known: usize,
    /// The append, when there was anything to append.
    pub append: Option<Appended>,
}

/// Why no event was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The journal, or the batch itself, has an event of this source and id with another content.
    #[error("event {id} of {source_uri} is known with another content")]
    Different {
        /// The event's source.
        source_uri: String,
        /// The event's id.
        id: String,
    },
    /// The journal failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Appends events that the journal doesn't have yet, all of them or none. `trace` is the `traceparent` of the request
/// that brought them, for those that have none of their own.
///
/// Two events are the same when source and id, type, subject, content type, schema, extensions and data are; the time
/// too, where the sender says one. What the journal adds doesn't count.
///
/// # Errors
/// [`Refused::Different`]; [`Error::EventTooLarge`], [`Error::TooManyEvents`], [`Error::OutOfScope`] and [`Error::Event`]
/// before anything is written.
pub fn ingest(host: &Host, events: Vec<Event>, trace: Option<&str>) -> Result<Ingested, Refused> {
    if events.is_empty() || events.len() > limits::APPEND_EVENTS_MAX {
        return Err(Refused::Failed(Error::TooManyEvents {
            count: events.len(),
            limit: limits::APPEND_EVENTS_MAX,
        }));
    }
    let count = events.len();
    let mut pending = distinct(events)?;
    for _ in 0..limits::DECIDE_ATTEMPTS_MAX {
        match append(host, &pending, trace) {
            Ok(append) => {
                return Ok(Ingested {
                    appended: pending.len(),
                    known: count - pending.len(),
                    append: Some(append),
                });
            }
            // Some are there already, or, on a database that doesn't serialise statements, somebody was faster.
            Err(Error::DuplicateEvent { .. } | Error::VersionConflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        pending = unknown(host, pending)?;
        if pending.is_empty() {
            return Ok(Ingested {
                appended: 0,
                known: count,
                append: None,
            });
        }
    }
    Err(Refused::Failed(Error::DatabaseBusy {
        detail: "others append the same events at the same time".to_owned(),
    }))
}

/// The stream of an event from outside.
///
/// ```
/// use selvedge::{Event, ingest};
///
/// let event = Event::new("7", "/sensors", "weather.report.published");
/// assert_eq!(ingest::stream(&event), "external/id//sensors/7");
/// let keyed = event.with_extension("partitionkey", "paris");
/// assert_eq!(ingest::stream(&keyed), "external/key//sensors/paris");
/// ```
pub fn stream(event: &Event) -> String {
    let source = &event.source;
    match event.partitionkey() {
        Some(key) => format!("{STREAM_PREFIX}/key/{source}/{key}"),
        None => format!("{STREAM_PREFIX}/id/{source}/{}", event.id),
    }
}

/// The events without those that stand there twice.
fn distinct(events: Vec<Event>) -> Result<Vec<Event>, Refused> {
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut distinct: Vec<Event> = Vec::with_capacity(events.len());
    for event in events {
        match places.entry((event.source.clone(), event.id.clone())) {
            Entry::Vacant(place) => {
                place.insert(distinct.len());
                distinct.push(event);
            }
            Entry::Occupied(place) if distinct[*place.get()] == event => {}
            Entry::Occupied(_) => return Err(different(event)),
        }
    }
    Ok(distinct)
}

/// The events that the journal doesn't have.
fn unknown(host: &Host, events: Vec<Event>) -> Result<Vec<Event>, Refused> {
    let statement = format!(
        "SELECT {} FROM journal WHERE (source, id) IN (VALUES {})",
        journal::COLUMNS,
        placeholders(events.len(), 2)
    );
    let parameters = events
        .iter()
        .flat_map(|event| [Value::from(&*event.source), Value::from(&*event.id)])
        .collect();
    let known: BTreeMap<_, _> = journal::records(host.execute(&statement, parameters)?)?
        .into_iter()
        .map(|record| ((record.event.source.clone(), record.event.id.clone()), record))
        .collect();
    let mut unknown = Vec::new();
    for event in events {
        match known.get(&(event.source.clone(), event.id.clone())) {
            None => unknown.push(event),
            Some(record) if is_same(record, &event) => {}
            Some(_) => return Err(different(event)),
        }
    }
    Ok(unknown)
}

fn different(event: Event) -> Refused {
    Refused::Different {
        source_uri: event.source,
        id: event.id,
    }
}

/// Whether the journal's event is the one that was sent, apart from what the journal added.
fn is_same(record: &Record, sent: &Event) -> bool {
    let mut stored = record.event.clone();
    if sent.time.is_none() {
        stored.time = None;
    }
    for added in ADDED {
        if !sent.extensions.contains_key(added) {
            stored.extensions.remove(added);
        }
    }
    stored == *sent
}

fn append(host: &Host, events: &[Event], trace: Option<&str>) -> Result<Appended, Error> {
    journal::check_scope(host, events)?;
    let now_ms = host.now_ms();
    let mut parameters = Vec::with_capacity(events.len() * journal::COLUMN_COUNT);
    let mut lengths: BTreeMap<String, i64> = BTreeMap::new();
    for event in events {
        let mut event = event.clone();
        if event.correlationid().is_none() {
            let id = event.id.clone();
            event = event.with_extension(CORRELATION_ID, id);
        }
        if let (None, Some(trace)) = (event.traceparent(), trace) {
            event = event.with_extension(TRACE_PARENT, trace);
        }
        let stream = stream(&event);
        let place = lengths.entry(stream.clone()).or_default();
        *place += 1;
        let time_ms = event.time.map_or(now_ms, Timestamp::unix_ms);
        journal::push_row(&mut parameters, &stream, *place, time_ms, event)?;
    }
    // A SELECT from the table that is written to is evaluated as a whole before the first row is written.
    let statement = format!(
        "WITH sent (id, source, type, subject, stream, place, time_ms, datacontenttype, dataschema, extensions, data) AS (VALUES {})
         INSERT INTO journal (id, source, type, subject, stream, version, time_ms, datacontenttype, dataschema, extensions, data)
         SELECT id, source, type, subject, stream,
                place + COALESCE((SELECT MAX(version) FROM journal AS earlier WHERE earlier.stream = sent.stream), 0),
                time_ms, datacontenttype, dataschema, extensions, data
         FROM sent
         RETURNING (SELECT awake_until_ms FROM relay WHERE id = 1)",
        placeholders(events.len(), journal::COLUMN_COUNT)
    );
    let rows = host.execute(&statement, parameters);
    journal::appended(rows, "of events from outside", 0, &events[0].source)
}
