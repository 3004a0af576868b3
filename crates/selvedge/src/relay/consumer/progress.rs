//! How far a subscription is that hears a topic.
//!
//! Its cursor doesn't say what it is brought next: the group's offsets do. It follows the journal whenever the topic's end was reached, so
//! that operators see whether it is behind, and so that old done markers are collected.

use crate::host::{Host, Value};
use crate::lease::{FREE, free_parameters};
use crate::{Error, limits};

/// What is known of it.
#[derive(Default)]
pub(super) struct Progress {
    /// Where the journal ended when the topic's end was last reached.
    head: Option<i64>,
    looked_at_ms: i64,
}

impl Progress {
    /// The topic's end was reached, and all before it is done: what was in the journal when it was reached the time before has come
    /// by now, as long as it was published at once.
    pub(super) fn caught_up(&mut self, host: &Host, subscription: &str) -> Result<(), Error> {
        let now_ms = host.now_ms();
        if (self.looked_at_ms..self.looked_at_ms + limits::CONSUME_PROGRESS_MS).contains(&now_ms) {
            return Ok(());
        }
        self.looked_at_ms = now_ms;
        let statement =
            "SELECT cursor, (SELECT COALESCE(MAX(position), 0) FROM journal) FROM subscriptions WHERE name = ?";
        let mut rows = host.execute(statement, vec![subscription.into()])?;
        let Some(row) = rows.first_mut() else { return Ok(()) };
        let (cursor, head) = (row.integer()?, row.integer()?);
        if let Some(before) = self.head.replace(head).filter(|before| *before > cursor) {
            // Whoever is at work for the subscription writes the cursor that it began with. A lease that has ended is taken back, so
            // that one who wakes up late doesn't.
            let statement = format!(
                "UPDATE subscriptions SET cursor = ?, lease_token = NULL, leased_until_ms = 0
                 WHERE name = ? AND cursor < ? AND {FREE}"
            );
            let mut parameters: Vec<Value> = vec![before.into(), subscription.into(), before.into()];
            parameters.extend(free_parameters(now_ms));
            host.execute(&statement, parameters)?;
        }
        Ok(())
    }
}
