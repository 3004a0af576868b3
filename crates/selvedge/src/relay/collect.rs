//! Removes done markers that can't be needed any more: the key-value store has no expiry of its own.
//!
//! A marker goes when its event is old, lies before the subscription's cursor, before its oldest exception that could
//! still be delivered or redriven, and before every replay that has yet to look at it: then nothing delivers the event
//! again. Which keys those are is computed from the journal.
//!
//! `forgotten` is noted before keys go and `collected` after that. So a crash between the two only removes them again,
//! and a replay that begins meanwhile knows up to where a marker that isn't there means nothing.

use super::plan::View;
use crate::host::{Row, Value};
use crate::subscription::{Subscription, Subscriptions};
use crate::{Error, Host, inbox, limits, message, mutant};

/// Collects when it is time, in bounded steps: others get their turn between two of them. True when it was.
pub(super) async fn if_time(
    host: &Host,
    subscriptions: &Subscriptions,
    view: &View,
    now_ms: i64,
) -> Result<bool, Error> {
    // A time in the future was written before the clock was set back.
    let is_time = view.collected_at_ms > now_ms || now_ms - view.collected_at_ms >= limits::COLLECT_EVERY_MS;
    if !is_time || !begin(host, view.collected_at_ms, now_ms)? {
        return Ok(false);
    }
    let statement = "SELECT name, collected, cursor,
            (SELECT MIN(position) FROM exceptions
             WHERE exceptions.subscription = subscriptions.name AND exceptions.state <> 'discarded'),
            (SELECT MIN(cursor) FROM replays
             WHERE replays.subscription = subscriptions.name AND replays.state = 'running'
                 AND replays.mode = 'redeliver')
        FROM subscriptions";
    for mut row in host.execute(statement, Vec::new())? {
        let (name, mut collected) = (row.text()?, row.integer()?);
        let settled = settled_up_to(row.integer()?, row.optional_integer()?, row.optional_integer()?);
        let Some(subscription) = subscriptions.get(&name) else {
            continue;
        };
        for _ in 0..limits::COLLECT_STEPS_MAX {
            let older_than_ms = now_ms - limits::MARKER_RETENTION_MS;
            let step = look(host, subscription, collected, settled, older_than_ms)?;
            if step.last == collected || !forget(host, subscription, step.last)? {
                break;
            }
            if !step.keys.is_empty() {
                host.delete_many(step.keys)?;
            }
            collected = step.last;
            let statement = "UPDATE subscriptions SET collected = ? WHERE name = ? AND collected < ?";
            host.execute(statement, vec![collected.into(), (*name).into(), collected.into()])?;
            if step.is_last {
                break;
            }
            host.wait(limits::COLLECT_PAUSE_MS).await;
        }
    }
    Ok(true)
}

/// True for one of all relays that find that it is time.
fn begin(host: &Host, collected_at_ms: i64, now_ms: i64) -> Result<bool, Error> {
    let statement = "UPDATE relay SET collected_at_ms = ? WHERE id = 1 AND collected_at_ms = ? RETURNING id";
    Ok(!host
        .execute(statement, vec![now_ms.into(), collected_at_ms.into()])?
        .is_empty())
}

/// The position up to which no event can be delivered again.
fn settled_up_to(cursor: i64, oldest_exception: Option<i64>, replayed: Option<i64>) -> i64 {
    let before_exceptions = oldest_exception.map_or(cursor, |position| cursor.min(position - 1));
    replayed.map_or(before_exceptions, |replayed| before_exceptions.min(replayed))
}

/// The markers that one step removes.
struct Step {
    keys: Vec<String>,
    /// The position of the last event that they belong to.
    last: i64,
    /// Whether there is nothing behind it that is old enough.
    is_last: bool,
}

fn look(
    host: &Host,
    subscription: &Subscription,
    collected: i64,
    settled: i64,
    older_than_ms: i64,
) -> Result<Step, Error> {
    let mut step = Step {
        keys: Vec::new(),
        last: collected,
        is_last: true,
    };
    let marked_by = subscription.marked_by();
    let statement = "SELECT position, source, id, type, time_ms FROM journal
        WHERE position > ? AND position <= ? ORDER BY position LIMIT ?";
    let parameters = vec![collected.into(), settled.into(), limits::COLLECT_EVENTS_MAX.into()];
    let rows = host.execute(statement, parameters)?;
    let is_full = rows.len() == limits::COLLECT_EVENTS_MAX as usize;
    for mut row in rows {
        let (position, source, id) = (row.integer()?, row.text()?, row.text()?);
        let (event_type, time_ms) = (row.text()?, row.integer()?);
        if time_ms > older_than_ms && !mutant::is("marker_collected_early") {
            return Ok(step);
        }
        step.last = position;
        if subscription.hears(&event_type) {
            step.keys.extend(keys(subscription, &marked_by, &source, &id));
        }
    }
    step.is_last = !is_full;
    Ok(step)
}

/// What is kept of an event that a subscription is done with. What consumers leave of an attempt that failed the relay removes
/// when it settles it. A word that comes after that, and the claim of a first attempt in which both died, stay until here.
fn keys(subscription: &Subscription, marked_by: &[String], source: &str, id: &str) -> Vec<String> {
    let of_attempt = |name: &String| {
        [
            message::claim_key(name, source, id, 1),
            message::outcome_key(name, source, id),
        ]
    };
    let markers = marked_by.iter().map(|name| inbox::marker(name, source, id));
    markers
        .chain(subscription.consumers().iter().flat_map(of_attempt))
        .collect()
}

/// Notes that markers up to here may be gone, unless something could be delivered again meanwhile: then nothing is to
/// be removed.
fn forget(host: &Host, subscription: &Subscription, last: i64) -> Result<bool, Error> {
    let statement = "UPDATE subscriptions SET forgotten = CASE WHEN forgotten < ? THEN ? ELSE forgotten END
        WHERE name = ?
            AND NOT EXISTS (SELECT 1 FROM exceptions WHERE exceptions.subscription = subscriptions.name
                AND exceptions.state <> 'discarded' AND exceptions.position <= ?)
            AND NOT EXISTS (SELECT 1 FROM replays WHERE replays.subscription = subscriptions.name
                AND replays.state = 'running' AND replays.mode = 'redeliver' AND replays.cursor < ?)
        RETURNING name";
    let last: Value = last.into();
    let parameters = vec![
        last.clone(),
        last.clone(),
        (*subscription.name).into(),
        last.clone(),
        last,
    ];
    let rows: Vec<Row> = host.execute(statement, parameters)?;
    Ok(!rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_collected_that_could_be_delivered_again() {
        assert_eq!(settled_up_to(10, None, None), 10);
        assert_eq!(settled_up_to(10, Some(4), None), 3);
        assert_eq!(settled_up_to(10, Some(11), None), 10);
        assert_eq!(
            settled_up_to(10, None, Some(5)),
            5,
            "a replay that has looked up to 5 has yet to look at 6"
        );
        assert_eq!(settled_up_to(10, Some(3), Some(5)), 2);
    }
}
