//! Dead letters: events that a subscription couldn't be brought. They stay until someone decides what becomes of them.

use crate::Error;
use crate::host::{Host, Row};
use crate::journal::{self, Record};

/// An event that was given up on.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The subscription that it was for.
    pub subscription: String,
    /// How often it was delivered.
    pub attempts: i64,
    /// What went wrong the last time.
    pub reason: String,
    /// When it failed first, in milliseconds since the Unix epoch.
    pub first_at_ms: i64,
    /// When it failed last, in milliseconds since the Unix epoch.
    pub last_at_ms: i64,
    /// The `traceparent` of the request that it came from.
    pub trace: Option<String>,
    /// The event.
    pub record: Record,
}

/// The dead letters of a subscription after a position of the journal, oldest first.
///
/// # Errors
/// What the database fails with.
pub fn list(host: &Host, subscription: &str, after: i64, limit: u32) -> Result<Vec<DeadLetter>, Error> {
    let statement = format!(
        "SELECT exceptions.subscription, exceptions.attempt, exceptions.reason, exceptions.first_at_ms,
                exceptions.last_at_ms, exceptions.trace, {}
         FROM exceptions JOIN journal ON journal.position = exceptions.position
         WHERE exceptions.subscription = ? AND exceptions.position > ? AND exceptions.state = 'dead'
         ORDER BY exceptions.position LIMIT ?",
        journal::COLUMNS
    );
    let dead_letter = |mut row: Row| {
        Ok(DeadLetter {
            subscription: row.text()?,
            attempts: row.integer()?,
            reason: row.text()?,
            first_at_ms: row.integer()?,
            last_at_ms: row.integer()?,
            trace: row.optional_text()?,
            record: Record::from_row(&mut row)?,
        })
    };
    host.execute(&statement, vec![subscription.into(), after.into(), limit.into()])?
        .into_iter()
        .map(dead_letter)
        .collect()
}
