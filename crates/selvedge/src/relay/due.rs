//! Which exceptions a relay may take up now, as SQL. Looking, waking and claiming ask the same question.

use super::outbox::{name_of, names_of};
use crate::host::{Value, placeholders};
use crate::lease::{BUSY, FREE, free_parameters};
use crate::limits;
use crate::subscription::Subscriptions;

/// The time has come, at the times of [`times`]. A retry that failed well after now failed before the clock was set back,
/// and doesn't wait for that time to come round again; a delayed event does, since its time is its producer's.
/// Each of the three parts has an index.
const DUE: &str = "((state = 'retry' AND due_at_ms <= ?) OR (state = 'retry' AND last_at_ms > ?)
    OR (state = 'scheduled' AND due_at_ms <= ?))";

/// The parameters of [`DUE`]. What another relay wrote down since this one looked at its clock is no sign of a clock that
/// was set back.
fn times(now_ms: i64) -> [Value; 3] {
    let set_back_ms = now_ms.saturating_add(limits::CLOCK_DIFFERENCE_MS_MAX);
    [now_ms, set_back_ms, now_ms].map(Value::from)
}

/// It is the first of its stream that isn't settled.
const FIRST: &str = "NOT EXISTS (SELECT 1 FROM exceptions AS earlier
    WHERE earlier.subscription = exceptions.subscription AND earlier.stream = exceptions.stream
        AND earlier.position < exceptions.position AND earlier.state IN ('retry', 'held'))";

/// A condition and its parameters, in their order.
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) parameters: Vec<Value>,
}

/// The condition that an exception is due, that nobody works on it, that its subscription isn't paused and has room for
/// it, and that it is its stream's turn.
pub(super) fn condition(subscriptions: &Subscriptions, now_ms: i64) -> Condition {
    let mut parameters = times(now_ms).to_vec();
    parameters.extend(free_parameters(now_ms));
    parameters.extend(names_of(subscriptions));
    let mut sql = format!(
        "{DUE} AND {FREE} AND subscription IN (SELECT name FROM subscriptions WHERE paused = 0 AND name IN {}",
        placeholders(1, subscriptions.iter().len())
    );
    if let Some(room) = room(subscriptions, now_ms) {
        sql += &format!(" AND {} > 0", room.sql);
        parameters.extend(room.parameters);
    }
    sql.push(')');
    let ordered = subscriptions.iter().filter(|subscription| subscription.is_ordered());
    let ordered: Vec<_> = ordered.map(name_of).collect();
    if !ordered.is_empty() {
        sql += &format!(
            " AND (subscription NOT IN {} OR {FIRST})",
            placeholders(1, ordered.len())
        );
        parameters.extend(ordered);
    }
    Condition { sql, parameters }
}

/// How many more exceptions of a row of `subscriptions` may be taken up; `None` when no subscription says
/// `max_in_flight`. Beside a batch that is under way there is room for the share that batches leave to retries.
pub(super) fn room(subscriptions: &Subscriptions, now_ms: i64) -> Option<Condition> {
    let (mut cases, mut parameters) = (String::new(), Vec::new());
    for subscription in subscriptions {
        if let Some(max) = subscription.max_in_flight {
            cases += &format!(" WHEN ? THEN CASE WHEN {FREE} THEN ? ELSE ? END");
            parameters.push((*subscription.name).into());
            parameters.extend(free_parameters(now_ms));
            parameters.extend([max.into(), subscription.reserved_for_retries().into()]);
        }
    }
    (!cases.is_empty()).then(|| {
        parameters.push(now_ms.into());
        Condition {
            sql: format!("(CASE name{cases} ELSE {} END - {BUSY})", i32::MAX),
            parameters,
        }
    })
}
