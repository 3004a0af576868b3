//! Checkers: whether the promise was kept, read from the stores and from nothing that the application says.
//!
//! They know the tables' shape and the promise, and share no code with the system under test.

mod messages;
mod rest;
mod schemas;

use std::fmt;
use std::time::Duration;

use rusqlite::types::Value;
use selvedge_events::TypePattern;

use crate::simulation::World;

pub use self::messages::{words_are_forgotten, words_do_not_pile_up};
pub use self::rest::{at_rest, is_at_rest, is_through, still_to_come};
pub use self::schemas::events_have_their_schemas;

/// How the reason of a dead letter begins that wasn't delivered in time.
pub const EXPIRED: &str = "it expired at ";

/// One subscription, and where its effects are counted.
#[derive(Debug, Clone)]
pub struct Effects {
    /// Its name.
    pub subscription: &'static str,
    /// The types that it hears.
    pub hears: &'static str,
    /// The subscription that publishes them to the topic that this one hears, where there is one: its dead letters never get here.
    pub publisher: Option<&'static str>,
    /// Counts the effects of one event; `?1` is the event's id, `?2` its source.
    pub count: &'static str,
}

impl Effects {
    /// Those whose dead letters have no effect, as SQL has a list of names.
    fn on_the_way(&self) -> String {
        let publisher = self.publisher.map(|name| format!(", '{name}'"));
        format!("('{}'{})", self.subscription, publisher.unwrap_or_default())
    }

    /// Whether the subscription hears events of a type.
    fn is_heard(&self, event_type: &str) -> bool {
        let pattern = self.hears.parse::<TypePattern>();
        pattern.is_ok_and(|pattern| pattern.matches(event_type))
    }
}

/// What a subscription's policy gives an event before it is a dead letter.
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    /// How often it is delivered.
    pub attempts_max: i64,
    /// The least time from the first attempt to the last, in milliseconds.
    pub waits_ms_min: i64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Every event of the journal has exactly one effect per subscription that hears it, or is a dead letter with a reason
/// and at least one attempt, unless it expired; never both a second time.
pub fn exactly_once(world: &World, effects: &[Effects]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for event in rows(
        world,
        "SELECT position, id, source, type FROM journal ORDER BY position",
    ) {
        let [
            Value::Integer(position),
            Value::Text(id),
            Value::Text(source),
            Value::Text(event_type),
        ] = &event[..]
        else {
            violations.push(Violation(format!("the journal has a row of another shape: {event:?}")));
            continue;
        };
        for effect in effects {
            let hears = effect.is_heard(event_type);
            let count = world.sql.number_of(effect.count, &[id, source]);
            let dead = dead_letter(world, effect, *position);
            let kept = match (hears, count, &dead) {
                (true, 1, None) => true,
                // The effect may have been made before the attempt that gave up failed, but never twice.
                (true, 0 | 1, Some(dead)) => dead.has_story,
                (false, 0, None) => true,
                _ => false,
            };
            if !kept {
                let subscription = effect.subscription;
                let text = format!(
                    "{subscription}: event {id} ({event_type}, position {position}) has {count} effects, dead letter: {dead:?}"
                );
                violations.push(Violation(text));
            }
        }
    }
    violations
}

#[derive(Debug)]
struct DeadLetter {
    has_story: bool,
}

fn dead_letter(world: &World, effect: &Effects, position: i64) -> Option<DeadLetter> {
    let subscriptions = effect.on_the_way();
    let query = format!(
        "SELECT reason, attempt, first_at_ms, last_at_ms FROM exceptions
         WHERE state IN ('dead', 'discarded') AND subscription IN {subscriptions} AND position = {position}"
    );
    let row = rows(world, &query).into_iter().next()?;
    let has_story = matches!(
        &row[..],
        [Value::Text(reason), Value::Integer(attempts), Value::Integer(first), Value::Integer(last)]
            // What had expired when its turn came was never tried.
            if (*attempts > 0 && !reason.is_empty() || reason.starts_with(EXPIRED))
                && (first <= last || world.clock.was_stepped())
    );
    Some(DeadLetter { has_story })
}

/// The counts that analytics answers are what a fold over the journal gives.
pub fn counts_equal_fold(world: &World) -> Vec<Violation> {
    let counted = rows(
        world,
        "SELECT type, day, count FROM analytics_counts
         WHERE generation = (SELECT generation FROM projections WHERE function = 'analytics') ORDER BY type, day",
    );
    // A dead letter of analytics was accepted and isn't counted: it is left out of the fold as well, unless it was counted in an
    // attempt of which nobody got word; and so is what wasn't published to the topic that it hears. Analytics hears names of three
    // parts.
    let folded = rows(
        world,
        "SELECT type, strftime('%Y-%m-%d', time_ms / 1000, 'unixepoch') AS day, count(*) FROM journal
         WHERE type GLOB '*.*.*' AND NOT type GLOB '*.*.*.*' AND NOT EXISTS (SELECT 1 FROM exceptions
             WHERE state IN ('dead', 'discarded') AND subscription IN ('analytics', 'events-to-kafka')
                 AND exceptions.position = journal.position
                 AND NOT EXISTS (SELECT 1 FROM analytics_counted AS counted
                     WHERE counted.event_id = journal.id AND counted.source = journal.source AND generation = (
                         SELECT generation FROM projections WHERE function = 'analytics')))
         GROUP BY type, day ORDER BY type, day",
    );
    match counted == folded {
        true => Vec::new(),
        false => vec![Violation(format!(
            "analytics counts {counted:?}, the journal says {folded:?}"
        ))],
    }
}

