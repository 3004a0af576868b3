//! `spin:sqlite@3.1.0`.

use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Host, InstanceState};
use crate::bindings::spin::sqlite::sqlite::{
    Error, Host as SqliteHost, HostConnection, HostConnectionWithStore, QueryResult, RowResult, Value,
};
use crate::component::Definition;
use crate::limits;
use crate::ports::{SqlConnection, SqlError, SqlRows, SqlValue};

/// A guest's handle to a connection.
pub struct Connection(Arc<dyn SqlConnection>);

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Definition {
    async fn open_database(&self, label: &str) -> Answer<Connection> {
        let work = async {
            if !self.sqlite_databases.iter().any(|allowed| allowed == label) {
                return Err(Error::AccessDenied);
            }
            Ok(Connection(self.ports.sql.open(label).await?))
        };
        self.caller
            .call("sqlite.open", || label.to_owned(), Error::Io, work)
            .await
    }

    async fn execute_statement(
        &self,
        connection: &dyn SqlConnection,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Answer<SqlRows> {
        let detail = || format!("{statement} {parameters:?}");
        let detail = self.caller.gate.is_some().then(detail).unwrap_or_default();
        let parameters = parameters.into_iter().map(SqlValue::from).collect();
        let work = async { Ok(connection.execute(statement, parameters).await?) };
        self.caller.call("sqlite.execute", || detail, Error::Io, work).await
    }
}

impl InstanceState {
    fn connection(&self, handle: &Resource<Connection>) -> wasmtime::Result<Arc<dyn SqlConnection>> {
        Ok(self.table.get(handle)?.0.clone())
    }

    fn keep_connection(&mut self, opened: Result<Connection, Error>) -> Answer<Resource<Connection>> {
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        if self.open.sqlite >= limits::SQLITE_CONNECTIONS_MAX {
            return Ok(Err(Error::Io("too many connections opened".to_owned())));
        }
        self.open.sqlite += 1;
        Ok(Ok(self.table.push(connection)?))
    }
}

impl SqliteHost for InstanceState {}

impl HostConnection for InstanceState {
    async fn open(&mut self, database: String) -> Answer<Resource<Connection>> {
        let opened = self.component.clone().open_database(&database).await?;
        self.keep_connection(opened)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<QueryResult> {
        let connection = self.connection(&connection)?;
        let rows = self
            .component
            .execute_statement(&*connection, &statement, parameters)
            .await?;
        Ok(rows.map(QueryResult::from))
    }

    async fn last_insert_rowid(&mut self, connection: Resource<Connection>) -> wasmtime::Result<i64> {
        Ok(self.connection(&connection)?.last_insert_rowid().await?)
    }

    async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        Ok(self.connection(&connection)?.changes().await?)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.open.sqlite -= 1;
        Ok(())
    }
}

impl<T: Send + 'static> HostConnectionWithStore<T> for Host {
    async fn open_async(accessor: &Accessor<T, Self>, database: String) -> Answer<Resource<Connection>> {
        let component = accessor.with(|mut access| access.get().component.clone());
        let opened = component.open_database(&database).await?;
        accessor.with(|mut access| access.get().keep_connection(opened))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<(Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), Error>>)> {
        let (component, connection) = accessor.with(|mut access| {
            let state = access.get();
            wasmtime::error::Ok((state.component.clone(), state.connection(&connection)?))
        })?;
        let SqlRows { columns, rows } = match component
            .execute_statement(&*connection, &statement, parameters)
            .await?
        {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let rows: Vec<RowResult> = rows.into_iter().map(RowResult::from).collect();
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        let connection = accessor.with(|mut access| access.get().connection(&connection))?;
        Ok(connection.last_insert_rowid().await?)
    }

    async fn changes_async(accessor: &Accessor<T, Self>, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().connection(&connection))?;
        Ok(connection.changes().await?)
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NoSuchDatabase => Self::NoSuchDatabase,
            SqlError::AccessDenied => Self::AccessDenied,
            SqlError::InvalidConnection => Self::InvalidConnection,
            SqlError::DatabaseFull => Self::DatabaseFull,
            SqlError::Io(text) => Self::Io(text),
        }
    }
}

impl From<Value> for SqlValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
            Value::Null => Self::Null,
        }
    }
}

impl From<SqlValue> for Value {
    fn from(value: SqlValue) -> Self {
        match value {
            SqlValue::Integer(integer) => Self::Integer(integer),
            SqlValue::Real(real) => Self::Real(real),
            SqlValue::Text(text) => Self::Text(text),
            SqlValue::Blob(bytes) => Self::Blob(bytes),
            SqlValue::Null => Self::Null,
        }
    }
}

impl From<Vec<SqlValue>> for RowResult {
    fn from(row: Vec<SqlValue>) -> Self {
        Self {
            values: row.into_iter().map(Value::from).collect(),
        }
    }
}

impl From<SqlRows> for QueryResult {
    fn from(rows: SqlRows) -> Self {
        Self {
            columns: rows.columns,
            rows: rows.rows.into_iter().map(RowResult::from).collect(),
        }
    }
}
