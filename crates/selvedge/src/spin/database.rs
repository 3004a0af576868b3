//! SQL through `spin:sqlite`.
//!
//! The connection is opened at first use and kept for as long as the instance lives: opening one per request costs
//! more than most statements. The blocking `execute` gives all rows in one call.

use std::cell::OnceCell;

use spin_sdk::sqlite::wit::sqlite::{Connection, Error as SqliteError, Value as SqliteValue};

use crate::Error;
use crate::host::{Row, Value};
use crate::schema::{self, Tables};

const NAME: &str = "default";

pub(super) struct Database {
    connection: OnceCell<Connection>,
    tables: Vec<Tables>,
}

impl Database {
    pub(super) fn new(tables: &[Tables]) -> Self {
        Self {
            connection: OnceCell::new(),
            tables: tables.to_vec(),
        }
    }

    pub(super) fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        match self.connection.get() {
            Some(connection) => execute(connection, statement, parameters),
            None => {
                // Kept only when its tables are up to date: the next use tries again.
                let connection = open(&self.tables)?;
                execute(self.connection.get_or_init(|| connection), statement, parameters)
            }
        }
    }
}

fn open(tables: &[Tables]) -> Result<Connection, Error> {
    let connection = Connection::open(NAME).map_err(database_error)?;
    for pragma in ["PRAGMA synchronous = NORMAL", "PRAGMA journal_mode = WAL"] {
        // They make SQLite fast. Databases that don't have them, or can't switch just now, work all the same.
        _ = connection.execute(pragma, &[]);
    }
    schema::ensure(
        &mut |statement, parameters| execute(&connection, statement, parameters),
        tables,
    )?;
    Ok(connection)
}

fn execute(connection: &Connection, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
    let parameters: Vec<_> = parameters.into_iter().map(to_sqlite).collect();
    let result = connection.execute(statement, &parameters).map_err(database_error)?;
    Ok(result
        .rows
        .into_iter()
        .map(|row| Row::new(row.values.into_iter().map(from_sqlite).collect()))
        .collect())
}

fn to_sqlite(value: Value) -> SqliteValue {
    match value {
        Value::Null => SqliteValue::Null,
        Value::Integer(number) => SqliteValue::Integer(number),
        Value::Real(number) => SqliteValue::Real(number),
        Value::Text(text) => SqliteValue::Text(text),
        Value::Blob(bytes) => SqliteValue::Blob(bytes),
    }
}

fn from_sqlite(value: SqliteValue) -> Value {
    match value {
        SqliteValue::Null => Value::Null,
        SqliteValue::Integer(number) => Value::Integer(number),
        SqliteValue::Real(number) => Value::Real(number),
        SqliteValue::Text(text) => Value::Text(text),
        SqliteValue::Blob(bytes) => Value::Blob(bytes),
    }
}

fn database_error(error: SqliteError) -> Error {
    match error {
        SqliteError::Io(detail) => Error::from_sqlite(detail),
        SqliteError::NoSuchDatabase | SqliteError::AccessDenied => Error::Configuration {
            name: format!("the database \"{NAME}\""),
            reason: "isn't the component's to use: add `sqlite_databases = [\"default\"]` in spin.toml".to_owned(),
        },
        SqliteError::InvalidConnection => Error::Database {
            detail: "the connection is closed".to_owned(),
        },
        SqliteError::DatabaseFull => Error::DatabaseDisk {
            detail: "the database is full".to_owned(),
        },
    }
}
