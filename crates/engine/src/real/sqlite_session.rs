//! One real connection to a SQLite file, as it serves components: bounded in time, kept to its own file, and saying what
//! was counted for the component that it works for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};

use super::limits::{RESULT_BYTES_MAX, STATEMENT_TIME};
use super::sqlite_file::SqliteFile;
use crate::ports::{SqlRows, SqlValue};

/// Steps of SQLite's virtual machine between two looks at the clock: a few milliseconds.
const STEPS_PER_LOOK: i32 = 100_000;

/// What a component set on its connection, and what SQLite counted for it. A connection that serves several components
/// takes these on before each statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traits {
    pub synchronous: Synchronous,
    pub last_insert_rowid: i64,
    pub changes: u64,
    pub total_changes: u64,
}

/// `PRAGMA synchronous`: when a commit waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Synchronous {
    Off,
    Normal,
    /// SQLite's default, and so Spin's.
    #[default]
    Full,
    Extra,
}

impl Synchronous {
    /// The level that this value of the pragma stands for.
    pub fn parse(value: &str) -> Option<Self> {
        Some(match &*value.to_ascii_lowercase() {
            "0" | "off" => Self::Off,
            "1" | "normal" => Self::Normal,
            "2" | "full" => Self::Full,
            "3" | "extra" => Self::Extra,
            _ => return None,
        })
    }

    fn pragma(self) -> &'static str {
        match self {
            Self::Off => "PRAGMA synchronous = OFF",
            Self::Normal => "PRAGMA synchronous = NORMAL",
            Self::Full => "PRAGMA synchronous = FULL",
            Self::Extra => "PRAGMA synchronous = EXTRA",
        }
    }
}

/// What the SQL functions `changes()` and `total_changes()` answer. SQLite's own count for the connection, whoever it
/// worked for.
#[derive(Debug, Default)]
struct Counted {
    changes: AtomicU64,
    total_changes: AtomicU64,
}

/// A connection with the bounds of a component's.
pub(super) struct Session {
    connection: Connection,
    started: Arc<Mutex<Instant>>,
    counted: Arc<Counted>,
    synchronous: Synchronous,
}

/// How a statement ended that didn't fail.
pub(super) enum Ran {
    Done(SqlRows),
    /// Its rows are more than the host may hold.
    TooLarge,
    /// It writes, and was to run only if it didn't.
    Writes,
}

impl Session {
    pub fn open(file: &SqliteFile) -> rusqlite::Result<Self> {
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
        let counted = Arc::new(Counted::default());
        for (name, of) in [
            ("changes", (|counted| &counted.changes) as fn(&Counted) -> &AtomicU64),
            ("total_changes", |counted| &counted.total_changes),
        ] {
            let counted = Arc::clone(&counted);
            let answer = move |_: &mut Context<'_>| Ok(i64::try_from(of(&counted).load(Relaxed)).unwrap_or(i64::MAX));
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
            connection.create_scalar_function(name, 0, flags, answer)?;
        }
        Ok(Self {
            connection,
            started,
            counted,
            synchronous: Synchronous::default(),
        })
    }

