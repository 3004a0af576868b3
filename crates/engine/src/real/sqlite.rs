//! SQLite for components: `spin:sqlite` on rusqlite, with Spin's answers.
//!
//! A statement runs on the task that calls it. Handing it to another thread costs more than most statements take; the few
//! that take long hold up one of the runtime's threads, for [`STATEMENT_TIME`] at the most.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::ErrorCode;

use super::busy::{Patience, is_busy};
use super::checkpoint;
use super::limits::{RESULT_BYTES_MAX, STATEMENT_TIME};
use super::sqlite_file::{SqliteFile, WriteTurn};
use super::sqlite_session::{Kind, Ran, Session, Traits};
use crate::ports::{SqlConnection, SqlDatabases, SqlError, SqlRows, SqlValue};

/// SQLite files by label. Labels of the same path share the file and its queue of writers.
#[derive(Debug)]
pub struct SqliteDatabases {
    files: HashMap<String, Arc<SqliteFile>>,
}

impl SqliteDatabases {
    /// The databases of these labels and paths. Creates their folders, and opens each file once, so that one that can't be
    /// written, or isn't a database, is an error now.
    pub fn new(databases: impl IntoIterator<Item = (String, PathBuf)>) -> Result<Self, SqlError> {
        let mut by_path = HashMap::new();
        let mut files = HashMap::new();
        for (label, path) in databases {
            let trouble = |error: &dyn std::fmt::Display| {
                SqlError::Io(format!(
                    "the file {} of the SQLite database \"{label}\" can't be used: {error}",
                    path.display()
                ))
            };
            let path_in_full = in_full(&path).map_err(|error| trouble(&error))?;
            let file = match by_path.get(&path_in_full) {
                Some(file) => Arc::clone(file),
                None => {
                    let file = SqliteFile::new(&path_in_full);
                    check(&file).map_err(|error| trouble(&error))?;
                    by_path.insert(path_in_full, Arc::clone(&file));
                    file
                }
            };
            files.insert(label, file);
        }
        Ok(Self { files })
    }
}

/// The path by which a file is known once, whatever it was called by. Creates the folder.
pub(super) fn in_full(path: &Path) -> std::io::Result<PathBuf> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let name = path
        .file_name()
        .ok_or_else(|| std::io::Error::other("the path names no file"))?;
    Ok(folder.canonicalize()?.join(name))
}

fn check(file: &SqliteFile) -> rusqlite::Result<()> {
    let connection = file.connect()?;
    // Another process may be writing at this moment; nothing else runs yet that this could hold up.
    connection.busy_timeout(super::limits::LOCK_WAIT)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        let readonly = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        return Err(rusqlite::Error::SqliteFailure(
            readonly,
            Some("it may only be read".into()),
        ));
    }
    Ok(())
}

#[async_trait]
impl SqlDatabases for SqliteDatabases {
    fn has(&self, label: &str) -> bool {
        self.files.contains_key(label)
    }

    async fn open(&self, label: &str) -> Result<Arc<dyn SqlConnection>, SqlError> {
        let file = Arc::clone(self.files.get(label).ok_or(SqlError::NoSuchDatabase)?);
        let state = Mutex::default();
        Ok(Arc::new(SqliteConnection { file, state }))
    }
}

/// A component's connection. Most statements run on the file's shared connections. The first that would leave something
/// behind opens a connection of its own, on which all others run from then on.
struct SqliteConnection {
    file: Arc<SqliteFile>,
    state: Mutex<State>,
}

/// What a connection is in the middle of. The order of the fields is the order of their end: the connection rolls back
/// before others may write.
#[derive(Default)]
struct State {
    own: Option<Session>,
    /// Kept from a transaction's first write, or its first statement after BEGIN, to its end.
    turn: Option<WriteTurn>,
    traits: Traits,
}

/// How one attempt at a statement ended.
enum Attempt {
    Done(SqlRows),
    /// Its rows are more than the host may hold.
    TooLarge,
    /// It writes, and others are before it.
    Queue,
    /// A connection outside the queue holds a lock.
    Busy(rusqlite::Error),
}

