//! Leases: who works on what, and until when.
//!
//! Whoever takes a lease writes a token that nobody else has, and every later write asks for that token. A lease is short
//! and is renewed while its holder works: one that died keeps nothing from being done for long. A holder that was stalled
//! past its lease's end finds its token gone and changes nothing: it is fenced.

use std::rc::Rc;

use crate::host::{Host, Row, Value, placeholders};
use crate::subscription::Subscription;
use crate::{Error, limits, mutant};

/// The SQL condition that a lease is free at the time of its two parameters, [`free_parameters`]. A lease that ends
/// later than any holder would say, even one whose clock is a little ahead, was taken before the clock was set back, and is
/// free too.
pub const FREE: &str = "(leased_until_ms <= ? OR leased_until_ms > ?)";

/// How many exceptions of a row of `subscriptions` are under way, as SQL, at the time of one parameter. The COALESCE keeps
/// the database from looking through all of the subscription's exceptions: few have a lease.
pub const BUSY: &str = "(SELECT COUNT(*) FROM exceptions AS busy
    WHERE busy.lease_token > '' AND busy.leased_until_ms > ?
        AND COALESCE(busy.subscription, '') = subscriptions.name)";

/// The parameters of [`FREE`].
pub fn free_parameters(now_ms: i64) -> [Value; 2] {
    [now_ms.into(), latest_ms(until_ms(now_ms)).into()]
}

/// Whether a lease is free: what [`FREE`] says in SQL.
pub fn is_free(leased_until_ms: i64, now_ms: i64) -> bool {
    leased_until_ms <= now_ms || leased_until_ms > latest_ms(until_ms(now_ms))
}

/// The latest end that others may have written for what would end at `until_ms` here.
pub fn latest_ms(until_ms: i64) -> i64 {
    until_ms.saturating_add(limits::LEASE_CLOCK_DIFFERENCE_MS_MAX)
}

/// When a lease that is taken or renewed now ends.
pub fn until_ms(now_ms: i64) -> i64 {
    if mutant::is("lease_without_end") {
        return i64::MAX;
    }
    now_ms + limits::LEASE_MS
}

/// A subscription that was leased, and where its cursor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The subscription's name.
    pub name: String,
    /// The position up to which it is settled.
    pub cursor: i64,
    /// How many of its retries are under way; counted where the subscription says `max_in_flight`.
    pub busy: u32,
}

/// Takes the leases on these subscriptions that are free, not paused, and have room, in one statement. One whose projection
/// was built anew meanwhile isn't taken: it is at another generation.
///
/// # Errors
/// What the database fails with; then none was taken.
pub fn take(host: &Host, wanted: &[&Subscription], token: &str, now_ms: i64) -> Result<Vec<Leased>, Error> {
    let limited: Vec<_> = wanted
        .iter()
        .filter_map(|wanted| Some((&wanted.name, wanted.max_in_flight?)))
        .collect();
    let mut parameters = vec![token.into(), until_ms(now_ms).into()];
    parameters.extend(
        wanted
            .iter()
            .flat_map(|wanted| [Value::from(&*wanted.name), wanted.generation.into()]),
    );
    parameters.extend(free_parameters(now_ms));
    let (mut room, mut busy) = (String::new(), "0");
    if !limited.is_empty() {
        room = format!(
            " AND {BUSY} < CASE name{} ELSE {} END",
            " WHEN ? THEN ?".repeat(limited.len()),
            i32::MAX
        );
        busy = BUSY;
        parameters.push(now_ms.into());
        parameters.extend(
            limited
                .iter()
                .flat_map(|(name, max)| [Value::from(&***name), (*max).into()]),
        );
        parameters.push(now_ms.into());
    }
    let statement = format!(
        "UPDATE subscriptions SET lease_token = ?, leased_until_ms = ?
         WHERE (name, generation) IN (VALUES {}) AND {FREE} AND paused = 0{room} RETURNING name, cursor, {busy}",
        placeholders(wanted.len(), 2)
    );
    let leased = |mut row: Row| {
        Ok(Leased {
            name: row.text()?,
            cursor: row.integer()?,
            busy: u32::try_from(row.integer()?).unwrap_or(u32::MAX),
        })
    };
    host.execute(&statement, parameters)?.into_iter().map(leased).collect()
}

/// Renews the leases with these tokens, on subscriptions and on retries. One that another relay has taken meanwhile has
/// another token and isn't touched.
///
/// # Errors
/// What the database fails with; then some may be renewed.
pub fn renew(host: &Host, tokens: &[Rc<str>], now_ms: i64) -> Result<(), Error> {
    for table in ["subscriptions", "exceptions"] {
        let among = placeholders(1, tokens.len());
        let statement = format!("UPDATE {table} SET leased_until_ms = ? WHERE lease_token IN {among}");
        let mut parameters = vec![until_ms(now_ms).into()];
        parameters.extend(tokens.iter().map(|token| Value::from(&**token)));
        host.execute(&statement, parameters)?;
    }
    Ok(())
}

/// Marks the relay with this token as awake until [`limits::AWAKE_MS`] from now. False when another one is awake.
///
/// # Errors
/// What the database fails with.
pub fn mark_awake(host: &Host, token: &str, now_ms: i64) -> Result<bool, Error> {
    let statement = "UPDATE relay SET token = ?, awake_until_ms = ?
        WHERE id = 1 AND (awake_until_ms <= ? OR awake_until_ms > ? OR token = ?) RETURNING id";
    let until_ms = now_ms + limits::AWAKE_MS;
    let parameters = vec![
        token.into(),
        until_ms.into(),
        now_ms.into(),
        latest_ms(until_ms).into(),
        token.into(),
    ];
    Ok(!host.execute(statement, parameters)?.is_empty())
}

/// Clears the mark of the relay with this token, and no other's.
///
/// # Errors
/// What the database fails with.
pub fn mark_asleep(host: &Host, token: &str) -> Result<(), Error> {
    let statement = "UPDATE relay SET awake_until_ms = 0 WHERE id = 1 AND token = ?";
    host.execute(statement, vec![token.into()]).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_lease_holds_until_it_ends(now_ms in 0..4_000_000_000_000_i64, passed_ms in 0..2 * limits::LEASE_MS) {
            let until = until_ms(now_ms);
            prop_assert_eq!(is_free(until, now_ms + passed_ms), passed_ms >= limits::LEASE_MS);
            let difference_ms = limits::LEASE_CLOCK_DIFFERENCE_MS_MAX;
            prop_assert!(is_free(until, now_ms - difference_ms - 1 - passed_ms), "the clock was set back");
            prop_assert!(!is_free(until, now_ms - passed_ms % difference_ms), "another's clock is a little behind");
        }
    }
}