    /// Whether no transaction is open.
    pub fn is_autocommit(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Runs a statement to its end as the connection of a component with these traits, and brings them up to date. One
    /// that writes runs only if it `may_write`.
    pub fn run(
        &mut self,
        statement: &str,
        parameters: &[SqlValue],
        may_write: bool,
        traits: &mut Traits,
    ) -> rusqlite::Result<Ran> {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.take_on(traits)?;
        let mut prepared = self.connection.prepare_cached(statement)?;
        let writes = !prepared.readonly();
        if writes && !may_write {
            return Ok(Ran::Writes);
        }
        let total_before = self.connection.total_changes();
        let result = run(&mut prepared, parameters);
        drop(prepared);
        // A statement that was refused before it began left the counts of the one before, which may be somebody else's.
        let began = !matches!(result, Err(rusqlite::Error::InvalidParameterCount(..)));
        if writes && began {
            traits.last_insert_rowid = self.connection.last_insert_rowid();
            let count = self.connection.total_changes() - total_before;
            traits.total_changes += count;
            if count > 0 || matches!(Kind::of(statement), Kind::Write | Kind::ReadOrWrite) {
                traits.changes = self.connection.changes();
            }
        }
        result.map(|rows| rows.map_or(Ran::TooLarge, Ran::Done))
    }

    fn take_on(&mut self, traits: &Traits) -> rusqlite::Result<()> {
        // SQLite refuses to change it in a transaction, for a component's own connection too.
        if self.synchronous != traits.synchronous && self.is_autocommit() {
            self.connection.execute_batch(traits.synchronous.pragma())?;
            self.synchronous = traits.synchronous;
        }
        self.counted.changes.store(traits.changes, Relaxed);
        self.counted.total_changes.store(traits.total_changes, Relaxed);
        // SAFETY: the handle is this connection's, which is open and which nobody else uses while it is borrowed.
        unsafe {
            rusqlite::ffi::sqlite3_set_last_insert_rowid(self.connection.handle(), traits.last_insert_rowid);
        }
        Ok(())
    }
}

/// What a statement asks of the connection that it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It reads, and leaves nothing behind on its connection.
    Read,
    /// It writes rows, and leaves nothing behind but what was counted.
    Write,
    /// Either of the two.
    ReadOrWrite,
    /// It sets `PRAGMA synchronous`.
    Synchronous(Synchronous),
    /// It turns on the write-ahead log, which is the file's and not the connection's.
    WriteAheadLog,
    /// It may leave something behind: a transaction, a setting, a temporary table.
    Other,
}

impl Kind {
    /// The kind of a statement, by its first words. In doubt it is [`Kind::Other`]: that is never wrong.
    pub fn of(statement: &str) -> Self {
        let statement = statement.trim_ascii();
        let end = statement
            .find(|character: char| !character.is_ascii_alphabetic())
            .unwrap_or(statement.len());
        let (word, rest) = statement.split_at(end);
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("select") {
            Self::Read
        } else if ["insert", "update", "delete", "replace"].into_iter().any(is) {
            Self::Write
        } else if is("with") {
            Self::ReadOrWrite
        } else if is("pragma") {
            Self::of_pragma(rest)
        } else {
            Self::Other
        }
    }

    fn of_pragma(assignment: &str) -> Self {
        let Some((name, value)) = assignment.split_once('=') else {
            return Self::Other;
        };
        let (name, value) = (name.trim_ascii(), value.trim_ascii());
        if name.eq_ignore_ascii_case("synchronous") {
            Synchronous::parse(value).map_or(Self::Other, Self::Synchronous)
        } else if name.eq_ignore_ascii_case("journal_mode") && value.eq_ignore_ascii_case("wal") {
            Self::WriteAheadLog
        } else {
            Self::Other
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_say_what_a_statement_leaves_behind() {
        for (statement, kind) in [
            ("SELECT 1", Kind::Read),
            ("  select(1)", Kind::Read),
            ("INSERT INTO t VALUES (1)", Kind::Write),
            ("\n replace INTO t VALUES (1)", Kind::Write),
            ("WITH a AS (SELECT 1) DELETE FROM t", Kind::ReadOrWrite),
            ("PRAGMA synchronous = NORMAL", Kind::Synchronous(Synchronous::Normal)),
            ("pragma synchronous=2", Kind::Synchronous(Synchronous::Full)),
            ("PRAGMA synchronous", Kind::Other),
            ("PRAGMA synchronous = sometimes", Kind::Other),
            ("PRAGMA journal_mode = wal", Kind::WriteAheadLog),
            ("PRAGMA journal_mode = DELETE", Kind::Other),
            ("PRAGMA foreign_keys = OFF", Kind::Other),
            ("BEGIN", Kind::Other),
            ("SAVEPOINT a", Kind::Other),
            ("CREATE TEMP TABLE t(v)", Kind::Other),
            ("-- a comment\nSELECT 1", Kind::Other),
            ("selection", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(Kind::of(statement), kind, "{statement}");
        }
    }
}
