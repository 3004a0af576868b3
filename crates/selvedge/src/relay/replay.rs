//! The steps of replays: each looks at the next part of the journal and makes due what is missing there.
//!
//! There is no second way of delivering: what is missing becomes a retry that has had no attempt yet.

use std::collections::HashSet;

use selvedge_events::TypePattern;
use serde_json::Value as Json;

use super::outbox::names_of;
use super::rebuild;
use crate::host::{Host, Row, Value, placeholders};
use crate::lease::{FREE, free_parameters, until_ms};
use crate::subscription::Subscriptions;
use crate::{Error, inbox, limits, replay};

/// The SQL condition that a replay may make a step at the time of its two parameters, [`due_parameters`]: what it has
/// made due reaches less than a moment into the future. One that reaches further than any step would go was written
/// before the clock was set back. A paused subscription's replays wait with it.
pub(super) const DUE: &str = "(replays.state = 'running' AND (next_at_ms <= ? OR next_at_ms > ?)
    AND EXISTS (SELECT 1 FROM subscriptions WHERE name = replays.subscription AND paused = 0))";

/// The parameters of [`DUE`].
pub(super) fn due_parameters(now_ms: i64) -> [Value; 2] {
    let ahead_ms = now_ms + limits::REPLAY_AHEAD_MS;
    // A step goes no further than a second of its rate, or one event.
    [ahead_ms.into(), (ahead_ms + 2 * limits::REPLAY_AHEAD_MS).into()]
}

/// Makes one step of the replay that has waited the longest. False when it failed: it holds up no delivery, and another
/// drain makes it again when its lease has ended.
pub(super) fn step_or_warn(host: &Host, subscriptions: &Subscriptions, now_ms: i64) -> bool {
    let stepped = step(host, subscriptions, now_ms);
    if let Err(error) = &stepped {
        eprintln!("warning: a replay's step failed ({error}); it is made again in a moment");
    }
    stepped.is_ok()
}

fn step(host: &Host, subscriptions: &Subscriptions, now_ms: i64) -> Result<(), Error> {
    let token = host.new_token();
    let Some(claimed) = claim(host, subscriptions, &token, now_ms)? else {
        return Ok(());
    };
    if let Some(rebuild) = &claimed.rebuild {
        return match rebuild::step(host, subscriptions, &claimed, rebuild, &token, now_ms)? {
            rebuild::Step::Switched => Ok(()),
            rebuild::Step::Due(next_at_ms) => put_off(host, &claimed, &token, next_at_ms, now_ms),
        };
    }
    let mut events = look(host, subscriptions, &claimed)?;
    mark_done(host, &mut events)?;
    let step = plan(&events, &claimed, now_ms);
    let redelivered = if step.due.is_empty() {
        0
    } else {
        make_due(host, &claimed, &token, &step, now_ms)?
    };
    advance(host, &claimed, &token, &step, redelivered, now_ms)
}

/// A replay whose lease was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) subscription: String,
    types: String,
    /// The position up to which it has looked. Below the floor of what may be collected everything counts as done.
    cursor: i64,
    pub(super) end: i64,
    pub(super) rate_per_second: i64,
    next_at_ms: i64,
    /// What it builds anew, if it does.
    pub(super) rebuild: Option<Rebuild>,
}

/// What a rebuild builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rebuild {
    /// Whose projection.
    pub(super) function: String,
    /// Under which generation.
    pub(super) generation: i64,
}

impl Claimed {
    /// When its next event may be due. What it was allowed while nobody made steps isn't made good.
    pub(super) fn first_at_ms(&self, now_ms: i64) -> i64 {
        let reaches_too_far = self.next_at_ms > now_ms + 3 * limits::REPLAY_AHEAD_MS;
        if reaches_too_far {
            now_ms
        } else {
            self.next_at_ms.max(now_ms)
        }
    }
}

/// An event on a replay's way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Passed {
    position: i64,
    stream: String,
    trace: Option<String>,
    /// The keys of its done markers; `None` when the replay isn't about it, or all of them are there.
    missing: Option<Vec<String>>,
}

/// What a step leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step<'e> {
    /// What becomes due, and when, in milliseconds since the Unix epoch.
    due: Vec<(&'e Passed, i64)>,
    /// The position up to which the replay has looked then.
    cursor: i64,
    /// When the next event may be due.
    next_at_ms: i64,
}

