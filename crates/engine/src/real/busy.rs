//! Waiting for a lock that a connection outside this process's own order holds: another process, or a reader in
//! rollback-journal mode.
//!
//! SQLite's busy handler sleeps, and with it the thread that runs the engine's tasks. So the connections' busy timeout is
//! 0, and who is told SQLITE_BUSY waits here, on tokio's timer.

use std::time::Duration;

use rusqlite::ErrorCode;
use tokio::time::{Instant, sleep_until};

use super::limits::LOCK_WAIT;

/// SQLite's own steps; the last one is repeated.
const DELAYS_MS: [u64; 10] = [1, 2, 5, 10, 15, 20, 25, 25, 50, 100];

/// How long one call has waited, and whether it may wait longer.
pub(super) struct Patience {
    deadline: Instant,
    waits: usize,
}

impl Patience {
    /// A call that has not waited yet, and may wait as long as Spin's do.
    pub(super) fn new() -> Self {
        Self::for_at_most(LOCK_WAIT)
    }

    fn for_at_most(wait: Duration) -> Self {
        Self {
            deadline: Instant::now() + wait,
            waits: 0,
        }
    }

    /// When waiting ends.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits for the next attempt; `false` says that there is none.
    pub(super) async fn wait(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        let delay = Duration::from_millis(DELAYS_MS[self.waits.min(DELAYS_MS.len() - 1)]);
        self.waits += 1;
        sleep_until(self.deadline.min(now + delay)).await;
        true
    }
}

/// Whether the same statement can succeed once another connection lets go of its lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else {
        return false;
    };
    // A transaction whose snapshot is old stays old, however long it waits: only a new transaction helps.
    failure.extended_code != rusqlite::ffi::SQLITE_BUSY_SNAPSHOT
        && matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_grows_and_ends() {
        let start = Instant::now();
        let mut patience = Patience::for_at_most(Duration::from_millis(40));
        let mut waits = 0;
        while patience.wait().await {
            waits += 1;
        }
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert!(
            (2..=6).contains(&waits),
            "1 + 2 + 5 + 10 + 15 ms and the rest, but waited {waits} times"
        );
        assert!(!patience.wait().await, "once it ended it stays so");
    }

    #[test]
    fn an_old_snapshot_is_not_waited_for() {
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        assert!(is_busy(&failure(rusqlite::ffi::SQLITE_BUSY)));
        assert!(is_busy(&failure(rusqlite::ffi::SQLITE_LOCKED)));
        assert!(!is_busy(&failure(rusqlite::ffi::SQLITE_BUSY_SNAPSHOT)));
        assert!(!is_busy(&failure(rusqlite::ffi::SQLITE_CONSTRAINT)));
        assert!(!is_busy(&rusqlite::Error::QueryReturnedNoRows));
    }
}
