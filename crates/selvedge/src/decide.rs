//! Commands: what is asked for is decided upon, and what was decided is appended.
//!
//! An entity is the sum of its events. Its rules are two pure functions: [`Entity::decide`] says which events a command
//! leads to, [`Entity::evolve`] what an event changes.

use http::StatusCode;
use selvedge_events::extension::{CAUSATION_ID, CORRELATION_ID, DELIVER_AT};
use selvedge_events::{Data, Event, Timestamp};
use serde::Serialize;

use crate::delivery::Outcome;
use crate::http::Problem;
use crate::idempotency::{self, Key};
use crate::journal::{self, Record};
use crate::snapshot::{self, Loaded, Snapshots};
use crate::{Error, Host, bell, limits, mutant, trace};

/// A kind of thing whose history is a stream of events.
pub trait Entity: Default {
    /// The kind, as the first two parts of its events' names: `todos.task`.
    const KIND: &'static str;
    /// The source of its events, a URI-reference: `/todos`.
    const SOURCE: &'static str;
    /// How snapshots of its state are kept; `None` when none are, and every read replays the whole stream.
    const SNAPSHOTS: Option<Snapshots<Self>> = None;
    /// What can be asked of it.
    type Command;
    /// Why a command is refused.
    type Refusal;

    /// The events that a command leads to; none when there is nothing to change. Pure.
    ///
    /// # Errors
    /// The refusal, when the rules don't allow the command in this state.
    fn decide(&self, command: &Self::Command) -> Result<Vec<NewEvent>, Self::Refusal>;

    /// Takes in what an event changed. Pure, and never refuses: it has happened.
    ///
    /// # Errors
    /// [`Error::Event`] when the event's data isn't what its type promises.
    fn evolve(&mut self, event: &Event) -> Result<(), Error>;

    /// The stream of the entity with this id.
    fn stream(id: &str) -> String {
        format!("{}/{id}", Self::KIND)
    }
}

/// An event that was decided and isn't in the journal yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its type: `todos.task.created`.
    pub event_type: &'static str,
    /// Its data.
    pub data: Data,
    /// When it is to be delivered, if not at once: see [`DELIVER_AT`].
    pub deliver_at: Option<Timestamp>,
}

impl NewEvent {
    /// An event with a value as its JSON data.
    ///
    /// # Panics
    /// When the value can't be written as JSON; a struct of plain fields always can.
    pub fn new(event_type: &'static str, data: &impl Serialize) -> Self {
        Self {
            event_type,
            data: Data::json(data).expect("an event's data is a struct of plain fields"),
            deliver_at: None,
        }
    }

    /// The same event, to be delivered no sooner than this.
    pub fn deliver_at(self, time: Timestamp) -> Self {
        Self {
            deliver_at: Some(time),
            ..self
        }
    }
}

/// An entity as it is after some of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<E> {
    /// What it is.
    pub state: E,
    /// How many events it is made of; 0 when it doesn't exist.
    pub version: i64,
}

/// What comes with a command.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The version that the caller has seen and wants to change, if it said so.
    pub expected_version: Option<i64>,
    /// The caller's idempotency key.
    pub key: Option<&'a Key>,
    /// The event that is answered by this command, when it isn't a caller's. The same event leads to the same command
    /// once, however often it is delivered, and what it leads to carries its correlation, and its id as causation.
    pub cause: Option<&'a Event>,
    /// The caller's `traceparent`; where there is none, the cause's.
    pub trace: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// What comes with a command that answers an event.
    pub fn caused_by(cause: &'a Event) -> Self {
        Self {
            cause: Some(cause),
            trace: cause.traceparent(),
            ..Self::default()
        }
    }

    /// The id of the command's `index`-th event on a stream, where the same command may come twice.
    fn event_id(&self, stream: &str, index: u32) -> Option<String> {
        match (self.key, self.cause) {
            _ if mutant::is("event_id_not_derived") => None,
            (Some(key), _) => Some(key.event_id(index)),
            (None, Some(cause)) => Some(selvedge_events::derived_id(&cause.source, &cause.id, stream, index)),
            (None, None) => None,
        }
    }
}

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection<R> {
    /// The entity's rules don't allow it.
    #[error("the command is refused")]
    Refused(R),
    /// The entity isn't at the version that the caller wants to change.
    #[error("it is at version {version}: read it again and send the change anew")]
    Stale {
        /// The version it is at.
        version: i64,
    },
    /// The idempotency key came with another body before.
    #[error("this Idempotency-Key was used for another request: use a new key for a new request")]
    KeyReused,
    /// The kernel failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl<R> Rejection<R> {
    /// What it means for the event that led to the command: `refused` says it of a refusal. An event that can't be
    /// understood, or leads to one that can't be appended, never can; whatever else failed may pass.
    pub fn outcome(self, refused: impl FnOnce(R) -> Outcome) -> Outcome {
        match self {
            Self::Refused(refusal) => refused(refusal),
            Self::Failed(error @ (Error::Event(_) | Error::EventTooLarge { .. })) => Outcome::drop(error.to_string()),
            other => Outcome::retry(other.to_string()),
        }
    }
}