fn claim(host: &Host, subscriptions: &Subscriptions, token: &str, now_ms: i64) -> Result<Option<Claimed>, Error> {
    let names = placeholders(1, subscriptions.iter().len());
    let statement = format!(
        "UPDATE replays SET lease_token = ?, leased_until_ms = ?
         WHERE id = (SELECT id FROM replays WHERE {DUE} AND {FREE} AND subscription IN {names}
                     ORDER BY changed_at_ms, id LIMIT 1)
             AND state = 'running' AND {FREE}
         RETURNING id, subscription, types, cursor, to_position, rate_per_second, next_at_ms, function, generation,
             (SELECT forgotten FROM subscriptions WHERE subscriptions.name = replays.subscription)"
    );
    let mut parameters: Vec<Value> = vec![token.into(), until_ms(now_ms).into()];
    parameters.extend(due_parameters(now_ms));
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    parameters.extend(free_parameters(now_ms));
    let claimed = |mut row: Row| {
        let mut claimed = Claimed {
            id: row.text()?,
            subscription: row.text()?,
            types: row.text()?,
            cursor: row.integer()?,
            end: row.integer()?,
            rate_per_second: row.integer()?.max(1),
            next_at_ms: row.integer()?,
            rebuild: match (row.optional_text()?, row.optional_integer()?) {
                (Some(function), Some(generation)) => Some(Rebuild { function, generation }),
                _ => None,
            },
        };
        claimed.cursor = claimed.cursor.max(row.optional_integer()?.unwrap_or(0));
        Ok(claimed)
    };
    host.execute(&statement, parameters)?
        .into_iter()
        .next()
        .map(claimed)
        .transpose()
}

/// The next part of the journal, with the keys of the markers that tell whether its events are done.
fn look(host: &Host, subscriptions: &Subscriptions, claimed: &Claimed) -> Result<Vec<Passed>, Error> {
    let types = replay::read_types(&claimed.types)?;
    let subscription = subscriptions.get(&claimed.subscription);
    let marked_by = subscription.map_or_else(Vec::new, |subscription| subscription.marked_by());
    let is_meant = |event_type: &str| {
        subscription.is_some_and(|subscription| subscription.hears(event_type))
            && (types.is_empty() || TypePattern::any_matches(&types, event_type))
    };
    let statement = "SELECT position, stream, source, id, type, extensions FROM journal
        WHERE position > ? AND position <= ? ORDER BY position LIMIT ?";
    let parameters = vec![
        claimed.cursor.into(),
        claimed.end.into(),
        limits::REPLAY_EVENTS_MAX.into(),
    ];
    let passed = |mut row: Row| {
        let (position, stream) = (row.integer()?, row.text()?);
        let (source, id, event_type) = (row.text()?, row.text()?, row.text()?);
        let marker = |name: &String| inbox::marker(name, &source, &id);
        Ok(Passed {
            position,
            stream,
            trace: row.optional_text()?.and_then(|extensions| traceparent(&extensions)),
            missing: is_meant(&event_type).then(|| marked_by.iter().map(marker).collect()),
        })
    };
    let rows = host.execute(statement, parameters)?;
    rows.into_iter().map(passed).collect()
}

/// A row whose extensions are broken stops nobody: its delivery will say what is wrong with it.
fn traceparent(extensions: &str) -> Option<String> {
    let extensions: Json = serde_json::from_str(extensions).ok()?;
    extensions.get(crate::trace::HEADER)?.as_str().map(str::to_owned)
}

/// Takes out what is done.
fn mark_done(host: &Host, events: &mut [Passed]) -> Result<(), Error> {
    let keys: Vec<String> = events
        .iter()
        .filter_map(|event| event.missing.clone())
        .flatten()
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let done: HashSet<String> = host.get_many(keys)?.into_iter().map(|(key, _)| key).collect();
    for event in events {
        event.missing.take_if(|keys| keys.iter().all(|key| done.contains(key)));
    }
    Ok(())
}

/// What to make due of these events, and how far the replay is then. Pure.
///
/// One step makes due no more than a second's worth, so that a replay that is cancelled soon ends.
fn plan<'e>(events: &'e [Passed], claimed: &Claimed, now_ms: i64) -> Step<'e> {
    let per_step = usize::try_from(claimed.rate_per_second).unwrap_or(usize::MAX);
    let first_at_ms = claimed.first_at_ms(now_ms);
    let at_ms = |place: usize| first_at_ms + i64::try_from(place).unwrap_or(0) * 1_000 / claimed.rate_per_second;
    let (mut due, mut cursor) = (Vec::new(), claimed.cursor);
    for event in events {
        if event.missing.is_some() {
            if due.len() == per_step {
                return Step {
                    next_at_ms: at_ms(due.len()),
                    due,
                    cursor,
                };
            }
            due.push((event, at_ms(due.len())));
        }
        cursor = event.position;
    }
    if events.len() < limits::REPLAY_EVENTS_MAX as usize {
        // There is nothing behind these.
        cursor = claimed.end;
    }
    Step {
        next_at_ms: at_ms(due.len()),
        due,
        cursor,
    }
}

