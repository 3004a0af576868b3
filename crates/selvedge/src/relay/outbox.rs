//! The relay's statements: look, read, claim, settle.

use std::rc::Rc;
use std::sync::Arc;

use selvedge_events::Timestamp;

use super::batch::Encoded;
use super::plan::{Progress, Range, View};
use super::replay::{self, DUE as REPLAY_DUE};
use super::settlement::{Done, Exception, Moved, Settlement};
use crate::host::{Host, Row, Value, placeholders};
use crate::journal::{self, Record};
use crate::lease::{FREE, free_parameters, until_ms};
use crate::subscription::{Subscription, Subscriptions};
use crate::{Error, limits, mutant};

/// The SQL condition that an exception is due at the time of its parameters, [`due_parameters`]. A retry that failed
/// later than now failed before the clock was set back, and doesn't wait for that time to come round again; a delayed
/// event does, since its time is its producer's. Each of the three parts has an index.
const DUE: &str = "((state = 'retry' AND due_at_ms <= ?) OR (state = 'retry' AND last_at_ms > ?)
    OR (state = 'scheduled' AND due_at_ms <= ?))";

/// The parameters of [`DUE`].
fn due_parameters(now_ms: i64) -> [Value; 3] {
    [now_ms.into(), now_ms.into(), now_ms.into()]
}

/// Makes sure that every subscription has its row. A new one begins before the journal's first event.
pub(super) fn register(host: &Host, subscriptions: &Subscriptions) -> Result<(), Error> {
    let rows = vec!["(?, 0, NULL, 0, 0)"; subscriptions.iter().len()].join(", ");
    let statement = format!(
        "INSERT INTO subscriptions (name, cursor, lease_token, leased_until_ms, collected) VALUES {rows}
         ON CONFLICT DO NOTHING"
    );
    host.execute(&statement, names_of(subscriptions).collect()).map(drop)
}

