//! The steps of rebuilds: each lets the rebuild go on at its rate, and looks whether it may take the live projection's place.
//!
//! What it brings is delivered like the events of any subscription, by the relay's passes.

use super::replay::{Claimed, Rebuild};
use crate::host::{Host, Value};
use crate::lease::{FREE, free_parameters, until_ms};
use crate::subscription::{Subscriptions, Target};
use crate::{Error, limits, projection};

/// Deliveries of a rebuild that failed, or aren't made yet, where the live subscription has settled the event: the condition
/// that there are none, for the names of the rebuild and of the subscription.
const NOTHING_MISSING: &str = "NOT EXISTS (SELECT 1 FROM exceptions AS failed
    WHERE failed.subscription = ? AND failed.state <> 'discarded' AND NOT EXISTS (SELECT 1 FROM exceptions AS known
        WHERE known.subscription = ? AND known.position = failed.position))";

/// What a rebuild's step led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Readers see the new generation.
    Switched,
    /// It goes on, and its next step is due at this time, in milliseconds since the Unix epoch.
    Due(i64),
}

/// Makes a step of a rebuild whose lease was taken.
pub(super) fn step(
    host: &Host,
    subscriptions: &Subscriptions,
    claimed: &Claimed,
    rebuild: &Rebuild,
    token: &str,
    now_ms: i64,
) -> Result<Step, Error> {
    let names = Names {
        live: &claimed.subscription,
        built: &projection::name_of(&claimed.subscription, rebuild.generation),
        lease: &format!("rebuild {}", claimed.id),
    };
    if !is_only_source(subscriptions, &rebuild.function) {
        eprintln!(
            "warning: the rebuild of {} is cancelled: another subscription is for {} now, whose events it doesn't bring",
            names.live, rebuild.function
        );
        crate::replay::cancel(host, &claimed.id)?;
        return Ok(Step::Switched);
    }
    if switch(host, claimed, &names, token, now_ms)? {
        return Ok(Step::Switched);
    }
    release(host, &names, now_ms)?;
    if let Some(allowed) = allow(host, claimed, &names)? {
        debug_assert!(allowed <= claimed.end, "the rate is for what was there when it began");
        return Ok(Step::Due(claimed.first_at_ms(now_ms) + limits::REPLAY_AHEAD_MS));
    }
    if hold_live(host, &names, now_ms)? {
        return Ok(Step::Due(now_ms));
    }
    // A step is due a moment ahead of its time.
    Ok(Step::Due(now_ms + limits::REPLAY_AHEAD_MS + limits::REBUILD_LOOK_MS))
}

/// Whose rows a step is about.
struct Names<'n> {
    live: &'n str,
    built: &'n str,
    /// The token under which the rebuild takes the live subscription's lease.
    lease: &'n str,
}

/// Whether a function's projection is built by one subscription.
pub(crate) fn is_only_source(subscriptions: &Subscriptions, function: &str) -> bool {
    let is_for = |target: &Target| matches!(target, Target::Function { component } if component == function);
    let live = subscriptions
        .iter()
        .filter(|subscription| !subscription.is_being_built());
    live.filter(|subscription| is_for(&subscription.target)).count() == 1
}

/// Has the rebuild take the live projection's place, if it has brought all that is settled there, by one statement
/// ([`projection::ON_SWITCH`] is part of it). Nobody may be at work for the live one, so that its effects outside aren't made
/// twice without need.
fn switch(host: &Host, claimed: &Claimed, names: &Names<'_>, token: &str, now_ms: i64) -> Result<bool, Error> {
    let is_free = |table: &str| FREE.replace("leased_until_ms", &format!("{table}.leased_until_ms"));
    let statement = format!(
        "UPDATE replays SET state = 'done', changed_at_ms = ?, lease_token = NULL, leased_until_ms = 0,
             cursor = (SELECT cursor FROM subscriptions WHERE name = ?)
         WHERE id = ? AND lease_token = ? AND state = 'running'
             AND EXISTS (SELECT 1 FROM subscriptions AS live JOIN subscriptions AS built
                 WHERE live.name = ? AND built.name = ? AND built.cursor >= live.cursor
                     AND (live.lease_token = ? OR {}) AND {})
             AND {NOTHING_MISSING}
         RETURNING id",
        is_free("live"),
        is_free("built")
    );
    let mut parameters: Vec<Value> = vec![
        now_ms.into(),
        names.built.into(),
        (*claimed.id).into(),
        token.into(),
        names.live.into(),
        names.built.into(),
        names.lease.into(),
    ];
    parameters.extend(free_parameters(now_ms));
    parameters.extend(free_parameters(now_ms));
    parameters.extend([names.built.into(), names.live.into()]);
    Ok(!host.execute(&statement, parameters)?.is_empty())
}

/// Makes due what waited for the live subscription, where that has settled it since.
fn release(host: &Host, names: &Names<'_>, now_ms: i64) -> Result<(), Error> {
    let statement = "UPDATE exceptions SET state = 'retry', due_at_ms = ?
        WHERE subscription = ? AND state = 'scheduled' AND due_at_ms = ?
            AND NOT EXISTS (SELECT 1 FROM exceptions AS known
                WHERE known.subscription = ? AND known.position = exceptions.position)";
    let parameters = vec![
        now_ms.into(),
        names.built.into(),
        limits::NEVER_MS.into(),
        names.live.into(),
    ];
    host.execute(statement, parameters).map(drop)
}

/// Lets it go on for a second's worth of its rate, two at most. Gives up to where; `None` when it has come to what was
/// appended after it had begun, and has no rate any more: it would fall behind for good where events come faster.
fn allow(host: &Host, claimed: &Claimed, names: &Names<'_>) -> Result<Option<i64>, Error> {
    let statement = "UPDATE subscriptions SET allowed = CASE
            WHEN allowed + ? >= ? THEN NULL
            WHEN allowed > cursor + ? THEN cursor + ?
            ELSE allowed END + ?
        WHERE name = ? AND allowed IS NOT NULL RETURNING allowed";
    let rate = claimed.rate_per_second;
    let parameters = vec![
        rate.into(),
        claimed.end.into(),
        rate.into(),
        rate.into(),
        rate.into(),
        names.built.into(),
    ];
    let row = host.execute(statement, parameters)?.pop();
    row.map_or(Ok(None), |mut row| row.optional_integer())
}

/// Has the live subscription wait for the last stretch, so that the rebuild isn't always a moment behind where events never
/// cease: takes its lease, which ends by itself. Not twice running: what waits has its turn in between.
fn hold_live(host: &Host, names: &Names<'_>, now_ms: i64) -> Result<bool, Error> {
    let statement = format!(
        "UPDATE subscriptions SET lease_token = ?, leased_until_ms = ?
         WHERE name = ? AND {FREE} AND COALESCE(lease_token, '') <> ?
             AND EXISTS (SELECT 1 FROM subscriptions AS built WHERE built.name = ?
                 AND built.cursor < subscriptions.cursor AND built.cursor + ? >= subscriptions.cursor)
             AND {NOTHING_MISSING}
         RETURNING name"
    );
    let mut parameters: Vec<Value> = vec![names.lease.into(), until_ms(now_ms).into(), names.live.into()];
    parameters.extend(free_parameters(now_ms));
    parameters.extend([
        names.lease.into(),
        names.built.into(),
        limits::REBUILD_BEHIND_MAX.into(),
        names.built.into(),
        names.live.into(),
    ]);
    Ok(!host.execute(&statement, parameters)?.is_empty())
}
