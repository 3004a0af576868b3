//! Copying the write-ahead log into the database, beside the requests instead of inside one of them.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::limits::{CHECKPOINT_PAGES, LOG_PAGES_MAX};
use super::sqlite_file::{SqliteFile, WriteTurn};

/// How long a file's log is, and who copies it.
#[derive(Debug)]
pub(super) struct LogWatch {
    pages: AtomicU32,
    due_at_pages: AtomicU32,
    work: Mutex<Work>,
    /// Open from the first commit in WAL mode on: were the last connection a component's, its end would copy the log,
    /// sync and delete it on the spot, each time an instance is dropped.
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug, Default)]
struct Work {
    running: bool,
    /// The turn of the writer that made the log too long: while it lies here, nobody writes.
    turn: Option<WriteTurn>,
}

impl Default for LogWatch {
    fn default() -> Self {
        Self {
            pages: AtomicU32::new(0),
            // The first commit is due: it opens the connection.
            due_at_pages: AtomicU32::new(1),
            work: Mutex::default(),
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

    fn has(&self, pages: u32) -> bool {
        self.pages.load(Relaxed) >= pages
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a checkpoint is to be started. Keeps the turn where the log is too long and a checkpoint can shorten it.
    fn start(&self, turn: Option<WriteTurn>) -> bool {
        let due = self.has(self.due_at_pages.load(Relaxed));
        let too_long = self.has(LOG_PAGES_MAX);
        if !due && !too_long {
            return false;
        }
        let mut work = self.work();
        let starts = due && !work.running;
        work.running |= starts;
        if too_long && work.running && turn.is_some() {
            work.turn = turn;
        }
        starts
    }

    /// Ends the checkpoint, whose last copy was `complete` or not. False when it isn't at its end: somebody's turn lies here
    /// since that copy began, unless it was made with `everyone_waiting`.
    fn finish(&self, complete: bool, everyone_waiting: bool) -> bool {
        let mut work = self.work();
        if work.turn.is_some() && !everyone_waiting {
            return false;
        }
        let pages = self.pages.load(Relaxed);
        // Pages that came meanwhile, or that couldn't be copied because somebody reads them, are no reason to start at once.
        let next = pages.saturating_add(CHECKPOINT_PAGES);
        let next = if complete {
            next.min(LOG_PAGES_MAX.max(pages + 1))
        } else {
            next
        };
        self.due_at_pages.store(next, Relaxed);
        *work = Work::default();
        true
    }
}

/// Starts a checkpoint in the background if the log has grown enough, and ends the turn of whoever wrote. To be called after
/// a statement, in a tokio runtime.
pub(super) fn after_statement(file: &Arc<SqliteFile>, turn: Option<WriteTurn>) {
    if file.log.start(turn) {
        tokio::spawn(run(Arc::clone(file)));
    }
}

async fn run(file: Arc<SqliteFile>) {
    // What fails here fails again, and loudly, in the components' own statements; the log only grows until then.
    let mut complete = copy(Arc::clone(&file), file.log.has(CHECKPOINT_PAGES))
        .await
        .unwrap_or(false);
    // The log starts anew only when all of it is copied, which writers prevent who never pause. So once it is too long
    // they wait until the rest is copied as well; most of it is by now.
    if !file.log.finish(complete, false) {
        complete = copy(Arc::clone(&file), true).await.unwrap_or(false);
        file.log.finish(complete, true);
    }
}

/// Opens the connection where there is none yet, and copies what can be copied without holding up anybody; says whether that
/// was all of it.
async fn copy(file: Arc<SqliteFile>, checkpoint: bool) -> rusqlite::Result<bool> {
    let copying = tokio::task::spawn_blocking(move || {
        let mut slot = file.log.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let connection = Connection::open(file.path())?;
            // Only a connection that has read counts as one that uses the log.
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            *slot = Some(connection);
        }
        match slot.as_ref() {
            Some(connection) if checkpoint => connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                let (pages, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(pages == copied)
            }),
            _ => Ok(true),
        }
    });
    // A task that ends with its runtime has nothing left to report to.
    copying.await.unwrap_or(Ok(false))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::real::limits::LOCK_WAIT;

    #[test]
    fn a_checkpoint_is_due_once_per_growth_and_again_after_the_log_started_anew() {
        let log = LogWatch::default();
        assert!(!log.start(None), "nothing was written");
        log.note(3);
        assert!(log.start(None), "the first commit opens the connection");
        assert!(!log.start(None), "one at a time");
        assert!(log.finish(true, false));
        log.note(CHECKPOINT_PAGES + 2);
        assert!(!log.start(None));
        log.note(CHECKPOINT_PAGES + 3);
        assert!(log.start(None));
        assert!(log.finish(true, false));
        log.note(7);
        assert!(!log.start(None));
        log.note(CHECKPOINT_PAGES);
        assert!(log.start(None));
    }

    #[tokio::test]
    async fn whoever_makes_the_log_too_long_at_a_checkpoints_end_is_waited_for_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::new(folder.path().join("database.db"));
        file.log.note(LOG_PAGES_MAX - 1);
        assert!(file.log.start(None));
        let turn = file.write_turn(Instant::now() + LOCK_WAIT).await.unwrap();
        file.log.note(LOG_PAGES_MAX);
        assert!(!file.log.start(Some(turn)), "one is under way");
        assert!(!file.log.finish(true, false), "it goes on, with nobody writing");
        assert!(file.log.finish(true, true));
        let next = file.write_turn(Instant::now() + LOCK_WAIT).await;
        assert!(next.is_ok(), "and then the next one writes");
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
            after_statement(&file, Some(turn));
        }
        let log_bytes = std::fs::metadata(folder.path().join("database.db-wal")).unwrap().len();
        assert!(log_bytes < 66 * 1024 * 1024, "the log grew to {log_bytes} bytes");
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
        assert!(file.log.start(None));
        run(Arc::clone(&file)).await;
        drop(connection);
        let log = folder.path().join("database.db-wal");
        assert!(log.metadata().unwrap().len() > 0);
        drop(file);
        assert!(!log.exists(), "the end of the engine leaves one complete file");
    }
}