/// No subscription's cursor ever went back: whoever lost a lease changed nothing.
pub fn cursors_only_move_on(world: &World) -> Vec<Violation> {
    world.sql.cursors_gone_back().into_iter().map(Violation).collect()
}

/// What is done is marked as done for as long as it could be delivered again: of every event that had its effect and is
/// no dead letter the marker is there, unless it lies before what was collected and is older than `retention`.
pub fn markers_are_kept(world: &World, effects: &[Effects], retention: Duration) -> Vec<Violation> {
    let contents = world.key_value.contents();
    let old_before_ms = i128::from(world.clock.now_ms()) - retention.as_millis().cast_signed();
    let mut violations = Vec::new();
    for effect in effects {
        let (subscription, on_the_way) = (effect.subscription, effect.on_the_way());
        let query = format!(
            "SELECT id, source, type, time_ms, journal.position <= collected,
                 CASE generation WHEN 0 THEN name ELSE name || '~' || generation END FROM journal
             JOIN subscriptions ON name = '{subscription}' WHERE journal.position <= cursor AND NOT EXISTS (
                 SELECT 1 FROM exceptions WHERE subscription IN {on_the_way} AND exceptions.position = journal.position)"
        );
        for row in rows(world, &query) {
            let [
                Value::Text(id),
                Value::Text(source),
                Value::Text(event_type),
                Value::Integer(time_ms),
                Value::Integer(collected),
                Value::Text(marked_as),
            ] = &row[..]
            else {
                violations.push(Violation(format!("the journal has a row of another shape: {row:?}")));
                continue;
            };
            let may_be_gone = *collected != 0 && i128::from(*time_ms) <= old_before_ms;
            let marker = format!("done/{marked_as}/{source}/{id}");
            if effect.is_heard(event_type) && !may_be_gone && !contents.values.contains_key(&marker) {
                violations.push(Violation(format!("{marker} is gone, and it could still be needed")));
            }
        }
    }
    violations
}

/// No dead letter of these subscriptions had more attempts than their policy says, and one that had them all had the time
/// that its retries wait.
pub fn dead_letters_had_their_attempts(world: &World, subscriptions: &[&str], policy: &Attempts) -> Vec<Violation> {
    let dead = rows(
        world,
        "SELECT subscription, position, attempt, last_at_ms - first_at_ms FROM exceptions WHERE state = 'dead'",
    );
    let is_meant =
        |row: &Vec<Value>| matches!(&row[..], [Value::Text(name), ..] if subscriptions.contains(&name.as_str()));
    let hurried = |row: &Vec<Value>| match &row[..] {
        // One that was dropped may have fewer attempts behind it.
        [_, _, Value::Integer(attempts), _] if *attempts < policy.attempts_max => false,
        [_, _, Value::Integer(attempts), Value::Integer(lasted_ms)] => {
            *attempts > policy.attempts_max || (*lasted_ms < policy.waits_ms_min && !world.clock.was_stepped())
        }
        _ => true,
    };
    let violation = |row| {
        Violation(format!(
            "a dead letter wasn't given its attempts (expected {policy:?}): {row:?}"
        ))
    };
    dead.into_iter()
        .filter(is_meant)
        .filter(hurried)
        .map(violation)
        .collect()
}

/// Every stream's versions are 1, 2, 3 …
pub fn streams_have_no_gaps(world: &World) -> Vec<Violation> {
    let gaps = rows(
        world,
        "SELECT stream, count(*), min(version), max(version) FROM journal GROUP BY stream
         HAVING min(version) <> 1 OR max(version) <> count(*)",
    );
    gaps.into_iter()
        .map(|gap| Violation(format!("a stream has gaps: {gap:?}")))
        .collect()
}

/// Every event that a client was told of (its entity's id, by stream) is in the journal, exactly once as a creation.
pub fn accepted_are_kept(world: &World, created_streams: &[String]) -> Vec<Violation> {
    let kept = |stream: &&String| {
        let count = world.sql.number_of(
            "SELECT count(*) FROM journal WHERE stream LIKE '%' || ?1 AND version = 1",
            &[stream],
        );
        count != 1
    };
    created_streams
        .iter()
        .filter(kept)
        .map(|stream| Violation(format!("{stream} was accepted and isn't in the journal once")))
        .collect()
}

fn rows(world: &World, query: &str) -> Vec<Vec<Value>> {
    world.sql.query(query).unwrap_or_default()
}
