//! The place of a subscription's consumer: who reads its topic, and until when.
//!
//! It keeps two from reading the same records at the same time. What is written down it doesn't guard: that is done under the
//! subscription's own lease, as the relay does it.

use crate::host::{Host, Value, placeholders};
use crate::lease::{FREE, free_parameters, until_ms};
use crate::{Error, limits};

/// A consumer's place.
pub(super) struct Place {
    subscription: String,
    token: String,
    /// Whether it was this consumer's when that was last looked at.
    is_held: bool,
    /// When it is to be kept for some more time.
    keep_at_ms: i64,
}

impl Place {
    /// A place that isn't taken yet.
    pub(super) fn new(subscription: &str, token: String) -> Self {
        Self {
            subscription: subscription.to_owned(),
            token,
            is_held: false,
            keep_at_ms: 0,
        }
    }

    /// Takes it, where nobody has it.
    pub(super) fn take(&mut self, host: &Host) -> Result<bool, Error> {
        let now_ms = host.now_ms();
        self.keep_at_ms = now_ms + limits::RENEW_EVERY_MS;
        let statement = format!(
            "INSERT INTO consumers (subscription, lease_token, leased_until_ms) VALUES (?, ?, ?)
             ON CONFLICT (subscription) DO UPDATE
                 SET lease_token = excluded.lease_token, leased_until_ms = excluded.leased_until_ms
                 WHERE {} RETURNING subscription",
            FREE.replace("leased_until_ms", "consumers.leased_until_ms")
        );
        let mut parameters = vec![
            (*self.subscription).into(),
            (*self.token).into(),
            until_ms(now_ms).into(),
        ];
        parameters.extend(free_parameters(now_ms));
        self.is_held = !host.execute(&statement, parameters)?.is_empty();
        Ok(self.is_held)
    }

    /// Keeps it, when it is time. False when somebody else has it, or the subscription is paused.
    pub(super) fn keep(&mut self, host: &Host) -> Result<bool, Error> {
        let now_ms = host.now_ms();
        // A clock that was set back makes it time, too.
        let is_early = (self.keep_at_ms - limits::RENEW_EVERY_MS..self.keep_at_ms).contains(&now_ms);
        if is_early || !self.is_held {
            return Ok(self.is_held);
        }
        self.keep_at_ms = now_ms + limits::RENEW_EVERY_MS;
        let statement = "UPDATE consumers SET leased_until_ms = ? WHERE subscription = ? AND lease_token = ?
            AND EXISTS (SELECT 1 FROM subscriptions WHERE name = consumers.subscription AND paused = 0)
            RETURNING subscription";
        let parameters = vec![
            until_ms(now_ms).into(),
            (*self.subscription).into(),
            (*self.token).into(),
        ];
        self.is_held = !host.execute(statement, parameters)?.is_empty();
        Ok(self.is_held)
    }

    /// Gives it back.
    pub(super) fn leave(&self, host: &Host) -> Result<(), Error> {
        let statement = "UPDATE consumers SET leased_until_ms = 0 WHERE subscription = ? AND lease_token = ?";
        let parameters = vec![(*self.subscription).into(), (*self.token).into()];
        host.execute(statement, parameters).map(drop)
    }
}

/// Whether one of these subscriptions isn't paused and has a place that is free.
pub(super) fn is_free(host: &Host, names: &[&str], now_ms: i64) -> Result<bool, Error> {
    if names.is_empty() {
        return Ok(false);
    }
    let statement = format!(
        "SELECT COUNT(*) FROM (SELECT subscription FROM consumers WHERE subscription IN {0} AND NOT {FREE}
             UNION SELECT name FROM subscriptions WHERE name IN {0} AND paused <> 0) AS busy",
        placeholders(1, names.len())
    );
    let all = || names.iter().map(|name| Value::from(*name));
    let mut parameters: Vec<Value> = all().collect();
    parameters.extend(free_parameters(now_ms));
    parameters.extend(all());
    let busy = match host.execute(&statement, parameters)?.first_mut() {
        Some(row) => row.integer()?,
        None => 0,
    };
    Ok(busy < i64::try_from(names.len()).unwrap_or(i64::MAX))
}

/// The generation that a subscription's deliveries build; `None` while it is paused.
pub(super) fn generation(host: &Host, subscription: &str) -> Result<Option<i64>, Error> {
    let statement = "SELECT generation FROM subscriptions WHERE name = ? AND paused = 0";
    let mut rows = host.execute(statement, vec![subscription.into()])?;
    rows.first_mut().map(|row| row.integer()).transpose()
}
