//! Leases: who works on what, and until when.
//!
//! Whoever takes a lease writes a token that nobody else has, and every later write asks for that token. A holder that
//! was stalled past its lease's end finds its token gone and changes nothing: it is fenced. A lease ends by the clock
//! alone, so a holder that died keeps nothing from being done.

use crate::host::{Host, Value, placeholders};
use crate::{Error, limits};

/// The SQL condition that a lease is free at the time of its two parameters, [`free_parameters`]. A lease that ends
/// later than any holder would say was taken before the clock was set back, and is free too.
pub const FREE: &str = "(leased_until_ms <= ? OR leased_until_ms > ?)";

/// The parameters of [`FREE`].
pub fn free_parameters(now_ms: i64) -> [Value; 2] {
    [now_ms.into(), (now_ms + limits::LEASE_MS_MAX).into()]
}

/// Whether a lease is free: what [`FREE`] says in SQL.
pub fn is_free(leased_until_ms: i64, now_ms: i64) -> bool {
    leased_until_ms <= now_ms || leased_until_ms > now_ms + limits::LEASE_MS_MAX
}

/// When a lease for a delivery with this timeout ends.
pub fn until_ms(now_ms: i64, timeout_ms: u64) -> i64 {
    now_ms
        + i64::try_from(timeout_ms)
            .unwrap_or(limits::LEASE_MS_MAX)
            .min(limits::LEASE_MS_MAX)
        + limits::LEASE_MARGIN_MS
}

/// A subscription that was leased, and where its cursor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The subscription's name.
    pub name: String,
    /// The position up to which it is settled.
    pub cursor: i64,
}

/// Takes the leases on these subscriptions that are free, each until its own time, in one statement.
///
/// # Errors
/// What the database fails with; then none was taken.
pub fn take(host: &Host, wanted: &[(&str, i64)], token: &str, now_ms: i64) -> Result<Vec<Leased>, Error> {
    let statement = format!(
        "WITH wanted (name, until_ms) AS (VALUES {})
         UPDATE subscriptions SET lease_token = ?, leased_until_ms = wanted.until_ms FROM wanted
         WHERE subscriptions.name = wanted.name AND {FREE} RETURNING subscriptions.name, subscriptions.cursor",
        placeholders(wanted.len(), 2)
    );
    let mut parameters: Vec<Value> = wanted
        .iter()
        .flat_map(|(name, until_ms)| [(*name).into(), (*until_ms).into()])
        .collect();
    parameters.push(token.into());
    parameters.extend(free_parameters(now_ms));
    let rows = host.execute(&statement, parameters)?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Leased {
                name: row.text()?,
                cursor: row.integer()?,
            })
        })
        .collect()
}

/// Marks the relay with this token as awake until [`limits::AWAKE_MS`] from now. False when another one is awake.
///
/// # Errors
/// What the database fails with.
pub fn mark_awake(host: &Host, token: &str, now_ms: i64) -> Result<bool, Error> {
    let statement = "UPDATE relay SET token = ?, awake_until_ms = ?
        WHERE id = 1 AND (awake_until_ms <= ? OR awake_until_ms > ? OR token = ?) RETURNING id";
    let until_ms: Value = (now_ms + limits::AWAKE_MS).into();
    let parameters = vec![token.into(), until_ms.clone(), now_ms.into(), until_ms, token.into()];
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
        fn a_lease_outlasts_its_delivery_and_holds_until_it_ends(
            now_ms in 0..4_000_000_000_000_i64,
            timeout_ms in 1..=limits::DELIVERY_TIMEOUT_MS_MAX,
        ) {
            let until = until_ms(now_ms, timeout_ms);
            prop_assert!(until >= now_ms + timeout_ms as i64 + limits::LEASE_MARGIN_MS);
            prop_assert!(!is_free(until, now_ms));
            prop_assert!(!is_free(until, until - 1));
            prop_assert!(is_free(until, until));
            prop_assert!(is_free(until, now_ms - limits::LEASE_MS_MAX - 1), "the clock was set back");
        }
    }
}