impl<R: Into<Problem>> From<Rejection<R>> for Problem {
    fn from(rejection: Rejection<R>) -> Self {
        match rejection {
            Rejection::Refused(refusal) => refusal.into(),
            Rejection::Stale { version } => {
                let detail = "It was changed since you read it. Read it again and send the change anew.";
                Self::new(StatusCode::PRECONDITION_FAILED, detail).header(http::header::ETAG, format!("\"{version}\""))
            }
            Rejection::KeyReused => Self::key_reused(),
            Rejection::Failed(error) => error.into(),
        }
    }
}

/// Brings a new entity into being: one statement, nothing is read first.
///
/// # Errors
/// The [`Rejection`]; an id that is taken is a [`Error::VersionConflict`], unless the same keyed request took it.
pub fn create<E: Entity>(
    host: &Host,
    id: &str,
    command: &E::Command,
    context: Context<'_>,
) -> Result<Versioned<E>, Rejection<E::Refusal>> {
    let new = Versioned {
        state: E::default(),
        version: 0,
    };
    match attempt(host, id, new, command, context) {
        Err(Rejection::Failed(error @ (Error::VersionConflict { .. } | Error::DuplicateEvent { .. }))) => {
            first_answer(&journal::read_stream(host, &E::stream(id))?, &E::stream(id), context)?
                .ok_or(Rejection::Failed(error))
        }
        outcome => outcome,
    }
}

/// Changes an entity. When others change it at the same time the command is decided anew on what they made of it, a
/// bounded number of times, unless the caller insists on a version.
///
/// # Errors
/// The [`Rejection`]. An entity that doesn't exist is decided upon at version 0: refusing that is `decide`'s part.
pub fn change<E: Entity>(
    host: &Host,
    id: &str,
    command: &E::Command,
    context: Context<'_>,
) -> Result<Versioned<E>, Rejection<E::Refusal>> {
    for tries_left in (0..limits::DECIDE_ATTEMPTS_MAX).rev() {
        let loaded = snapshot::load::<E>(host, id)?;
        if let Some(first) = earlier_answer(host, &loaded, &E::stream(id), context)? {
            return Ok(first);
        }
        let current = loaded.entity;
        if let Some(expected) = context.expected_version
            && expected != current.version
            && current.version > 0
        {
            return Err(Rejection::Stale {
                version: current.version,
            });
        }
        match attempt(host, id, current, command, context) {
            Err(Rejection::Failed(Error::VersionConflict { .. } | Error::DuplicateEvent { .. })) if tries_left > 0 => {}
            outcome => return outcome,
        }
    }
    unreachable!("the last try returns whatever it comes to")
}

/// An entity as it is now; `None` when it has no events.
///
/// # Errors
/// What reading fails with.
pub fn load<E: Entity>(host: &Host, id: &str) -> Result<Option<Versioned<E>>, Error> {
    let entity = snapshot::load::<E>(host, id)?.entity;
    Ok(Some(entity).filter(|entity| entity.version > 0))
}

