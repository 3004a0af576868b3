//! What a relay writes after deliveries: exceptions, releases, cursors.

use super::settlement::{Done, Exception, Freed, Moved, Settlement};
use crate::host::{Host, Value, placeholders};
use crate::{Error, limits, mutant};

/// Writes a settlement down and gives the subscriptions whose cursors moved. Those that are missing were fenced:
/// another relay has taken over, and nothing of theirs was changed.
///
/// The exceptions are written before the cursor goes past them. A crash between the two only brings the range again. A
/// stream's next event is released before the one in front of it is settled: until then nobody can claim it, and a crash
/// between the two doesn't leave it held for good.
pub(super) fn settle(host: &Host, settlement: &Settlement) -> Result<Vec<String>, Error> {
    if mutant::is("cursor_before_exceptions") && !settlement.moved.is_empty() {
        move_cursors(host, &settlement.moved)?;
    }
    for exceptions in settlement.failed.chunks(limits::EXCEPTIONS_PER_STATEMENT_MAX) {
        add_exceptions(host, exceptions)?;
    }
    if !settlement.freed.is_empty() {
        release(host, &settlement.freed)?;
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

const EXCEPTION_COLUMNS: usize = 12;

fn exception_row(exception: &Exception) -> [Value; EXCEPTION_COLUMNS] {
    [
        (*exception.subscription).into(),
        exception.position.into(),
        (*exception.stream).into(),
        (*exception.token).into(),
        exception.state.as_str().into(),
        exception.attempt.into(),
        exception.due_at_ms.into(),
        exception.behind.into(),
        exception.isolated.into(),
        (*exception.reason).into(),
        exception.failed_at_ms.into(),
        exception.trace.as_deref().into(),
    ]
}

/// An exception that is there already came from a settlement that got no further: it stays. An event is held only behind
/// one that will release it: one that is written with it, or that nobody is about to settle. Otherwise it is due, and
/// waits for its turn.
fn add_exceptions(host: &Host, exceptions: &[Exception]) -> Result<(), Error> {
    let statement = format!(
        "WITH failed (subscription, position, stream, token, state, attempt, due_at_ms, behind, isolated, reason, at_ms,
             trace) AS (VALUES {})
         INSERT INTO exceptions (subscription, position, stream, state, attempt, due_at_ms, lease_token, leased_until_ms,
             isolated, reason, first_at_ms, last_at_ms, trace)
         SELECT subscription, position, stream,
             CASE WHEN state <> 'held' THEN state
                 WHEN EXISTS (SELECT 1 FROM exceptions AS earlier
                     WHERE earlier.subscription = failed.subscription AND earlier.stream = failed.stream
                         AND earlier.position < failed.position AND earlier.state IN ('retry', 'held')
                         AND earlier.lease_token IS NULL) THEN 'held'
                 WHEN behind > 0 AND NOT EXISTS (SELECT 1 FROM exceptions AS known
                     WHERE known.subscription = failed.subscription AND known.position = failed.behind) THEN 'held'
                 ELSE 'retry' END,
             attempt, due_at_ms, NULL, 0, isolated, reason, at_ms, at_ms, trace
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
        "WITH again (subscription, position, stream, token, state, attempt, due_at_ms, behind, isolated, reason, at_ms,
             trace) AS (VALUES {})
         UPDATE exceptions SET state = again.state, attempt = again.attempt, due_at_ms = again.due_at_ms,
             isolated = again.isolated,
             reason = CASE again.reason WHEN '' THEN exceptions.reason ELSE again.reason END,
             last_at_ms = CASE again.at_ms WHEN 0 THEN exceptions.last_at_ms ELSE again.at_ms END,
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

/// Makes the first event that is held in each of these streams due, unless one of its stream is due already.
fn release(host: &Host, freed: &[Freed]) -> Result<(), Error> {
    let statement = format!(
        "WITH freed (subscription, stream, token, at_ms) AS (VALUES {})
         UPDATE exceptions SET state = 'retry', due_at_ms = freed.at_ms FROM freed
         WHERE exceptions.subscription = freed.subscription AND exceptions.stream = freed.stream
             AND exceptions.state = 'held' AND exceptions.position = (SELECT MIN(waiting.position)
                 FROM exceptions AS waiting
                 WHERE waiting.subscription = freed.subscription AND waiting.stream = freed.stream
                     AND waiting.state IN ('retry', 'held') AND COALESCE(waiting.lease_token, '') <> freed.token)",
        placeholders(freed.len(), 4)
    );
    let row = |freed: &Freed| {
        [
            (*freed.subscription).into(),
            (*freed.stream).into(),
            (*freed.token).into(),
            freed.at_ms.into(),
        ]
    };
    host.execute(&statement, freed.iter().flat_map(row).collect()).map(drop)
}
