//! Key-value stores in one SQLite file, in the table that Spin's file store uses: a state folder works on both.
//!
//! All stores of a file share one connection for writing, behind the file's fair queue, and a few for reading. Calls run
//! on the task that makes them, as [`sqlite`](super::sqlite)'s statements do.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::busy::{Patience, is_busy};
use super::checkpoint;
use super::limits::{LOCK_WAIT, READERS_MAX, RESULT_BYTES_MAX};
use super::sqlite::in_full;
use super::sqlite_file::SqliteFile;
use crate::ports::{KeyValueError, KeyValueStore};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (
    store TEXT NOT NULL,
    key   TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (store, key)
)";
const GET: &str = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2";
const KEYS: &str = "SELECT key FROM spin_key_value WHERE store = ?1";
const SET: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
const SWAP: &str = "UPDATE spin_key_value SET value = ?3 WHERE store = ?1 AND key = ?2 AND value = ?4";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2";

/// A file of key-value stores. This process must have only one of these per file.
#[derive(Debug)]
pub struct KeyValueFile {
    file: Arc<SqliteFile>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl KeyValueFile {
    /// Opens or creates the file at `path`, and its folder. A file that can't be written, or isn't a database, is an error
    /// that names it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>, KeyValueError> {
        let path = path.into();
        let trouble = |error: &dyn std::fmt::Display| {
            KeyValueError::Other(format!("the key-value file {} can't be used: {error}", path.display()))
        };
        let file = SqliteFile::new(in_full(&path).map_err(|error| trouble(&error))?);
        let writer = Self::prepare(&file).map_err(|error| trouble(&error))?;
        let readers = Mutex::new(Vec::new());
        Ok(Arc::new(Self {
            file,
            writer: Mutex::new(writer),
            readers,
        }))
    }

    fn prepare(file: &SqliteFile) -> rusqlite::Result<Connection> {
        let connection = file.connect()?;
        // Another process may be starting at this moment; nothing else runs yet that this could hold up.
        connection.busy_timeout(LOCK_WAIT)?;
        // Spin opens a file in WAL mode as well. Where another process has it open in the old mode, the old mode stays.
        let _mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        Ok(connection)
    }

    /// The store of that name in this file.
    pub fn store(self: &Arc<Self>, name: impl Into<String>) -> Arc<KeyValueFileStore> {
        Arc::new(KeyValueFileStore {
            file: Arc::clone(self),
            name: name.into(),
        })
    }

    /// Runs `work` on the writing connection when its turn has come: all of it happens, or nothing.
    async fn write<T: Send>(
        &self,
        work: impl Fn(&Connection) -> Result<T, Failure> + Send,
    ) -> Result<T, KeyValueError> {
        let mut patience = Patience::new();
        let turn = self.file.write_turn(patience.deadline()).await.map_err(Failure::from)?;
        loop {
            let result = in_transaction(&guard(&self.writer), "BEGIN IMMEDIATE", &work);
            match result {
                Err(Failure::Sqlite(error)) if is_busy(&error) && patience.wait().await => {}
                result => {
                    checkpoint::after_statement(&self.file, Some(turn));
                    return Ok(result?);
                }
            }
        }
    }