/// What there is to do for these subscriptions.
pub(super) fn look(host: &Host, subscriptions: &Subscriptions, now_ms: i64) -> Result<View, Error> {
    let names = placeholders(1, subscriptions.iter().len());
    let statement = format!(
        "SELECT (SELECT MAX(position) FROM journal),
                CASE WHEN EXISTS (SELECT 1 FROM exceptions
                         WHERE {DUE} AND {FREE} AND subscription IN {names})
                     THEN 1 ELSE 0 END,
                (SELECT collected_at_ms FROM relay WHERE id = 1),
                CASE WHEN EXISTS (SELECT 1 FROM replays WHERE {REPLAY_DUE} AND {FREE} AND subscription IN {names})
                     THEN 1 ELSE 0 END,
                name, cursor, leased_until_ms
         FROM subscriptions"
    );
    let mut parameters = due_parameters(now_ms).to_vec();
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    parameters.extend(replay::due_parameters(now_ms));
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    let mut view = View::default();
    for mut row in host.execute(&statement, parameters)? {
        view.head = row.optional_integer()?.unwrap_or(0);
        view.retry_due = row.integer()? != 0;
        view.collected_at_ms = row.optional_integer()?.unwrap_or(0);
        view.replay_due = row.integer()? != 0;
        let progress = Progress {
            name: row.text()?,
            cursor: row.integer()?,
            leased_until_ms: row.integer()?,
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
    let statement = format!(
        "SELECT 1 FROM relay WHERE id = 1 AND (awake_until_ms <= ? OR awake_until_ms > ?) AND (
             EXISTS (SELECT 1 FROM subscriptions
                 WHERE name IN {names} AND cursor < (SELECT MAX(position) FROM journal) AND {FREE})
             OR EXISTS (SELECT 1 FROM exceptions
                 WHERE {DUE} AND {FREE} AND subscription IN {names})
             OR EXISTS (SELECT 1 FROM replays WHERE {REPLAY_DUE} AND {FREE} AND subscription IN {names})
             OR (EXISTS (SELECT 1 FROM journal)
                 AND (SELECT COUNT(*) FROM subscriptions WHERE name IN {names}) < ?))"
    );
    let mut parameters = vec![now_ms.into(), (now_ms + limits::AWAKE_MS).into()];
    parameters.extend(names_of(subscriptions));
    parameters.extend(free_parameters(now_ms));
    parameters.extend(due_parameters(now_ms));
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
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

/// A retry or a delayed event that was claimed.
pub(super) struct Claimed {
    pub(super) subscription: Arc<Subscription>,
    /// How many attempts were made before.
    pub(super) attempts: u32,
    pub(super) isolated: bool,
    pub(super) event: Encoded,
}

/// Takes up the exceptions that are due the longest, under this token.
pub(super) fn claim_retries(
    host: &Host,
    subscriptions: &Subscriptions,
    token: &str,
    now_ms: i64,
) -> Result<Vec<Claimed>, Error> {
    let names = placeholders(1, subscriptions.iter().len());
    let claim = format!(
        "WITH chosen (subscription, position) AS (
             SELECT subscription, position FROM exceptions
             WHERE {DUE} AND {FREE} AND subscription IN {names}
             ORDER BY due_at_ms LIMIT ?)
         UPDATE exceptions SET lease_token = ?, leased_until_ms = ? FROM chosen
         WHERE exceptions.subscription = chosen.subscription AND exceptions.position = chosen.position
             AND state IN ('retry', 'scheduled') AND {FREE}"
    );
    let mut parameters = due_parameters(now_ms).to_vec();
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    parameters.push(limits::RETRIES_PER_PASS_MAX.into());
    parameters.extend([token.into(), until_ms(now_ms).into()]);
    parameters.extend(free_parameters(now_ms));
    host.execute(&claim, parameters)?;

    let read = format!(
        "SELECT exceptions.subscription, exceptions.attempt, exceptions.isolated, {}
         FROM exceptions JOIN journal ON journal.position = exceptions.position
         WHERE exceptions.lease_token = ? AND exceptions.state IN ('retry', 'scheduled') ORDER BY exceptions.position",
        journal::COLUMNS
    );
    let claimed = |mut row: Row| {
        let name = row.text()?;
        let attempts = u32::try_from(row.integer()?).unwrap_or(u32::MAX);
        let attempts = if mutant::is("attempts_not_counted") {
            0
        } else {
            attempts
        };
        let isolated = row.integer()? != 0;
        let event = encode(Record::from_row(&mut row)?);
        // Only retries of subscriptions that are in the file were claimed.
        Ok(subscriptions.get(&name).cloned().map(|subscription| Claimed {
            subscription,
            attempts,
            isolated,
            event,
        }))
    };
    host.execute(&read, vec![token.into()])?
        .into_iter()
        .filter_map(|row| claimed(row).transpose())
        .collect()
}

/// Writes a settlement down and gives the subscriptions whose cursors moved. Those that are missing were fenced:
/// another relay has taken over, and nothing of theirs was changed.
///
/// The exceptions are written before the cursor goes past them. A crash between the two only brings the range again.
pub(super) fn settle(host: &Host, settlement: &Settlement) -> Result<Vec<String>, Error> {
    if mutant::is("cursor_before_exceptions") && !settlement.moved.is_empty() {
        move_cursors(host, &settlement.moved)?;
    }
    for exceptions in settlement.failed.chunks(limits::EXCEPTIONS_PER_STATEMENT_MAX) {
        add_exceptions(host, exceptions)?;
    }
    if !settlement.again.is_empty() {
        postpone(host, &settlement.again)?;
    }
    if !settlement.done.is_empty() {
        remove(host, &settlement.done)?;
    }
    if settlement.moved.is_empty() {
        Ok(Vec::new())
    } else {
        move_cursors(host, &settlement.moved)
    }
}

fn move_cursors(host: &Host, moved: &[Moved]) -> Result<Vec<String>, Error> {
    let statement = format!(
        "WITH moved (name, token, cursor) AS (VALUES {})
         UPDATE subscriptions SET cursor = moved.cursor, lease_token = NULL, leased_until_ms = 0 FROM moved
         WHERE subscriptions.name = moved.name AND subscriptions.lease_token = moved.token RETURNING subscriptions.name",
        placeholders(moved.len(), 3)
    );
    let statement = mutant::cut(
        "cursor_without_fence",
        statement,
        "AND subscriptions.lease_token = moved.token",
    );
    let row = |moved: &Moved| [(*moved.subscription).into(), (*moved.token).into(), moved.cursor.into()];
    let rows = host.execute(&statement, moved.iter().flat_map(row).collect())?;
    rows.into_iter().map(|mut row| row.text()).collect()
}

const EXCEPTION_COLUMNS: usize = 11;

fn exception_row(exception: &Exception) -> [Value; EXCEPTION_COLUMNS] {
    [
        (*exception.subscription).into(),
        exception.position.into(),
        (*exception.stream).into(),
        (*exception.token).into(),
        exception.state.as_str().into(),
        exception.attempt.into(),
        exception.due_at_ms.into(),
        exception.isolated.into(),
        (*exception.reason).into(),
        exception.failed_at_ms.into(),
        exception.trace.as_deref().into(),
    ]
}

/// An exception that is there already came from a settlement that got no further: it stays.
fn add_exceptions(host: &Host, exceptions: &[Exception]) -> Result<(), Error> {
    let statement = format!(
        "WITH failed (subscription, position, stream, token, state, attempt, due_at_ms, isolated, reason, at_ms, trace)
             AS (VALUES {})
         INSERT INTO exceptions (subscription, position, stream, state, attempt, due_at_ms, lease_token, leased_until_ms,
             isolated, reason, first_at_ms, last_at_ms, trace)
         SELECT subscription, position, stream, state, attempt, due_at_ms, NULL, 0, isolated, reason, at_ms, at_ms, trace
         FROM failed
         WHERE EXISTS (SELECT 1 FROM subscriptions
             WHERE subscriptions.name = failed.subscription AND subscriptions.lease_token = failed.token)
         ON CONFLICT DO NOTHING",
        placeholders(exceptions.len(), EXCEPTION_COLUMNS)
    );
    host.execute(&statement, exceptions.iter().flat_map(exception_row).collect())
        .map(drop)
}

fn postpone(host: &Host, exceptions: &[Exception]) -> Result<(), Error> {
    let statement = format!(
        "WITH again (subscription, position, stream, token, state, attempt, due_at_ms, isolated, reason, at_ms, trace)
             AS (VALUES {})
         UPDATE exceptions SET state = again.state, attempt = again.attempt, due_at_ms = again.due_at_ms,
             isolated = again.isolated, reason = again.reason, last_at_ms = again.at_ms,
             first_at_ms = CASE exceptions.first_at_ms WHEN 0 THEN again.at_ms ELSE exceptions.first_at_ms END,
             lease_token = NULL, leased_until_ms = 0
         FROM again WHERE exceptions.subscription = again.subscription AND exceptions.position = again.position
             AND exceptions.lease_token = again.token",
        placeholders(exceptions.len(), EXCEPTION_COLUMNS)
    );
    host.execute(&statement, exceptions.iter().flat_map(exception_row).collect())
        .map(drop)
}

fn remove(host: &Host, done: &[Done]) -> Result<(), Error> {
    let statement = format!(
        "WITH done (subscription, position, token) AS (VALUES {})
         DELETE FROM exceptions
         WHERE (subscription, position, lease_token) IN (SELECT subscription, position, token FROM done)",
        placeholders(done.len(), 3)
    );
    let row = |done: &Done| [(*done.subscription).into(), done.position.into(), (*done.token).into()];
    host.execute(&statement, done.iter().flat_map(row).collect()).map(drop)
}

pub(super) fn names_of(subscriptions: &Subscriptions) -> impl Iterator<Item = Value> {
    subscriptions.iter().map(|subscription| (*subscription.name).into())
}

fn encode(record: Record) -> Encoded {
    let json = serde_json::to_string(&record.event).expect("an event can be written as JSON");
    let trace = record.event.traceparent().map(Rc::from);
    let event = record.event;
    Encoded {
        position: record.position,
        stream: record.stream.into(),
        deliver_at_ms: event.deliverat().map(Timestamp::unix_ms),
        id: event.id.into(),
        event_type: event.event_type,
        trace,
        json,
    }
}
