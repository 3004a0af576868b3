//! What a relay reads: what there is to do, and the events of a range.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use selvedge_events::Timestamp;

use super::batch::Encoded;
use super::due;
use super::plan::{Progress, Range, View};
use super::replay::{self, DUE as REPLAY_DUE};
use crate::host::{Host, Value, placeholders};
use crate::journal::{self, Record};
use crate::lease::{BUSY, FREE, free_parameters, latest_ms};
use crate::subscription::{Start, Subscription, Subscriptions, Target};
use crate::{Error, limits, projection};

/// Makes sure that every subscription has its row. A new one begins before the journal's first event, or after its last, and
/// builds the live generation of its function's projection.
pub(super) fn register(host: &Host, subscriptions: &Subscriptions) -> Result<(), Error> {
    let row = |subscription: &Arc<Subscription>| {
        let cursor = match subscription.start {
            Start::Beginning => "0",
            Start::Now => "COALESCE((SELECT MAX(position) FROM journal), 0)",
        };
        let generation = "COALESCE((SELECT generation FROM projections WHERE function = ?), 0)";
        format!("(?, {cursor}, NULL, 0, {cursor}, {generation})")
    };
    let rows: Vec<_> = subscriptions.iter().map(row).collect();
    let statement = format!(
        "INSERT INTO subscriptions (name, cursor, lease_token, leased_until_ms, collected, generation) VALUES {}
         ON CONFLICT DO NOTHING",
        rows.join(", ")
    );
    let parameters = subscriptions.iter().flat_map(|subscription| {
        let function = match &subscription.target {
            Target::Function { component } => Some(component.as_str()),
            _ => None,
        };
        [name_of(subscription), function.into()]
    });
    host.execute(&statement, parameters.collect()).map(drop)
}

/// What there is to do for these subscriptions.
pub(super) fn look(host: &Host, subscriptions: &Subscriptions, now_ms: i64) -> Result<View, Error> {
    let due = due::condition(subscriptions, now_ms);
    let mut parameters = due.parameters;
    parameters.extend(replay::due_parameters(now_ms));
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    let is_limited = subscriptions
        .iter()
        .any(|subscription| subscription.max_in_flight.is_some());
    if is_limited {
        parameters.push(now_ms.into());
    }
    let statement = format!(
        "SELECT (SELECT MAX(position) FROM journal),
                CASE WHEN EXISTS (SELECT 1 FROM exceptions WHERE {}) THEN 1 ELSE 0 END,
                (SELECT collected_at_ms FROM relay WHERE id = 1),
                CASE WHEN EXISTS (SELECT 1 FROM replays WHERE {REPLAY_DUE} AND {FREE} AND subscription IN {})
                     THEN 1 ELSE 0 END,
                name, generation, cursor, allowed, leased_until_ms, paused, {}
         FROM subscriptions",
        due.sql,
        placeholders(1, subscriptions.iter().len()),
        if is_limited { BUSY } else { "0" }
    );
    let mut view = View::default();
    for mut row in host.execute(&statement, parameters)? {
        view.head = row.optional_integer()?.unwrap_or(0);
        view.retry_due = row.integer()? != 0;
        view.collected_at_ms = row.optional_integer()?.unwrap_or(0);
        view.replay_due = row.integer()? != 0;
        let progress = Progress {
            name: row.text()?,
            generation: row.integer()?,
            cursor: row.integer()?,
            allowed: row.optional_integer()?,
            leased_until_ms: row.integer()?,
            paused: row.integer()? != 0,
            busy: u32::try_from(row.integer()?).unwrap_or(u32::MAX),
        };
        view.progress.push(progress);
    }
    Ok(view)
}