/// An entity as it is after these events, which are its first.
///
/// # Errors
/// What [`Entity::evolve`] fails with.
pub fn replay<E: Entity>(records: &[Record]) -> Result<Versioned<E>, Error> {
    let mut entity = Versioned {
        state: E::default(),
        version: 0,
    };
    for record in records {
        entity.state.evolve(&record.event)?;
        entity.version = record.version;
    }
    Ok(entity)
}

/// Decides once, appends, and rings.
fn attempt<E: Entity>(
    host: &Host,
    id: &str,
    mut current: Versioned<E>,
    command: &E::Command,
    context: Context<'_>,
) -> Result<Versioned<E>, Rejection<E::Refusal>> {
    let decided = current.state.decide(command).map_err(Rejection::Refused)?;
    if decided.is_empty() {
        return Ok(current);
    }
    let trace = trace::continued(context.trace, host);
    let now = Timestamp::from_unix_ms(host.now_ms());
    let mut events = Vec::with_capacity(decided.len());
    let stream = E::stream(id);
    let mut correlation = context
        .cause
        .map(|cause| cause.correlationid().unwrap_or(&cause.id).to_owned());
    for (index, new) in (0..).zip(decided) {
        let event_id = context.event_id(&stream, index).unwrap_or_else(|| host.new_id());
        // What nothing led to begins a correlation of its own.
        let correlation: &str = correlation.get_or_insert_with(|| event_id.clone());
        let mut event = Event::new(event_id, E::SOURCE, new.event_type)
            .with_subject(id)
            .with_time(now)
            .with_extension(trace::HEADER, &*trace)
            .with_extension(CORRELATION_ID, correlation)
            .with_data("application/json", new.data);
        event.dataschema = Some(selvedge_events::schema_uri(new.event_type));
        if let Some(cause) = context.cause {
            event = event.with_extension(CAUSATION_ID, &*cause.id);
        }
        if let Some(time) = new.deliver_at {
            event = event.with_extension(DELIVER_AT, time);
        }
        if let Some(key) = context.key {
            event = event.with_extension(idempotency::DIGEST_EXTENSION, key.digest());
        }
        current.state.evolve(&event)?;
        events.push(event);
    }
    let version = current.version + events.len() as i64;
    let appended = match journal::append(host, &stream, current.version, events) {
        Err(_) if mutant::is("accepted_without_commit") => return Ok(Versioned { version, ..current }),
        appended => appended?,
    };
    bell::ring_after(host, appended);
    Ok(Versioned { version, ..current })
}

/// The entity as the same command left it, when it was there before. The events that a snapshot stands for aren't read
/// unless one of them is the command's.
fn earlier_answer<E: Entity>(
    host: &Host,
    loaded: &Loaded<E>,
    stream: &str,
    context: Context<'_>,
) -> Result<Option<Versioned<E>>, Rejection<E::Refusal>> {
    let id = match context.event_id(stream, 0) {
        Some(id) if loaded.base_version > 0 => id,
        _ => return first_answer(&loaded.records, stream, context),
    };
    if journal::contains(host, stream, E::SOURCE, &id)? {
        first_answer(&journal::read_stream(host, stream)?, stream, context)
    } else {
        Ok(None)
    }
}

/// The entity as the same command left it, when its events are among these, which are the stream's first.
fn first_answer<E: Entity>(
    records: &[Record],
    stream: &str,
    context: Context<'_>,
) -> Result<Option<Versioned<E>>, Rejection<E::Refusal>> {
    let Some(first_id) = context.event_id(stream, 0) else {
        return Ok(None);
    };
    let Some(first) = records.iter().position(|record| record.event.id == first_id) else {
        return Ok(None);
    };
    if let Some(key) = context.key {
        let digest = records[first].event.extensions.get(idempotency::DIGEST_EXTENSION);
        if digest.and_then(|digest| digest.as_str()) != Some(key.digest()) {
            return Err(Rejection::KeyReused);
        }
    }
    // All events of one command were appended at once: they follow the first.
    let more = (1..)
        .zip(&records[first + 1..])
        .take_while(|(index, record)| context.event_id(stream, *index).as_ref() == Some(&record.event.id));
    let end = first + 1 + more.count();
    Ok(Some(replay(&records[..end])?))
}
