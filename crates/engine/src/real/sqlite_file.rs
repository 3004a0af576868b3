//! One SQLite database file: its connections, and the order in which they write.
//!
//! SQLite lets one connection write at a time and makes the others sleep and try again, which costs tens of milliseconds
//! under load and starves some. Here the connections of this process stand in one fair queue per file, without
//! holding up a thread. Readers don't queue: in WAL mode they need no turn.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::checkpoint::LogWatch;
use super::limits::PREPARED_STATEMENTS_MAX;
use super::sqlite_shared::Shared;

/// The right to write to a file, until it is dropped.
pub(super) type WriteTurn = OwnedSemaphorePermit;

/// A database file of which this process must have only one of these, however many connections it has.
#[derive(Debug)]
pub struct SqliteFile {
    path: PathBuf,
    writers: Arc<Semaphore>,
    pub(super) shared: Shared,
    pub(super) log: Arc<LogWatch>,
}

impl SqliteFile {
    /// The file at `path`. It is opened, and created, by the first connection.
    pub fn new(path: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            writers: Arc::new(Semaphore::new(1)),
            shared: Shared::default(),
            log: Arc::default(),
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A connection of its own, which never sleeps for a lock: it answers SQLITE_BUSY, and the caller waits.
    pub(super) fn connect(&self) -> rusqlite::Result<Connection> {
        // rusqlite's default flags open for reading and writing, create, and take no mutex per call.
        let mut connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS_MAX);
        let log = Arc::clone(&self.log);
        // This replaces SQLite's own checkpoint, which runs inside the commit that finds the log long, syncs to disk and so
        // stops that request and all behind it for tens of milliseconds.
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            log.note(pages.unsigned_abs());
            Ok(())
        }))?;
        Ok(connection)
    }

    /// The right to write, if nobody has it and nobody waits for it.
    pub(super) fn try_write_turn(&self) -> Option<WriteTurn> {
        Arc::clone(&self.writers).try_acquire_owned().ok()
    }

    /// The right to write, in the order of asking. Fails as SQLite does when `deadline` comes first.
    pub(super) async fn write_turn(&self, deadline: Instant) -> rusqlite::Result<WriteTurn> {
        match timeout_at(deadline, Arc::clone(&self.writers).acquire_owned()).await {
            Ok(turn) => Ok(turn.expect("the semaphore is never closed")),
            Err(_) => Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("database is locked".into()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_of_asking() {
        let file = SqliteFile::new("never opened");
        let first = file.try_write_turn().expect("nobody has it");
        assert!(file.try_write_turn().is_none());
        let deadline = Instant::now() + Duration::from_secs(5);
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..20 {
            let (file, order) = (Arc::clone(&file), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _turn = file.write_turn(deadline).await.expect("its turn comes");
                order.lock().unwrap().push(number);
            }));
            // The test's runtime has one thread: after this the task stands in the queue.
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(
            file.try_write_turn().is_none(),
            "who comes later must not overtake those who wait"
        );
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn waiting_for_a_turn_ends_as_sqlite_says_it() {
        let file = SqliteFile::new("never opened");
        let _turn = file.try_write_turn();
        let error = file
            .write_turn(Instant::now() + Duration::from_millis(5))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "database is locked");
    }
}