impl SqliteConnection {
    /// No await happens while the state is locked, so the lock is never held for longer than one statement.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(
        &self,
        statement: &str,
        parameters: &[SqlValue],
        turn: &mut Option<WriteTurn>,
    ) -> rusqlite::Result<Attempt> {
        let mut state = self.state();
        let kind = Kind::of(statement);
        let ran = match (&state.own, kind) {
            (None, Kind::Synchronous(level)) => {
                state.traits.synchronous = level;
                Ok(Some(Ran::Done(SqlRows::default())))
            }
            (None, Kind::Read | Kind::ReadOrWrite | Kind::Write | Kind::WriteAheadLog) => {
                let may_read = matches!(kind, Kind::Read | Kind::ReadOrWrite);
                self.run_shared(statement, parameters, may_read, &mut state.traits, turn)
            }
            _ => self.run_own(statement, parameters, &mut state, turn),
        };
        match ran {
            Ok(Some(Ran::Done(rows))) => Ok(Attempt::Done(rows)),
            Ok(Some(Ran::TooLarge)) => Ok(Attempt::TooLarge),
            Ok(Some(Ran::Writes) | None) => Ok(Attempt::Queue),
            Err(error) if is_busy(&error) => Ok(Attempt::Busy(error)),
            Err(error) => Err(error),
        }
    }

    /// `None`: it is to be tried again when its turn has come.
    fn run_shared(
        &self,
        statement: &str,
        parameters: &[SqlValue],
        may_read: bool,
        traits: &mut Traits,
        turn: &mut Option<WriteTurn>,
    ) -> rusqlite::Result<Option<Ran>> {
        let shared = &self.file.shared;
        if may_read && turn.is_none() {
            match shared.read(&self.file, statement, parameters, traits)? {
                Ran::Writes => {}
                ran => return Ok(Some(ran)),
            }
        }
        if turn.is_none() {
            *turn = self.file.try_write_turn();
        }
        let Some(turn) = turn else { return Ok(None) };
        shared.write(&self.file, turn, statement, parameters, traits).map(Some)
    }

    /// `None`: it is to be tried again when its turn has come.
    fn run_own(
        &self,
        statement: &str,
        parameters: &[SqlValue],
        state: &mut State,
        turn: &mut Option<WriteTurn>,
    ) -> rusqlite::Result<Option<Ran>> {
        let session = match &mut state.own {
            Some(session) => session,
            none => none.insert(Session::open(&self.file)?),
        };
        // In a transaction even a read takes its turn: it fixes the snapshot, and a write on an old one can only fail.
        let in_transaction = !session.is_autocommit();
        if in_transaction && state.turn.is_none() && turn.is_none() {
            *turn = self.file.try_write_turn();
            if turn.is_none() {
                return Ok(None);
            }
        }
        let may_write = state.turn.is_some() || turn.is_some();
        let mut result = session.run(statement, parameters, may_write, &mut state.traits);
        if matches!(result, Ok(Ran::Writes)) {
            *turn = self.file.try_write_turn();
            if turn.is_none() {
                return Ok(None);
            }
            result = session.run(statement, parameters, true, &mut state.traits);
        }
        // Kept while in a transaction; otherwise the caller's, to end it.
        if session.is_autocommit() {
            *turn = state.turn.take().or(turn.take());
        } else if state.turn.is_none() {
            state.turn = turn.take();
        }
        result.map(Some)
    }
}

#[async_trait]
impl SqlConnection for SqliteConnection {
    async fn execute(&self, statement: &str, parameters: Vec<SqlValue>) -> Result<SqlRows, SqlError> {
        let mut turn = None;
        let mut patience = None;
        loop {
            let attempt = self.attempt(statement, &parameters, &mut turn).map_err(sql_error)?;
            match attempt {
                Attempt::Done(rows) => {
                    checkpoint::after_statement(&self.file, turn);
                    return Ok(rows);
                }
                Attempt::TooLarge => {
                    return Err(SqlError::Io(format!(
                        "query result exceeds limit of {RESULT_BYTES_MAX} bytes"
                    )));
                }
                Attempt::Queue => {
                    let deadline = patience.get_or_insert_with(Patience::new).deadline();
                    turn = Some(self.file.write_turn(deadline).await.map_err(sql_error)?);
                }
                Attempt::Busy(error) => {
                    if !patience.get_or_insert_with(Patience::new).wait().await {
                        return Err(sql_error(error));
                    }
                }
            }
        }
    }

    async fn last_insert_rowid(&self) -> Result<i64, SqlError> {
        Ok(self.state().traits.last_insert_rowid)
    }

    async fn changes(&self) -> Result<u64, SqlError> {
        Ok(self.state().traits.changes)
    }
}

/// SQLite's text as rusqlite gives it, which is what Spin passes on.
fn sql_error(error: rusqlite::Error) -> SqlError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => SqlError::DatabaseFull,
        Some(ErrorCode::OperationInterrupted) => SqlError::Io(format!(
            "interrupted: the statement ran for more than {} s",
            STATEMENT_TIME.as_secs()
        )),
        _ => SqlError::Io(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
