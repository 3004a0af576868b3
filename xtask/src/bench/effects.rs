//! What came of what was sent, counted in the subscribers' own tables rather than asked of them: reading the file costs the
//! engine nothing, and what is there has been committed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags};

/// Without a new effect for this long, what is missing won't come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a database at work; two looks cost about 20 µs.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// A view of the subscribers' tables that can't write.
pub struct Effects {
    database: Connection,
    ends: &'static [&'static str],
    version: Option<i64>,
    count: u64,
}

impl Effects {
    /// Opens the application's database, which must exist. Each statement of `ends` counts the journeys that came to one
    /// of their ends.
    pub fn open(file: &Path, ends: &'static [&'static str]) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(file, flags)
            .with_context(|| format!("could not open {} to count effects", file.display()))?;
        database.busy_timeout(Duration::from_secs(5))?;
        Ok(Self {
            database,
            ends,
            version: None,
            count: 0,
        })
    }

    /// How many journeys came to all of their ends. Counts only when the database changed since the last
    /// look.
    pub fn count(&mut self) -> Result<u64> {
        let version = self.query("PRAGMA data_version")?;
        if self.version != Some(version) {
            let mut count = i64::MAX;
            for end in self.ends {
                count = count.min(self.query(end)?);
            }
            self.count = count.try_into().unwrap_or(0);
            self.version = Some(version);
        }
        Ok(self.count)
    }

    /// Waits until so many journeys came to all of their ends.
    ///
    /// `seen` is told every new count with the time it was seen at, within about [`LOOK_EVERY`] of its commit.
    pub fn wait_for(&mut self, count: u64, mut seen: impl FnMut(u64, Instant)) -> Result<()> {
        let mut last = self.count_so_far()?;
        let mut last_change = Instant::now();
        seen(last, last_change);
        while last < count {
            std::thread::sleep(LOOK_EVERY);
            let now = self.count_so_far()?;
            if now != last {
                last = now;
                last_change = Instant::now();
                seen(last, last_change);
            } else if last_change.elapsed() > PATIENCE {
                // Where the tables are missing still, that is the reason.
                self.count()?;
                bail!(
                    "{last} of {count} journeys came to their ends, and none more for {PATIENCE:?}: events are stuck"
                );
            }
        }
        Ok(())
    }

    /// The same, while a subscriber may not have been asked yet: it makes its tables then.
    fn count_so_far(&mut self) -> Result<u64> {
        match self.count() {
            Err(error) if is_missing_table(&error) => Ok(0),
            counted => counted,
        }
    }

    fn query(&self, statement: &str) -> Result<i64> {
        self.database
            .prepare_cached(statement)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .with_context(|| format!("{statement:?} failed: are the subscribers' tables named otherwise?"))
    }
}

fn is_missing_table(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<rusqlite::Error>().map(ToString::to_string);
    cause.is_some_and(|cause| cause.contains("no such table"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::journey::TODO;

    const ENDS: &[&str] = TODO.ends;

    fn database(file: &Path) -> Connection {
        let database = Connection::open(file).unwrap();
        let tables =
            "CREATE TABLE notifications (number INTEGER PRIMARY KEY); CREATE TABLE analytics_counts (count INTEGER);
                      INSERT INTO notifications VALUES (1), (2); INSERT INTO analytics_counts VALUES (1)";
        database.execute_batch(tables).unwrap();
        database
    }

    #[test]
    fn an_event_counts_when_both_subscribers_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let writer = database(&folder.path().join("test.db"));
        let mut effects = Effects::open(&folder.path().join("test.db"), ENDS).unwrap();
        assert_eq!(effects.count().unwrap(), 1);
        writer.execute_batch("UPDATE analytics_counts SET count = 2").unwrap();
        assert_eq!(effects.count().unwrap(), 2);
        let mut seen = Vec::new();
        effects.wait_for(2, |count, _| seen.push(count)).unwrap();
        assert_eq!(seen, [2]);
    }

    #[test]
    fn tables_that_are_made_meanwhile_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE x (y)")
            .unwrap();
        let mut effects = Effects::open(&file, ENDS).unwrap();
        let mut seen = Vec::new();
        let made = &mut seen;
        let tables = std::cell::Cell::new(Some(&file));
        effects
            .wait_for(1, |count, _| {
                made.push(count);
                tables.take().map(|file| database(file));
            })
            .unwrap();
        assert_eq!(seen, [0, 1]);
    }

    #[test]
    fn a_database_that_is_missing_or_has_other_tables_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Effects::open(&folder.path().join("none.db"), ENDS).is_err());
        Connection::open(folder.path().join("other.db"))
            .unwrap()
            .execute_batch("CREATE TABLE x (y)")
            .unwrap();
        let error = Effects::open(&folder.path().join("other.db"), ENDS)
            .unwrap()
            .count()
            .unwrap_err();
        assert!(error.to_string().contains("named otherwise"), "{error}");
    }
}
