//! SQLite in memory: the real SQLite, with a connection of its own for every `open`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use selvedge_engine::ports::{SqlConnection, SqlDatabases, SqlError, SqlRows, SqlValue};

use super::watch::CursorWatch;

/// How many prepared statements a connection keeps: all that there are.
const STATEMENTS: usize = 512;

/// One database, shared by every node of a world, under every label.
#[derive(Debug, Clone)]
pub struct MemorySql {
    name: String,
    watch: Arc<Mutex<CursorWatch>>,
    /// Connections that were closed, for the next ones who open one: what they have prepared costs most of a short run.
    idle: Arc<Mutex<Vec<Connection>>>,
    /// Keeps the database alive, and answers the checkers' questions.
    root: Arc<Mutex<Connection>>,
}

impl MemorySql {
    /// A new, empty database.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn new() -> rusqlite::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("file:/simulated-{}?vfs=memdb", COUNT.fetch_add(1, Ordering::Relaxed));
        let root = Arc::new(Mutex::new(connect(&name)?));
        Ok(Self {
            name,
            watch: Arc::default(),
            idle: Arc::default(),
            root,
        })
    }

    /// Another database that holds the same.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn copy(&self) -> rusqlite::Result<Self> {
        let copy = Self::new()?;
        lock(&self.root).execute("VACUUM INTO ?1", [&copy.name])?;
        Ok(copy)
    }

    /// What was seen of the subscriptions' cursors that must not be.
    pub fn cursors_gone_back(&self) -> Vec<String> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.gone_back().to_vec()
    }

    /// All rows of a query, for checkers: every value as SQLite holds it.
    ///
    /// # Errors
    /// What SQLite says, for example that there is no such table yet.
    pub fn query(&self, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
        let root = lock(&self.root);
        let mut statement = root.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
        rows.collect()
    }

    /// Runs statements, for a test that breaks something on purpose.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn change(&self, sql: &str) -> rusqlite::Result<()> {
        lock(&self.root).execute_batch(sql)
    }

    /// The first value of a query with text parameters, as a number; 0 where the table isn't there yet.
    pub fn number_of(&self, sql: &str, parameters: &[&str]) -> i64 {
        let root = lock(&self.root);
        let count = root.prepare_cached(sql).and_then(|mut query| {
            let wanted = query.parameter_count().min(parameters.len());
            query.query_row(params_from_iter(&parameters[..wanted]), |row| row.get(0))
        });
        count.unwrap_or(0)
    }

    /// The first value of a query as a number; 0 where the table isn't there yet.
    pub fn number(&self, sql: &str) -> i64 {
        match self
            .query(sql)
            .ok()
            .and_then(|rows| rows.into_iter().next()?.into_iter().next())
        {
            Some(Value::Integer(number)) => number,
            _ => 0,
        }
    }
}

fn connect(name: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl SqlDatabases for MemorySql {
    fn has(&self, _label: &str) -> bool {
        true
    }

    async fn open(&self, _label: &str) -> Result<Arc<dyn SqlConnection>, SqlError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.name).map_err(|error| SqlError::Io(error.to_string()))?,
        };
        Ok(Arc::new(MemoryConnection {
            connection: Mutex::new(Some(connection)),
            watch: self.watch.clone(),
            idle: self.idle.clone(),
        }))
    }
}

struct MemoryConnection {
    /// `None` only once it is dropped.
    connection: Mutex<Option<Connection>>,
    watch: Arc<Mutex<CursorWatch>>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl MemoryConnection {
    fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(connection.as_ref().expect("a connection is open until it is dropped"))
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A transaction that was begun ends with its connection.
        if let Some(connection) = connection.take().filter(Connection::is_autocommit) {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

#[async_trait]
impl SqlConnection for MemoryConnection {
    async fn execute(&self, statement: &str, parameters: Vec<SqlValue>) -> Result<SqlRows, SqlError> {
        self.with(|connection| {
            let rows = run(connection, statement, parameters).map_err(|error| SqlError::Io(error.to_string()))?;
            if CursorWatch::concerns(statement) {
                let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
                watch.look(connection);
            }
            Ok(rows)
        })
    }

    async fn last_insert_rowid(&self) -> Result<i64, SqlError> {
        Ok(self.with(Connection::last_insert_rowid))
    }

    async fn changes(&self) -> Result<u64, SqlError> {
        Ok(self.with(Connection::changes))
    }
}

fn run(connection: &Connection, statement: &str, parameters: Vec<SqlValue>) -> rusqlite::Result<SqlRows> {
    let mut statement = connection.prepare_cached(statement)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let parameters = parameters.into_iter().map(|value| match value {
        SqlValue::Integer(integer) => Value::Integer(integer),
        SqlValue::Real(real) => Value::Real(real),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes),
        SqlValue::Null => Value::Null,
    });
    let mut found = statement.query(params_from_iter(parameters))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns.len()).map(|column| row.get_ref(column).map(read));
        rows.push(values.collect::<rusqlite::Result<_>>()?);
    }
    Ok(SqlRows { columns, rows })
}

fn read(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(integer) => SqlValue::Integer(integer),
        ValueRef::Real(real) => SqlValue::Real(real),
        ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    }
}
