//! How far every subscription is, for whoever operates the application, and the switch that makes one pause.

use selvedge_events::Timestamp;
use serde::Serialize;

use crate::host::{Host, Row};
use crate::{Error, lease};

/// How far a subscription is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Its name; that of a projection which is being built is the subscription's and the generation, `analytics~1`.
    pub subscription: String,
    /// Whether it is paused.
    pub paused: bool,
    /// The generation of its function's projection that its deliveries build.
    pub generation: i64,
    /// The place in the journal up to which it is settled.
    pub cursor: i64,
    /// How many events of the journal lie behind that. Those that it doesn't hear count too.
    pub lag: i64,
    /// When the oldest event happened that it has yet to pass or that is to be tried again; `None` when there is none.
    pub oldest_undelivered_at: Option<Timestamp>,
    /// How long ago that was, in milliseconds.
    pub oldest_undelivered_age_ms: Option<i64>,
    /// How many deliveries wait for their next attempt.
    pub retries: i64,
    /// How many failed attempts those have had.
    pub attempts: i64,
    /// How many deliveries are scheduled for later.
    pub scheduled: i64,
    /// How many deliveries wait for a failed event of their stream.
    pub held: i64,
    /// How many dead letters it has.
    pub dead_letters: i64,
    /// How many dead letters were discarded.
    pub discarded: i64,
    /// Whether a relay works on it at the moment.
    pub leased: bool,
}

/// How far every subscription is that a relay has seen, by name. Its cost grows with the exceptions, not the journal.
///
/// # Errors
/// What the database fails with.
pub fn list(host: &Host) -> Result<Vec<Progress>, Error> {
    let statement = "
        SELECT subscriptions.name, subscriptions.paused, subscriptions.generation, subscriptions.cursor,
               subscriptions.leased_until_ms, COALESCE((SELECT MAX(position) FROM journal), 0) - subscriptions.cursor,
               (SELECT time_ms FROM journal WHERE position > subscriptions.cursor ORDER BY position LIMIT 1),
               MIN(CASE WHEN exceptions.state IN ('retry', 'held') THEN journal.time_ms END),
               COALESCE(SUM(CASE exceptions.state WHEN 'retry' THEN 1 ELSE 0 END), 0),
               COALESCE(SUM(CASE exceptions.state WHEN 'retry' THEN exceptions.attempt ELSE 0 END), 0),
               COALESCE(SUM(CASE exceptions.state WHEN 'scheduled' THEN 1 ELSE 0 END), 0),
               COALESCE(SUM(CASE exceptions.state WHEN 'held' THEN 1 ELSE 0 END), 0),
               COALESCE(SUM(CASE exceptions.state WHEN 'dead' THEN 1 ELSE 0 END), 0),
               COALESCE(SUM(CASE exceptions.state WHEN 'discarded' THEN 1 ELSE 0 END), 0)
        FROM subscriptions LEFT JOIN exceptions ON exceptions.subscription = subscriptions.name
            LEFT JOIN journal ON journal.position = exceptions.position
        GROUP BY subscriptions.name, subscriptions.paused, subscriptions.generation, subscriptions.cursor,
            subscriptions.leased_until_ms
        ORDER BY subscriptions.name";
    let now_ms = host.now_ms();
    let rows = host.execute(statement, Vec::new())?;
    rows.into_iter().map(|row| progress(row, now_ms)).collect()
}

fn progress(mut row: Row, now_ms: i64) -> Result<Progress, Error> {
    let (subscription, paused) = (row.text()?, row.integer()? != 0);
    let (generation, cursor) = (row.integer()?, row.integer()?);
    let leased = !lease::is_free(row.integer()?, now_ms);
    let lag = row.integer()?;
    let (next_ms, failed_ms) = (row.optional_integer()?, row.optional_integer()?);
    let oldest_ms = next_ms.into_iter().chain(failed_ms).min();
    Ok(Progress {
        subscription,
        paused,
        generation,
        cursor,
        lag,
        oldest_undelivered_at: oldest_ms.map(Timestamp::from_unix_ms),
        oldest_undelivered_age_ms: oldest_ms.map(|oldest_ms| (now_ms - oldest_ms).max(0)),
        retries: row.integer()?,
        attempts: row.integer()?,
        scheduled: row.integer()?,
        held: row.integer()?,
        dead_letters: row.integer()?,
        discarded: row.integer()?,
        leased,
    })
}

/// Pauses a subscription or lets it go on. While it is paused nothing is delivered to it and nothing is lost: its events
/// wait in the journal, its retries where they are. A delivery that is under way is settled. False when no relay has
/// seen such a subscription yet.
///
/// # Errors
/// What the database fails with.
pub fn pause(host: &Host, subscription: &str, paused: bool) -> Result<bool, Error> {
    // A projection that is being built pauses with its subscription.
    let statement = "UPDATE subscriptions SET paused = ? WHERE name = ? OR name LIKE ? || '~%' RETURNING name";
    let rows = host.execute(statement, vec![paused.into(), subscription.into(), subscription.into()])?;
    Ok(!rows.is_empty())
}
