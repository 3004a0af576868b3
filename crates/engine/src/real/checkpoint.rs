//! Copying the write-ahead log into the database, beside the requests instead of inside one of them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::time::Instant;

use super::limits::{CHECKPOINT_PAGES, LOCK_WAIT, LOG_PAGES_MAX};
use super::sqlite_file::SqliteFile;

/// How long a file's log is, and the connection that copies it.
#[derive(Debug)]
pub(super) struct LogWatch {
    pages: AtomicU32,
    due_at_pages: AtomicU32,
    running: AtomicBool,
    /// Open from the first commit in WAL mode on: were the last connection a component's, its end would copy the log,
    /// sync and delete it on the spot, each time an instance is dropped.
    connection: Mutex<Option<Connection>>,
}

impl Default for LogWatch {
    fn default() -> Self {
        Self {
            pages: AtomicU32::new(0),
            // The first commit is due: it opens the connection.
            due_at_pages: AtomicU32::new(1),
            running: AtomicBool::new(false),
            connection: Mutex::new(None),
        }
    }
}

impl LogWatch {
    /// A commit left the log `pages` long.
    pub(super) fn note(&self, pages: u32) {
        if pages < self.pages.swap(pages, Relaxed) {
            self.due_at_pages.store(CHECKPOINT_PAGES, Relaxed);
        }
    }

    fn start_if_due(&self) -> bool {
        self.pages.load(Relaxed) >= self.due_at_pages.load(Relaxed) && !self.running.swap(true, Relaxed)
    }

    fn finish(&self) {
        // Pages that came meanwhile, or that couldn't be copied because somebody reads them, are no reason to start at once.
        let next = self.pages.load(Relaxed).saturating_add(CHECKPOINT_PAGES);
        self.due_at_pages.store(next, Relaxed);
        self.running.store(false, Relaxed);
    }
}

/// Starts a checkpoint in the background if the log has grown enough. To be called after a statement, in a tokio runtime.
pub(super) fn start_if_due(file: &Arc<SqliteFile>) {
    if file.log.start_if_due() {
        tokio::spawn(run(Arc::clone(file)));
    }
}

async fn run(file: Arc<SqliteFile>) {
    let is_long = |pages| file.log.pages.load(Relaxed) >= pages;
    // What fails here fails again, and loudly, in the components' own statements; the log only grows until then.
    let copied = copy(Arc::clone(&file), is_long(CHECKPOINT_PAGES)).await;
    // The log starts anew only when all of it is copied, which writers prevent who never pause. So a long one is finished
    // while they wait: few pages are left by now.
    if copied.is_ok()
        && is_long(LOG_PAGES_MAX)
        && let Ok(turn) = file.write_turn(Instant::now() + LOCK_WAIT).await
    {
        let _ = copy(Arc::clone(&file), true).await;
        drop(turn);
    }
    file.log.finish();
}

/// Opens the connection where there is none yet, and copies what can be copied without holding up anybody.
async fn copy(file: Arc<SqliteFile>, checkpoint: bool) -> rusqlite::Result<()> {
    let copying = tokio::task::spawn_blocking(move || {
        let mut slot = file.log.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let connection = Connection::open(file.path())?;
            // Only a connection that has read counts as one that uses the log.
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            *slot = Some(connection);
        }
        match slot.as_ref() {
            Some(connection) if checkpoint => connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())),
            _ => Ok(()),
        }
    });
    // A task that ends with its runtime has nothing left to report to.
    copying.await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_once_per_growth_and_again_after_the_log_started_anew() {
        let log = LogWatch::default();
        assert!(!log.start_if_due(), "nothing was written");
        log.note(3);
        assert!(log.start_if_due(), "the first commit opens the connection");
        assert!(!log.start_if_due(), "one at a time");
        log.finish();
        log.note(CHECKPOINT_PAGES + 2);
        assert!(!log.start_if_due());
        log.note(CHECKPOINT_PAGES + 3);
        assert!(log.start_if_due());
        log.finish();
        log.note(7);
        assert!(!log.start_if_due());
        log.note(CHECKPOINT_PAGES);
        assert!(log.start_if_due());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_under_constant_writing_stays_bounded_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::new(folder.path().join("database.db"));
        let connection = file.connect().unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t(v BLOB)")
            .unwrap();
        let value = vec![7u8; 256 * 1024];
        // 160 MiB in all: more than twice what the log may grow to.
        for _ in 0..640 {
            let turn = file.write_turn(Instant::now() + LOCK_WAIT).await.unwrap();
            connection
                .prepare_cached("INSERT INTO t VALUES (?)")
                .unwrap()
                .execute([&value])
                .unwrap();
            drop(turn);
            start_if_due(&file);
            tokio::task::yield_now().await;
        }
        let log_bytes = std::fs::metadata(folder.path().join("database.db-wal")).unwrap().len();
        assert!(log_bytes < 140 * 1024 * 1024, "the log grew to {log_bytes} bytes");
        let sum: i64 = connection
            .query_row("SELECT sum(length(v)) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 640 * 256 * 1024);
    }

    #[tokio::test]
    async fn the_log_outlives_the_components_connections() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::new(folder.path().join("database.db"));
        let connection = file.connect().unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(v)")
            .unwrap();
        assert!(file.log.start_if_due());
        run(Arc::clone(&file)).await;
        drop(connection);
        let log = folder.path().join("database.db-wal");
        assert!(log.metadata().unwrap().len() > 0);
        drop(file);
        assert!(!log.exists(), "the end of the engine leaves one complete file");
    }
}