/// Whether a relay that isn't awake would find work for these subscriptions. One statement, for those who only ring.
pub(super) fn is_due(host: &Host, subscriptions: &Subscriptions, now_ms: i64) -> Result<bool, Error> {
    if subscriptions.iter().len() == 0 {
        return Ok(false);
    }
    let names = placeholders(1, subscriptions.iter().len());
    let fed = || {
        subscriptions
            .iter()
            .filter(|subscription| subscription.from.is_none())
            .map(name_of)
    };
    let is_behind = match fed().count() {
        0 => "0 = 1".to_owned(),
        count => format!(
            "EXISTS (SELECT 1 FROM subscriptions
                 WHERE name IN {} AND paused = 0 AND cursor < (SELECT MAX(position) FROM journal) AND {FREE})",
            placeholders(1, count)
        ),
    };
    let due = due::condition(subscriptions, now_ms);
    // A subscription that begins now is taken up at once; the others can wait for the first event.
    let starts_now = subscriptions
        .iter()
        .any(|subscription| subscription.start == Start::Now);
    let statement = format!(
        "SELECT 1 FROM relay WHERE id = 1 AND (awake_until_ms <= ? OR awake_until_ms > ?) AND (
             {is_behind}
             OR EXISTS (SELECT 1 FROM exceptions WHERE {})
             OR EXISTS (SELECT 1 FROM replays WHERE {REPLAY_DUE} AND {FREE} AND subscription IN {names})
             OR ({}(SELECT COUNT(*) FROM subscriptions WHERE name IN {names}) < ?))",
        due.sql,
        if starts_now {
            ""
        } else {
            "EXISTS (SELECT 1 FROM journal) AND "
        }
    );
    let mut parameters = vec![now_ms.into(), latest_ms(now_ms + limits::AWAKE_MS).into()];
    if fed().next().is_some() {
        parameters.extend(fed());
        parameters.extend(free_parameters(now_ms));
    }
    parameters.extend(due.parameters);
    parameters.extend(replay::due_parameters(now_ms));
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    parameters.extend(names_of(subscriptions));
    parameters.push(i64::try_from(subscriptions.iter().len()).unwrap_or(i64::MAX).into());
    Ok(!host.execute(&statement, parameters)?.is_empty())
}

/// The events of a range.
pub(super) fn read(host: &Host, range: &Range) -> Result<Vec<Encoded>, Error> {
    let statement = format!(
        "SELECT {} FROM journal WHERE position > ? ORDER BY position LIMIT ?",
        journal::COLUMNS
    );
    let rows = host.execute(&statement, vec![range.after.into(), range.limit.into()])?;
    rows.into_iter()
        .map(|mut row| Ok(encode(Record::from_row(&mut row)?)))
        .collect()
}

/// The streams of these events in which something isn't settled, for each of the ordered subscriptions of a range.
pub(super) fn blocked(
    host: &Host,
    ordered: &[&str],
    events: &[Encoded],
) -> Result<HashMap<String, HashSet<Rc<str>>>, Error> {
    let streams: HashSet<&str> = events.iter().map(|event| &*event.stream).collect();
    let mut blocked: HashMap<String, HashSet<Rc<str>>> = HashMap::new();
    if ordered.is_empty() || streams.is_empty() {
        return Ok(blocked);
    }
    let statement = format!(
        "WITH streams (stream) AS (VALUES {})
         SELECT subscriptions.name, streams.stream FROM subscriptions, streams
         WHERE subscriptions.name IN {} AND EXISTS (SELECT 1 FROM exceptions
             WHERE exceptions.subscription = subscriptions.name AND exceptions.stream = streams.stream
                 AND exceptions.state IN ('retry', 'held'))",
        placeholders(streams.len(), 1),
        placeholders(1, ordered.len())
    );
    let parameters = streams
        .into_iter()
        .chain(ordered.iter().copied())
        .map(Value::from)
        .collect();
    for mut row in host.execute(&statement, parameters)? {
        blocked.entry(row.text()?).or_default().insert(row.text()?.into());
    }
    Ok(blocked)
}

/// The positions of these events at which the live subscription has an exception, for each projection of a range that is being
/// built: it isn't known yet, or was decided otherwise, what becomes of them.
pub(super) fn unsettled(
    host: &Host,
    range: &Range,
    events: &[Encoded],
) -> Result<HashMap<String, HashSet<i64>>, Error> {
    let mut unsettled = HashMap::new();
    let built = range
        .leased
        .iter()
        .filter(|leased| projection::is_being_built(&leased.name));
    for leased in built {
        let statement = "SELECT position FROM exceptions WHERE subscription = ? AND position > ? AND position <= ?";
        let parameters = vec![
            projection::subscription_of(&leased.name).into(),
            leased.cursor.into(),
            events.last().map_or(0, |event| event.position).into(),
        ];
        let positions: Result<HashSet<i64>, Error> = host
            .execute(statement, parameters)?
            .into_iter()
            .map(|mut row| row.integer())
            .collect();
        unsettled.insert(leased.name.clone(), positions?);
    }
    Ok(unsettled)
}

pub(super) fn names_of(subscriptions: &Subscriptions) -> impl Iterator<Item = Value> {
    subscriptions.iter().map(name_of)
}

pub(super) fn name_of(subscription: &Arc<Subscription>) -> Value {
    (*subscription.name).into()
}

pub(super) fn encode(record: Record) -> Encoded {
    let json = serde_json::to_string(&record.event).expect("an event can be written as JSON");
    let trace = record.event.traceparent().map(Rc::from);
    let event = record.event;
    Encoded {
        position: record.position,
        stream: record.stream.into(),
        deliver_at_ms: event.deliverat().map(Timestamp::unix_ms),
        expires_at_ms: event.expirytime().map(Timestamp::unix_ms),
        id: event.id.into(),
        event_type: event.event_type,
        trace,
        json,
    }
}
