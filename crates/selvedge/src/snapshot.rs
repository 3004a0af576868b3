//! Snapshots: an entity's state is kept now and then, so that a long stream loads as fast as a short one.
//!
//! A snapshot is a cache of what the journal says. It names the event that it was taken after, and counts only where the
//! journal has that very event at that version, and the state has the shape that the program knows. Otherwise the whole
//! stream is read. Whoever had to apply many events writes the next one, after its response: a snapshot that is lost or
//! never written costs time and nothing else.

use selvedge_events::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decide::{Entity, Versioned, replay};
use crate::host::Row;
use crate::journal::{self, Record};
use crate::{Error, Host, limits};

/// How the state of an entity is kept.
pub struct Snapshots<E> {
    shape: i64,
    every_events: i64,
    write: fn(&E) -> serde_json::Result<String>,
    read: fn(&str) -> serde_json::Result<E>,
}

impl<E: Serialize + DeserializeOwned> Snapshots<E> {
    /// A snapshot after [`limits::SNAPSHOT_EVERY_EVENTS`] events or more. `shape` counts the shapes that the state has
    /// had: raise it with every change of its fields or of what `evolve` makes of events, since snapshots of another
    /// shape aren't read.
    pub const fn of_shape(shape: i64) -> Self {
        Self {
            shape,
            every_events: limits::SNAPSHOT_EVERY_EVENTS,
            write: |state| serde_json::to_string(state),
            read: |text| serde_json::from_str(text),
        }
    }

    /// The same, with another number of events.
    pub const fn every(self, events: i64) -> Self {
        Self {
            every_events: events,
            ..self
        }
    }
}

/// An entity as it is now, and the events that were read to know it.
pub(crate) struct Loaded<E> {
    /// The entity; at version 0 when it has no events.
    pub entity: Versioned<E>,
    /// Its events after `base_version`.
    pub records: Vec<Record>,
    /// The version before the first of these events: 0 when they are all there are.
    pub base_version: i64,
}

/// Reads an entity, through its snapshot where there is one, and has the next one written where that is due.
///
/// # Errors
/// What reading fails with. A snapshot that can't be used is no error.
pub(crate) fn load<E: Entity>(host: &Host, id: &str) -> Result<Loaded<E>, Error> {
    let stream = E::stream(id);
    let Some(snapshots) = E::SNAPSHOTS else {
        return whole(host, &stream);
    };
    let loaded = match from_snapshot(host, &stream, &snapshots)? {
        Some(loaded) => loaded,
        None => whole(host, &stream)?,
    };
    if loaded.records.len() as i64 >= snapshots.every_events {
        keep(host, &stream, &snapshots, &loaded);
    }
    Ok(loaded)
}

fn whole<E: Entity>(host: &Host, stream: &str) -> Result<Loaded<E>, Error> {
    let records = journal::read_stream(host, stream)?;
    Ok(Loaded {
        entity: replay(&records)?,
        records,
        base_version: 0,
    })
}

/// The entity by its snapshot and the events since; `None` when the journal doesn't bear the snapshot out.
fn from_snapshot<E: Entity>(host: &Host, stream: &str, snapshots: &Snapshots<E>) -> Result<Option<Loaded<E>>, Error> {
    // The tail begins with the event that the snapshot was taken after: it must be the one that the snapshot names.
    let statement = format!(
        "SELECT snapshots.state, {} FROM journal LEFT JOIN snapshots
             ON snapshots.stream = journal.stream AND snapshots.version = journal.version
                 AND snapshots.event_source = journal.source AND snapshots.event_id = journal.id AND snapshots.shape = ?2
         WHERE journal.stream = ?1 AND journal.version >=
             COALESCE((SELECT version FROM snapshots WHERE stream = ?1 AND shape = ?2), 0)
         ORDER BY journal.version",
        journal::COLUMNS
    );
    let rows = host.execute(&statement, vec![stream.into(), snapshots.shape.into()])?;
    let mut rows = rows.into_iter().map(|mut row: Row| {
        let state = row.optional_text()?;
        Ok::<_, Error>((state, Record::from_row(&mut row)?))
    });
    let Some(first) = rows.next().transpose()? else {
        return Ok(None);
    };
    let (state, first) = first;
    let mut records = Vec::with_capacity(rows.len() + 1);
    let mut entity = match state.map(|state| (snapshots.read)(&state)) {
        Some(Ok(state)) => Versioned {
            state,
            version: first.version,
        },
        // No snapshot, and the stream from its beginning: there was nothing better to read.
        None if first.version == 1 => {
            let entity = replay(std::slice::from_ref(&first))?;
            records.push(first);
            entity
        }
        _ => return Ok(None),
    };
    let base_version = entity.version - records.len() as i64;
    for record in rows {
        let (_, record) = record?;
        entity.state.evolve(&record.event)?;
        entity.version = record.version;
        records.push(record);
    }
    Ok(Some(Loaded {
        entity,
        records,
        base_version,
    }))
}

/// Writes a snapshot in a task that outlives the response.
fn keep<E: Entity>(host: &Host, stream: &str, snapshots: &Snapshots<E>, loaded: &Loaded<E>) {
    let (Ok(state), Some(last)) = ((snapshots.write)(&loaded.entity.state), loaded.records.last()) else {
        eprintln!("warning: the state of {stream} can't be written as JSON: it has no snapshot");
        return;
    };
    if state.len() > limits::SNAPSHOT_BYTES_MAX {
        let (length, limit) = (state.len(), limits::SNAPSHOT_BYTES_MAX);
        eprintln!("warning: the state of {stream} has {length} bytes, the limit is {limit}: it has no snapshot");
        return;
    }
    let Event { source, id, .. } = &last.event;
    let parameters = vec![
        stream.into(),
        last.version.into(),
        snapshots.shape.into(),
        source.as_str().into(),
        id.as_str().into(),
        state.into(),
    ];
    let (writer, stream) = (host.clone(), stream.to_owned());
    host.spawn(Box::pin(async move {
        // Whichever is written last stays: an older one is as right as a newer one.
        let statement =
            "INSERT INTO snapshots (stream, version, shape, event_source, event_id, state) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (stream) DO UPDATE SET version = excluded.version, shape = excluded.shape,
                event_source = excluded.event_source, event_id = excluded.event_id, state = excluded.state";
        if let Err(error) = writer.execute(statement, parameters) {
            eprintln!("warning: no snapshot of {stream} was written ({error}): the next reader tries again");
        }
    }));
}
