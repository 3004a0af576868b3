//! How far a subscription is that hears a topic.
//!
//! Its cursor doesn't say what it is brought next: the group's offsets do. It follows the journal whenever the topic's end was reached, so
//! that operators see whether it is behind, and so that old done markers are collected.

use crate::{Error, Host, limits};

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
            let statement = "UPDATE subscriptions SET cursor = ? WHERE name = ? AND cursor < ?";
            host.execute(statement, vec![before.into(), subscription.into(), before.into()])?;
        }
        Ok(())
    }
}
