//! Removes done markers that can't be needed any more: the key-value store has no expiry of its own.
//!
//! A marker goes when its event is old, lies before the subscription's cursor and before its oldest exception, dead
//! letters included: then nothing delivers the event again. Which keys those are is computed from the journal.

use super::plan::View;
use crate::subscription::{Subscription, Subscriptions};
use crate::{Error, Host, inbox, limits, mutant};

/// Collects when it is time, a bounded number of markers.
pub(super) fn if_time(host: &Host, subscriptions: &Subscriptions, view: &View, now_ms: i64) -> Result<(), Error> {
    // A time in the future was written before the clock was set back.
    let is_time = view.collected_at_ms > now_ms || now_ms - view.collected_at_ms >= limits::COLLECT_EVERY_MS;
    if !is_time || !begin(host, view.collected_at_ms, now_ms)? {
        return Ok(());
    }
    let statement = "SELECT name, collected, cursor,
            (SELECT MIN(position) FROM exceptions WHERE exceptions.subscription = subscriptions.name)
        FROM subscriptions";
    for mut row in host.execute(statement, Vec::new())? {
        let (name, collected) = (row.text()?, row.integer()?);
        let settled = settled_up_to(row.integer()?, row.optional_integer()?);
        if let Some(subscription) = subscriptions.get(&name)
            && collected < settled
        {
            collect(
                host,
                subscription,
                collected,
                settled,
                now_ms - limits::MARKER_RETENTION_MS,
            )?;
        }
    }
    Ok(())
}

/// True for one of all relays that find that it is time.
fn begin(host: &Host, collected_at_ms: i64, now_ms: i64) -> Result<bool, Error> {
    let statement = "UPDATE relay SET collected_at_ms = ? WHERE id = 1 AND collected_at_ms = ? RETURNING id";
    Ok(!host
        .execute(statement, vec![now_ms.into(), collected_at_ms.into()])?
        .is_empty())
}

/// The position up to which no event can be delivered again.
fn settled_up_to(cursor: i64, oldest_exception: Option<i64>) -> i64 {
    oldest_exception.map_or(cursor, |position| cursor.min(position - 1))
}

fn collect(
    host: &Host,
    subscription: &Subscription,
    collected: i64,
    settled: i64,
    older_than_ms: i64,
) -> Result<(), Error> {
    let statement = "SELECT position, source, id, type, time_ms FROM journal
        WHERE position > ? AND position <= ? ORDER BY position LIMIT ?";
    let parameters = vec![collected.into(), settled.into(), limits::COLLECT_EVENTS_MAX.into()];
    let (mut keys, mut last) = (Vec::new(), collected);
    for mut row in host.execute(statement, parameters)? {
        let (position, source, id) = (row.integer()?, row.text()?, row.text()?);
        let (event_type, time_ms) = (row.text()?, row.integer()?);
        if time_ms > older_than_ms && !mutant::is("marker_collected_early") {
            break;
        }
        last = position;
        if subscription.hears(&event_type) {
            keys.push(inbox::marker(&subscription.name, &source, &id));
        }
    }
    if last == collected {
        return Ok(());
    }
    // Keys first: a crash between the two only removes them again.
    host.delete_many(keys)?;
    let statement = "UPDATE subscriptions SET collected = ? WHERE name = ? AND collected < ?";
    host.execute(statement, vec![last.into(), (*subscription.name).into(), last.into()])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_collected_that_could_be_delivered_again() {
        assert_eq!(settled_up_to(10, None), 10);
        assert_eq!(settled_up_to(10, Some(4)), 3);
        assert_eq!(settled_up_to(10, Some(11)), 10);
    }
}