/// Writes retries, as long as nobody else has taken the replay over or cancelled it. An event that has an exception
/// already, whichever, keeps it. Gives how many were written.
fn make_due(host: &Host, claimed: &Claimed, token: &str, step: &Step<'_>, now_ms: i64) -> Result<usize, Error> {
    let statement = format!(
        "WITH missing (position, stream, due_at_ms, trace) AS (VALUES {})
         INSERT INTO exceptions (subscription, position, stream, state, attempt, due_at_ms, lease_token, leased_until_ms,
             isolated, reason, first_at_ms, last_at_ms, trace)
         SELECT ?, position, stream, 'retry', 0, due_at_ms, NULL, 0, 0, ?, ?, ?, trace FROM missing
         WHERE EXISTS (SELECT 1 FROM replays WHERE id = ? AND lease_token = ? AND state = 'running')
         ON CONFLICT DO NOTHING RETURNING position",
        placeholders(step.due.len(), 4)
    );
    let row = |(event, due_at_ms): &(&Passed, i64)| -> [Value; 4] {
        [
            event.position.into(),
            (*event.stream).into(),
            (*due_at_ms).into(),
            event.trace.as_deref().into(),
        ]
    };
    let mut parameters: Vec<Value> = step.due.iter().flat_map(row).collect();
    parameters.extend([
        (*claimed.subscription).into(),
        format!("replay {} found it missing", claimed.id).into(),
        now_ms.into(),
        now_ms.into(),
        (*claimed.id).into(),
        token.into(),
    ]);
    Ok(host.execute(&statement, parameters)?.len())
}

/// Notes when the next step of a rebuild is due.
fn put_off(host: &Host, claimed: &Claimed, token: &str, next_at_ms: i64, now_ms: i64) -> Result<(), Error> {
    let statement = "UPDATE replays SET next_at_ms = ?, changed_at_ms = ?, lease_token = NULL, leased_until_ms = 0
        WHERE id = ? AND lease_token = ?";
    let parameters = vec![next_at_ms.into(), now_ms.into(), (*claimed.id).into(), token.into()];
    host.execute(statement, parameters).map(drop)
}

fn advance(
    host: &Host,
    claimed: &Claimed,
    token: &str,
    step: &Step<'_>,
    redelivered: usize,
    now_ms: i64,
) -> Result<(), Error> {
    let statement = "UPDATE replays SET cursor = ?, next_at_ms = ?, redelivered = redelivered + ?, changed_at_ms = ?,
            state = CASE WHEN to_position <= ? THEN 'done' ELSE state END, lease_token = NULL, leased_until_ms = 0
        WHERE id = ? AND lease_token = ?";
    let parameters = vec![
        step.cursor.into(),
        step.next_at_ms.into(),
        i64::try_from(redelivered).unwrap_or(i64::MAX).into(),
        now_ms.into(),
        step.cursor.into(),
        (*claimed.id).into(),
        token.into(),
    ];
    host.execute(statement, parameters).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claimed(rate_per_second: i64, next_at_ms: i64) -> Claimed {
        Claimed {
            id: "r".to_owned(),
            subscription: "a".to_owned(),
            types: "[]".to_owned(),
            cursor: 0,
            end: 10_000,
            rate_per_second,
            next_at_ms,
            rebuild: None,
        }
    }

    fn events(missing: &[bool]) -> Vec<Passed> {
        let event = |(position, missing): (i64, &bool)| Passed {
            position,
            stream: String::new(),
            trace: None,
            missing: missing.then(|| vec![position.to_string()]),
        };
        (1..).zip(missing).map(event).collect()
    }

    proptest! {
        #[test]
        fn what_is_missing_becomes_due_in_order_and_at_the_rate(
            missing in prop::collection::vec(any::<bool>(), 0..60),
            rate in 1..30_i64,
            next_at_ms in 0..9_000_i64,
        ) {
            let now_ms = 5_000;
            let (events, claimed) = (events(&missing), claimed(rate, next_at_ms));
            let step = plan(&events, &claimed, now_ms);
            prop_assert!(step.due.len() <= rate as usize);
            let passed = events.iter().filter(|event| event.position <= step.cursor && event.missing.is_some());
            prop_assert_eq!(passed.count(), step.due.len(), "the cursor passes what was made due, and no more");
            let mut times: Vec<i64> = step.due.iter().map(|(_, at_ms)| *at_ms).collect();
            times.push(step.next_at_ms);
            prop_assert!(times[0] >= now_ms);
            prop_assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 1_000 / rate).abs() <= 1));
            prop_assert!(step.next_at_ms <= now_ms + 4 * limits::REPLAY_AHEAD_MS);
            if step.due.len() < rate as usize {
                prop_assert_eq!(step.cursor, claimed.end, "a part that isn't full is the last");
            }
        }
    }

    #[test]
    fn a_replay_that_was_left_before_the_clock_was_set_back_goes_on_now() {
        let events = events(&[true]);
        let step = plan(&events, &claimed(1, 1_000_000), 5_000);
        assert_eq!((step.due[0].1, step.next_at_ms), (5_000, 6_000));
    }

    #[test]
    fn a_trace_is_read_from_extensions_that_are_there() {
        assert_eq!(traceparent(r#"{"traceparent":"00-1"}"#).as_deref(), Some("00-1"));
        for none in ["", "{", "[]", "{}", r#"{"traceparent":5}"#] {
            assert_eq!(traceparent(none), None, "{none}");
        }
    }
}