    /// Runs `work` on a reading connection, on one snapshot.
    async fn read<T: Send>(&self, work: impl Fn(&Connection) -> Result<T, Failure> + Send) -> Result<T, KeyValueError> {
        let mut patience = Patience::new();
        loop {
            let idle = guard(&self.readers).pop();
            let result = match idle.map_or_else(|| self.file.connect(), Ok) {
                Ok(connection) => {
                    let result = in_transaction(&connection, "BEGIN", &work);
                    let mut readers = guard(&self.readers);
                    if readers.len() < READERS_MAX && connection.is_autocommit() {
                        readers.push(connection);
                    }
                    result
                }
                Err(error) => Err(Failure::Sqlite(error)),
            };
            match result {
                Err(Failure::Sqlite(error)) if is_busy(&error) && patience.wait().await => {}
                result => return Ok(result?),
            }
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_transaction<T>(
    connection: &Connection,
    begin: &str,
    work: impl Fn(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let run = |statement| connection.prepare_cached(statement)?.execute([]);
    run(begin)?;
    let result = work(connection).and_then(|value| {
        run("COMMIT")?;
        Ok(value)
    });
    if !connection.is_autocommit() {
        // The connection is shared: the next call must find it outside a transaction. ROLLBACK fails only where SQLite has
        // rolled back by itself, and the first error says more than that one.
        let _ = run("ROLLBACK");
    }
    result
}

/// Why a call failed: in SQLite, or by what it found there.
#[derive(Debug)]
enum Failure {
    Sqlite(rusqlite::Error),
    Found(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Self::StoreTableFull,
            Failure::Sqlite(error) => Self::Other(error.to_string()),
            Failure::Found(text) => Self::Other(text),
        }
    }
}

fn within_limit(bytes: usize) -> Result<(), Failure> {
    if bytes > RESULT_BYTES_MAX {
        return Err(Failure::Found(format!(
            "query result exceeds limit of {RESULT_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// One store of a [`KeyValueFile`].
#[derive(Debug)]
pub struct KeyValueFileStore {
    file: Arc<KeyValueFile>,
    name: String,
}

impl KeyValueFileStore {
    fn get(&self, connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        connection
            .prepare_cached(GET)?
            .query_row(params![self.name, key], |row| row.get(0))
            .optional()
    }

    fn set(&self, connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        connection
            .prepare_cached(SET)?
            .execute(params![self.name, key, value])
            .map(drop)
    }
}

#[async_trait]
impl KeyValueStore for KeyValueFileStore {
    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, KeyValueError> {
        let work = |connection: &Connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let mut values = Vec::with_capacity(keys.len());
            let mut bytes = 0;
            for key in &keys {
                let value: Option<Vec<u8>> = statement
                    .query_row(params![self.name, key], |row| row.get(0))
                    .optional()?;
                bytes += value.as_ref().map_or(0, Vec::len);
                within_limit(bytes)?;
                values.push(value);
            }
            Ok(values)
        };
        self.file.read(work).await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        if pairs.is_empty() {
            return Ok(());
        }
        let work = |connection: &Connection| {
            let mut statement = connection.prepare_cached(SET)?;
            for (key, value) in &pairs {
                statement.execute(params![self.name, key, value])?;
            }
            Ok(())
        };
        self.file.write(work).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        if keys.is_empty() {
            return Ok(());
        }
        let work = |connection: &Connection| {
            let mut statement = connection.prepare_cached(DELETE)?;
            for key in &keys {
                statement.execute(params![self.name, key])?;
            }
            Ok(())
        };
        self.file.write(work).await
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError> {
        // Spin's encoding: eight bytes, the lowest first.
        let work = |connection: &Connection| {
            let number = match self.get(connection, &key)? {
                None => 0,
                Some(bytes) => i64::from_le_bytes(bytes.try_into().map_err(|_| {
                    Failure::Found(format!(
                        "the value of {key:?} is no counter: it was written by `set`, not `increment`"
                    ))
                })?),
            };
            let sum = number
                .checked_add(delta)
                .ok_or_else(|| Failure::Found(format!("the counter {key:?} would overflow 64 bits")))?;
            self.set(connection, &key, &sum.to_le_bytes())?;
            Ok(sum)
        };
        self.file.write(work).await
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let work = |connection: &Connection| {
            let mut statement = connection.prepare_cached(KEYS)?;
            let mut rows = statement.query(params![self.name])?;
            let (mut keys, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                bytes += size_of::<String>() + key.len();
                within_limit(bytes)?;
                keys.push(key);
            }
            Ok(keys)
        };
        self.file.read(work).await
    }

    async fn swap(&self, key: String, current: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool, KeyValueError> {
        let work = |connection: &Connection| match &current {
            Some(current) => {
                let changed = connection
                    .prepare_cached(SWAP)?
                    .execute(params![self.name, key, value, current])?;
                Ok(changed == 1)
            }
            // As Spin's file store: without a value to compare, it sets.
            None => Ok(self.set(connection, &key, &value).map(|()| true)?),
        };
        self.file.write(work).await
    }
}

#[cfg(test)]
mod tests;
