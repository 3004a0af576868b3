//! SQLite for components: `spin:sqlite` on rusqlite, with Spin's answers.
//!
//! A statement runs on the task that calls it. Handing it to another thread costs more than most statements take; the few
//! that take long hold up one of the runtime's threads, for [`STATEMENT_TIME`] at the most.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement};

use super::busy::{Patience, is_busy};
use super::checkpoint;
use super::limits::{RESULT_BYTES_MAX, STATEMENT_TIME};
use super::sqlite_file::{SqliteFile, WriteTurn};
use crate::ports::{SqlConnection, SqlDatabases, SqlError, SqlRows, SqlValue};

/// Steps of SQLite's virtual machine between two looks at the clock: a few milliseconds.
const STEPS_PER_LOOK: i32 = 100_000;

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
        let file = self.files.get(label).ok_or(SqlError::NoSuchDatabase)?;
        Ok(Arc::new(SqliteConnection::open(Arc::clone(file)).map_err(sql_error)?))
    }
}

/// A component's connection.
struct SqliteConnection {
    file: Arc<SqliteFile>,
    session: Mutex<Session>,
}

/// What a connection is in the middle of. The order of the fields is the order of their end: the connection rolls back
/// before others may write.
struct Session {
    connection: Connection,
    /// Kept from a transaction's first write, or its first statement after BEGIN, to its end.
    turn: Option<WriteTurn>,
    started: Arc<Mutex<Instant>>,
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
    fn open(file: Arc<SqliteFile>) -> rusqlite::Result<Self> {
        let mut connection = file.connect()?;
        // As Spin: a component gets at no other file than its own databases.
        connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
            AuthAction::Attach { filename } if !matches!(filename, "" | ":memory:") => Authorization::Deny,
            _ => Authorization::Allow,
        }))?;
        let started = Arc::new(Mutex::new(Instant::now()));
        let clock = Arc::clone(&started);
        let overdue = move || clock.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > STATEMENT_TIME;
        connection.progress_handler(STEPS_PER_LOOK, Some(overdue))?;
        let session = Mutex::new(Session {
            connection,
            turn: None,
            started,
        });
        Ok(Self { file, session })
    }

    /// No await happens while the session is locked, so the lock is never held for longer than one statement.
    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(
        &self,
        statement: &str,
        parameters: &[SqlValue],
        turn: &mut Option<WriteTurn>,
    ) -> rusqlite::Result<Attempt> {
        let mut guard = self.session();
        let session = &mut *guard;
        *session.started.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut prepared = match session.connection.prepare_cached(statement) {
            Ok(prepared) => prepared,
            Err(error) if is_busy(&error) => return Ok(Attempt::Busy(error)),
            Err(error) => return Err(error),
        };
        // In a transaction even a read takes its turn: it fixes the snapshot, and a write on an old one can only fail.
        let writes = !prepared.readonly() || !session.connection.is_autocommit();
        if writes && session.turn.is_none() && turn.is_none() {
            *turn = self.file.try_write_turn();
            if turn.is_none() {
                return Ok(Attempt::Queue);
            }
        }
        let result = run(&mut prepared, parameters);
        drop(prepared);
        // Kept while in a transaction; otherwise the caller's, to end it.
        if session.connection.is_autocommit() {
            *turn = session.turn.take().or(turn.take());
        } else if session.turn.is_none() {
            session.turn = turn.take();
        }
        match result {
            Ok(Some(rows)) => Ok(Attempt::Done(rows)),
            Ok(None) => Ok(Attempt::TooLarge),
            Err(error) if is_busy(&error) => Ok(Attempt::Busy(error)),
            Err(error) => Err(error),
        }
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
        Ok(self.session().connection.last_insert_rowid())
    }

    async fn changes(&self) -> Result<u64, SqlError> {
        Ok(self.session().connection.changes())
    }
}

/// Runs a statement to its end, or until its rows are more than the host may hold.
fn run(statement: &mut Statement<'_>, parameters: &[SqlValue]) -> rusqlite::Result<Option<SqlRows>> {
    let mut answer = SqlRows::default();
    let mut bytes = 0;
    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
    while let Some(row) = rows.next()? {
        let width = row.as_ref().column_count();
        let mut values = Vec::with_capacity(width);
        for column in 0..width {
            let value = value_of(column, row.get_ref(column)?)?;
            bytes += size_of(&value);
            values.push(value);
        }
        if bytes > RESULT_BYTES_MAX {
            return Ok(None);
        }
        answer.rows.push(values);
    }
    drop(rows);
    // Asked for afterwards: a statement that was prepared before its table changed has its new columns only now.
    answer.columns = statement.column_names().map(str::to_owned).collect();
    Ok(Some(answer))
}

fn value_of(column: usize, value: ValueRef<'_>) -> rusqlite::Result<SqlValue> {
    Ok(match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(number) => SqlValue::Integer(number),
        ValueRef::Real(number) => SqlValue::Real(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => SqlValue::Text(text.to_owned()),
            Err(error) => return Err(rusqlite::Error::Utf8Error(column, error)),
        },
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    })
}

/// As Spin counts it.
fn size_of(value: &SqlValue) -> usize {
    std::mem::size_of::<SqlValue>()
        + match value {
            SqlValue::Text(text) => text.len(),
            SqlValue::Blob(bytes) => bytes.len(),
            SqlValue::Integer(_) | SqlValue::Real(_) | SqlValue::Null => 0,
        }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            SqlValue::Integer(number) => ValueRef::Integer(*number),
            SqlValue::Real(number) => ValueRef::Real(*number),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
            SqlValue::Null => ValueRef::Null,
        }))
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
