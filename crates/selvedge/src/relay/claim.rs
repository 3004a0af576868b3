//! Takes up exceptions that are due.

use std::sync::Arc;

use super::batch::Encoded;
use super::{due, outbox};
use crate::host::{Host, Row, Value, placeholders};
use crate::journal::{self, Record};
use crate::lease::{FREE, free_parameters, until_ms};
use crate::subscription::{Subscription, Subscriptions};
use crate::{Error, limits, mutant};

/// An exception that was claimed.
pub(super) struct Claimed {
    pub(super) subscription: Arc<Subscription>,
    /// How many attempts were made before, and how many before the last redrive.
    pub(super) attempts: u32,
    pub(super) earlier_attempts: u32,
    pub(super) isolated: bool,
    /// Whether it was held behind another one that was claimed with it.
    pub(super) follows: bool,
    pub(super) event: Encoded,
}

/// Takes up the exceptions that are due the longest, under this token, and those that were held behind them, in the order
/// of the journal.
pub(super) fn claim(
    host: &Host,
    subscriptions: &Subscriptions,
    token: &str,
    now_ms: i64,
) -> Result<Vec<Claimed>, Error> {
    claim_due(host, subscriptions, token, now_ms)?;
    let claimed = read(host, subscriptions, token)?;
    let has_followers = |head: &&Claimed| {
        let subscription = &head.subscription;
        subscription.is_ordered()
            && !subscription.is_one_per_stream()
            && subscription.max_in_flight.is_none()
            && subscription.batch > 1
            && !head.isolated
    };
    let heads: Vec<_> = claimed.iter().filter(has_followers).collect();
    if heads.is_empty() || !claim_followers(host, &heads, token, now_ms)? {
        return Ok(claimed);
    }
    read(host, subscriptions, token)
}

fn claim_due(host: &Host, subscriptions: &Subscriptions, token: &str, now_ms: i64) -> Result<(), Error> {
    let due = due::condition(subscriptions, now_ms);
    let mut parameters = due.parameters;
    // Where the events under way are limited, each subscription takes no more than it has room for.
    let chosen = match due::room(subscriptions, now_ms) {
        None => format!(
            "SELECT subscription, position FROM exceptions WHERE {} ORDER BY due_at_ms LIMIT ?",
            due.sql
        ),
        Some(room) => {
            parameters.extend(room.parameters);
            format!(
                "SELECT subscription, position FROM (
                     SELECT subscription, position, due_at_ms,
                         ROW_NUMBER() OVER (PARTITION BY subscription ORDER BY due_at_ms, position) AS place
                     FROM exceptions WHERE {}) AS due
                 JOIN subscriptions ON subscriptions.name = due.subscription
                 WHERE place <= {} ORDER BY due_at_ms LIMIT ?",
                due.sql, room.sql
            )
        }
    };
    let statement = format!(
        "WITH chosen (subscription, position) AS ({chosen})
         UPDATE exceptions SET lease_token = ?, leased_until_ms = ? FROM chosen
         WHERE exceptions.subscription = chosen.subscription AND exceptions.position = chosen.position
             AND state IN ('retry', 'scheduled') AND {FREE}"
    );
    parameters.push(limits::RETRIES_PER_PASS_MAX.into());
    parameters.extend([token.into(), until_ms(now_ms).into()]);
    parameters.extend(free_parameters(now_ms));
    host.execute(&statement, parameters).map(drop)
}

/// Takes up what is held right behind these, up to the next one that must go alone. Whoever has the head of a stream has
/// its followers: nobody else can claim them. True when there are any.
fn claim_followers(host: &Host, heads: &[&Claimed], token: &str, now_ms: i64) -> Result<bool, Error> {
    let statement = format!(
        "WITH heads (subscription, stream, position) AS (VALUES {})
         UPDATE exceptions SET lease_token = ?, leased_until_ms = ? FROM heads
         WHERE exceptions.subscription = heads.subscription AND exceptions.stream = heads.stream
             AND exceptions.position > heads.position AND exceptions.state = 'held'
             AND exceptions.position <= (SELECT MAX(near.position) FROM (
                 SELECT next.position FROM exceptions AS next
                 WHERE next.subscription = heads.subscription AND next.stream = heads.stream
                     AND next.position > heads.position
                 ORDER BY next.position LIMIT ?) AS near)
             AND NOT EXISTS (SELECT 1 FROM exceptions AS alone
                 WHERE alone.subscription = heads.subscription AND alone.stream = heads.stream
                     AND alone.position > heads.position AND alone.position <= exceptions.position
                     AND (alone.state = 'retry' OR (alone.state = 'held' AND alone.isolated = 1)))
         RETURNING 1",
        placeholders(heads.len(), 3)
    );
    let row = |head: &&Claimed| {
        [
            (*head.subscription.name).into(),
            (*head.event.stream).into(),
            head.event.position.into(),
        ]
    };
    let mut parameters: Vec<Value> = heads.iter().flat_map(row).collect();
    parameters.extend([token.into(), until_ms(now_ms).into(), limits::FOLLOWERS_MAX.into()]);
    Ok(!host.execute(&statement, parameters)?.is_empty())
}

/// What was claimed under this token.
fn read(host: &Host, subscriptions: &Subscriptions, token: &str) -> Result<Vec<Claimed>, Error> {
    let statement = format!(
        "SELECT exceptions.subscription, exceptions.attempt, exceptions.earlier_attempts, exceptions.isolated,
                CASE exceptions.state WHEN 'held' THEN 1 ELSE 0 END,
                (SELECT generation FROM subscriptions WHERE name = exceptions.subscription), {}
         FROM exceptions JOIN journal ON journal.position = exceptions.position
         WHERE exceptions.lease_token = ? AND exceptions.state IN ('retry', 'scheduled', 'held')
         ORDER BY exceptions.position",
        journal::COLUMNS
    );
    let claimed = |mut row: Row| {
        let name = row.text()?;
        let attempts = u32::try_from(row.integer()?).unwrap_or(u32::MAX);
        let earlier_attempts = u32::try_from(row.integer()?).unwrap_or(u32::MAX);
        let attempts = if mutant::is("attempts_not_counted") {
            0
        } else {
            attempts
        };
        let (isolated, follows) = (row.integer()? != 0, row.integer()? != 0);
        let generation = row.optional_integer()?;
        let event = outbox::encode(Record::from_row(&mut row)?);
        // Only exceptions of known subscriptions were claimed. Of one whose projection was built anew since, they are the new
        // generation's: their lease ends, and whoever knows it takes them up.
        let subscription = subscriptions.get(&name).cloned();
        let subscription = subscription.filter(|subscription| generation == Some(subscription.generation));
        Ok(subscription.map(|subscription| Claimed {
            subscription,
            attempts,
            earlier_attempts,
            isolated,
            follows,
            event,
        }))
    };
    host.execute(&statement, vec![token.into()])?
        .into_iter()
        .filter_map(|row| claimed(row).transpose())
        .collect()
}
