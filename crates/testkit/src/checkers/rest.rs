//! Whether nothing is left to do.

use super::{Violation, rows};
use crate::simulation::World;

/// What is due later than this isn't waited for, in milliseconds: a day.
const SOON_MS: i64 = 24 * 60 * 60 * 1_000;

/// Whether anyone has met the database yet.
fn has_journal(world: &World) -> bool {
    world
        .sql
        .number("SELECT count(*) FROM sqlite_master WHERE name = 'journal'")
        == 1
}

/// Whether nothing is outstanding: what [`at_rest`] says, in one cheap statement.
pub fn is_at_rest(world: &World) -> bool {
    if !world.network.kafka.behind().is_empty() {
        return false;
    }
    if !has_journal(world) {
        return true;
    }
    let now_ms = i64::try_from(world.clock.now_ms()).unwrap_or(i64::MAX).to_string();
    // Without the tables it is 0.
    world.sql.number_of(
        "WITH head (position) AS (SELECT coalesce(max(position), 0) FROM journal)
         SELECT (SELECT count(*) > 0 OR (SELECT position FROM head) = 0 FROM subscriptions)
             AND NOT EXISTS (SELECT 1 FROM subscriptions
                 WHERE cursor <> (SELECT position FROM head) OR leased_until_ms > CAST(?1 AS INTEGER))
             AND NOT EXISTS (SELECT 1 FROM exceptions WHERE state = 'retry')
             AND NOT EXISTS (SELECT 1 FROM relay WHERE awake_until_ms > CAST(?1 AS INTEGER))",
        &[&now_ms],
    ) == 1
}

/// Whether nothing is outstanding and nothing is still to come by itself: no timer within a day, and no replay that
/// redelivers. A rebuild may be held back by what somebody has to decide upon.
pub fn is_through(world: &World) -> bool {
    let soon_ms = i64::try_from(world.clock.now_ms()).unwrap_or(i64::MAX) + SOON_MS;
    !has_journal(world)
        || is_at_rest(world)
            && world.sql.number_of(
            "SELECT NOT EXISTS (SELECT 1 FROM exceptions WHERE state = 'scheduled' AND due_at_ms < CAST(?1 AS INTEGER))
                 AND NOT EXISTS (SELECT 1 FROM replays WHERE state = 'running' AND mode = 'redeliver')",
            &[&soon_ms.to_string()],
        ) == 1
}

/// What is still to come by itself: timers, and replays that run.
pub fn still_to_come(world: &World) -> Vec<String> {
    let scheduled = rows(
        world,
        "SELECT 'timer', subscription, position, due_at_ms FROM exceptions WHERE state = 'scheduled'",
    );
    let running = rows(
        world,
        "SELECT mode, subscription, cursor, next_at_ms FROM replays WHERE state = 'running'",
    );
    scheduled
        .into_iter()
        .chain(running)
        .map(|row| format!("{row:?}"))
        .collect()
}

/// Nothing is outstanding: every cursor is at the journal's end, every Kafka group at its topic's, no retry waits, no lease and no mark is
/// held. (A consumer of a topic keeps its place for as long as it reads.)
pub fn at_rest(world: &World) -> Vec<Violation> {
    let now_ms = i64::try_from(world.clock.now_ms()).unwrap_or(i64::MAX);
    let head = "(SELECT coalesce(max(position), 0) FROM journal)";
    let wanted_zero = [
        (
            "subscriptions that lag",
            format!("SELECT count(*) FROM subscriptions WHERE cursor <> {head}"),
        ),
        (
            "events that no subscription was ever asked about",
            "SELECT count(*) FROM journal WHERE NOT EXISTS (SELECT 1 FROM subscriptions)".to_owned(),
        ),
        (
            "retries that wait",
            "SELECT count(*) FROM exceptions WHERE state = 'retry'".to_owned(),
        ),
        (
            "leases that are held",
            format!("SELECT count(*) FROM subscriptions WHERE leased_until_ms > {now_ms}"),
        ),
        (
            "relays that are awake",
            format!("SELECT count(*) FROM relay WHERE awake_until_ms > {now_ms}"),
        ),
    ];
    let behind = world.network.kafka.behind().into_iter();
    let mut violations: Vec<_> = behind
        .map(|(group, topic, lag)| Violation(format!("the group {group} is {lag} records of {topic} behind")))
        .collect();
    for (what, query) in wanted_zero {
        let count = world.sql.number(&query);
        if count != 0 {
            violations.push(Violation(format!("at rest there are {count} {what}")));
        }
    }
    violations
}
