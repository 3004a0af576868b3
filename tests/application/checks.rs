//! Checkers of this application: what only it promises, read from the stores and from what its peers were told.

use std::collections::{HashMap, HashSet};

use rusqlite::types::Value;
use selvedge_testkit::World;
use selvedge_testkit::checkers::{EXPIRED, Violation};

/// Every notification that is no dead letter was taken by the webhook, at least once.
pub fn told_outside(world: &World) -> Vec<Violation> {
    let exchanges = world.network.exchanges();
    let taken: HashSet<&str> = exchanges
        .iter()
        .filter(|exchange| exchange.status.is_some_and(|status| status.is_success()))
        .map(|exchange| &*exchange.idempotency_key)
        .collect();
    let notified = "SELECT event_id FROM notifications WHERE NOT EXISTS (
        SELECT 1 FROM exceptions JOIN journal USING (position)
        WHERE subscription = 'notifications' AND id = event_id AND journal.source = notifications.source)";
    let missed = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(id)) if taken.contains(&*id) => None,
        other => Some(Violation(format!(
            "the webhook never took the notification of {other:?}"
        ))),
    };
    let notified = world.sql.query(notified).unwrap_or_default();
    notified.into_iter().filter_map(missed).collect()
}

/// No command took effect twice, whatever its client heard: the workload gives every todo a title of its own, and done
/// is done.
pub fn commands_took_effect_once(world: &World) -> Vec<Violation> {
    let twice = "SELECT 'created twice', data FROM journal WHERE type = 'todos.task.created' AND source = '/todos'
            GROUP BY data ->> 'title' HAVING count(*) > 1
        UNION ALL SELECT 'completed twice', stream FROM journal WHERE type = 'todos.task.completed'
            GROUP BY stream HAVING count(*) > 1";
    let twice = world.sql.query(twice).unwrap_or_default();
    twice.into_iter().map(|row| Violation(format!("{row:?}"))).collect()
}

/// An email address belongs to one open account at most, at every moment of the journal, and is kept for as long as that is
/// open and no longer.
pub fn addresses_are_unique(world: &World) -> Vec<Violation> {
    let accounts = "SELECT type, stream, data ->> 'email' FROM journal WHERE source = '/users' ORDER BY position";
    let mut violations = Vec::new();
    let mut owners: HashMap<String, String> = HashMap::new();
    for row in world.sql.query(accounts).unwrap_or_default() {
        match &row[..] {
            [Value::Text(event), Value::Text(account), Value::Text(email)] if event == "users.account.registered" => {
                if let Some(other) = owners.insert(email.clone(), account.clone()) {
                    violations.push(Violation(format!("{email} belongs to {account} and to {other}")));
                }
            }
            [Value::Text(event), Value::Text(account), _] if event == "users.account.closed" => {
                owners.retain(|_, owner| owner != account);
            }
            _ => {}
        }
    }
    let mut kept = HashMap::new();
    for row in world
        .sql
        .query("SELECT email, account FROM users_emails")
        .unwrap_or_default()
    {
        if let [Value::Text(email), Value::Text(account)] = &row[..] {
            kept.insert(email.clone(), account.clone());
        }
    }
    if kept != owners {
        violations.push(Violation(format!(
            "the addresses that are in use are {kept:?}, by the journal {owners:?}"
        )));
    }
    violations
}

/// None of these texts is in any event: it came with a command that was refused.
pub fn refused_changed_nothing(world: &World, marks: &[String]) -> Vec<Violation> {
    let found = |mark: &&String| {
        let statement = "SELECT count(*) FROM journal WHERE instr(CAST(data AS TEXT), ?1) > 0 OR id = ?1";
        world.sql.number_of(statement, &[mark]) > 0
    };
    let violation = |mark| Violation(format!("what was refused is in the journal: {mark}"));
    marks.iter().filter(found).map(violation).collect()
}

/// Every one of these events from outside (source and id) is in the journal once.
pub fn taken_are_kept(world: &World, events: &[(String, String)]) -> Vec<Violation> {
    let missed = |(source, id): &&(String, String)| {
        let statement = "SELECT count(*) FROM journal WHERE source = ?1 AND id = ?2";
        world.sql.number_of(statement, &[source, id]) != 1
    };
    let violation = |event| Violation(format!("{event:?} was taken and isn't in the journal once"));
    events.iter().filter(missed).map(violation).collect()
}

/// What expires before it may be delivered (source and id) has no effect, and is a dead letter that says so, in spite of every
/// redrive and rebuild. And what hasn't expired is no such dead letter.
pub fn expired_are_never_delivered(world: &World, doomed: &[(String, String)]) -> Vec<Violation> {
    // Whoever sets the clock back has it expire later.
    if world.clock.was_stepped() || doomed.is_empty() {
        return Vec::new();
    }
    let parked = format!(
        "SELECT count(*) FROM exceptions JOIN journal USING (position) WHERE subscription IN ('analytics', 'events-to-kafka')
             AND state IN ('dead', 'discarded') AND reason LIKE '{EXPIRED}%' AND journal.source = ?1 AND id = ?2"
    );
    let counted = "SELECT count(*) FROM analytics_counted WHERE source = ?1 AND event_id = ?2";
    let found = |event: &(String, String)| {
        let (source, id) = event;
        let [parked, counted] = [&*parked, counted].map(|query| world.sql.number_of(query, &[source, id]));
        let text = format!("{event:?} expires before it may be delivered: {parked} dead letters, {counted} effects");
        ((parked, counted) != (1, 0)).then_some(Violation(text))
    };
    let early = format!(
        "SELECT subscription, id, reason FROM exceptions JOIN journal USING (position) WHERE reason LIKE '{EXPIRED}%'
             AND last_at_ms < strftime('%s', extensions ->> 'expirytime') * 1000"
    );
    let early = world.sql.query(&early).expect("the checker's statement is right");
    let early = early
        .into_iter()
        .map(|row| Violation(format!("it hadn't expired yet: {row:?}")));
    doomed.iter().filter_map(found).chain(early).collect()
}

/// Nothing that an operator began is left under way: no subscription is paused, and no replay runs.
pub fn operators_left_nothing(world: &World) -> Vec<Violation> {
    let left = "SELECT name, 'is paused' FROM subscriptions WHERE paused <> 0
        UNION ALL SELECT id, mode || ' runs still' FROM replays WHERE state = 'running'";
    let rows = world.sql.query(left).unwrap_or_default();
    rows.into_iter().map(|row| Violation(format!("{row:?}"))).collect()
}
