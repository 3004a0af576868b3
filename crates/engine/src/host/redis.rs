//! `spin:redis@3.0.0`: every function is one command.

use std::sync::Arc;

use wasmtime::component::{Accessor, Resource};

use super::{Host, InstanceState};
use crate::bindings::spin::redis::redis::{
    Error, Host as RedisHost, HostConnection, HostConnectionWithStore, Payload, RedisParameter, RedisResult,
};
use crate::limits;
use crate::ports::{self, RedisConnection, RedisError, RedisValue};

/// A guest's handle to a connection.
pub struct Connection(Arc<dyn RedisConnection>);

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl RedisHost for InstanceState {}

impl HostConnection for InstanceState {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.open.redis -= 1;
        Ok(())
    }
}

/// Runs one command on the connection behind `handle`.
async fn run<T: Send + 'static>(
    accessor: &Accessor<T, Host>,
    handle: &Resource<Connection>,
    command: &str,
    arguments: Vec<ports::RedisParameter>,
) -> Answer<Vec<RedisValue>> {
    let (component, connection) = accessor.with(|mut access| {
        let state = access.get();
        wasmtime::error::Ok((state.component.clone(), state.table.get(handle)?.0.clone()))
    })?;
    let work = async { Ok(connection.execute(command, arguments).await?) };
    component
        .caller
        .call("redis.execute", || command.to_owned(), Error::Other, work)
        .await
}

fn text(value: String) -> ports::RedisParameter {
    ports::RedisParameter::Binary(value.into_bytes())
}

fn key_and_values(key: String, values: Vec<String>) -> Vec<ports::RedisParameter> {
    std::iter::once(key).chain(values).map(text).collect()
}

fn number(values: Vec<RedisValue>) -> Result<i64, Error> {
    match values.as_slice() {
        [RedisValue::Int64(number)] => Ok(*number),
        _ => Err(Error::TypeError),
    }
}

fn count(values: Vec<RedisValue>) -> Result<u32, Error> {
    u32::try_from(number(values)?).map_err(|_| Error::TypeError)
}

impl<T: Send + 'static> HostConnectionWithStore<T> for Host {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Answer<Resource<Connection>> {
        let component = accessor.with(|mut access| access.get().component.clone());
        let work = async {
            if !component.allows(&address, "redis") {
                return Err(Error::InvalidAddress);
            }
            Ok(component.ports.network.redis(&address).await?)
        };
        let opened = component
            .caller
            .call("redis.open", String::new, Error::Other, work)
            .await?;
        accessor.with(|mut access| {
            let state = access.get();
            match opened {
                Err(error) => Ok(Err(error)),
                Ok(_) if state.open.redis >= limits::BROKER_CONNECTIONS_MAX => Ok(Err(Error::TooManyConnections)),
                Ok(connection) => {
                    state.open.redis += 1;
                    Ok(Ok(state.table.push(Connection(connection))?))
                }
            }
        })
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Payload,
    ) -> Answer<()> {
        let arguments = vec![text(channel), ports::RedisParameter::Binary(payload)];
        Ok(run(accessor, &connection, "PUBLISH", arguments).await?.map(drop))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Option<Payload>> {
        let values = run(accessor, &connection, "GET", vec![text(key)]).await?;
        Ok(values.and_then(|mut values| match values.pop() {
            Some(RedisValue::Binary(bytes)) => Ok(Some(bytes)),
            Some(RedisValue::Nil) | None => Ok(None),
            Some(_) => Err(Error::TypeError),
        }))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Payload,
    ) -> Answer<()> {
        let arguments = vec![text(key), ports::RedisParameter::Binary(value)];
        Ok(run(accessor, &connection, "SET", arguments).await?.map(drop))
    }

    async fn incr(accessor: &Accessor<T, Self>, connection: Resource<Connection>, key: String) -> Answer<i64> {
        Ok(run(
            accessor,
            &connection,
            "INCRBY",
            vec![text(key), ports::RedisParameter::Int64(1)],
        )
        .await?
        .and_then(number))
    }

    async fn del(accessor: &Accessor<T, Self>, connection: Resource<Connection>, keys: Vec<String>) -> Answer<u32> {
        Ok(run(accessor, &connection, "DEL", keys.into_iter().map(text).collect())
            .await?
            .and_then(count))
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        Ok(run(accessor, &connection, "SADD", key_and_values(key, values))
            .await?
            .and_then(count))
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Vec<String>> {
        let values = run(accessor, &connection, "SMEMBERS", vec![text(key)]).await?;
        Ok(values.and_then(|values| {
            let member = |value| match value {
                RedisValue::Binary(bytes) => String::from_utf8(bytes).map_err(|_| Error::TypeError),
                RedisValue::Status(text) => Ok(text),
                _ => Err(Error::TypeError),
            };
            values.into_iter().map(member).collect()
        }))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        Ok(run(accessor, &connection, "SREM", key_and_values(key, values))
            .await?
            .and_then(count))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Answer<Vec<RedisResult>> {
        let arguments = arguments.into_iter().map(ports::RedisParameter::from).collect();
        let values = run(accessor, &connection, &command, arguments).await?;
        Ok(values.map(|values| values.into_iter().map(RedisResult::from).collect()))
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::InvalidAddress => Self::InvalidAddress,
            RedisError::TooManyConnections => Self::TooManyConnections,
            RedisError::TypeError => Self::TypeError,
            RedisError::Other(text) => Self::Other(text),
        }
    }
}

impl From<RedisParameter> for ports::RedisParameter {
    fn from(parameter: RedisParameter) -> Self {
        match parameter {
            RedisParameter::Int64(number) => Self::Int64(number),
            RedisParameter::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<RedisValue> for RedisResult {
    fn from(value: RedisValue) -> Self {
        match value {
            RedisValue::Nil => Self::Nil,
            RedisValue::Status(text) => Self::Status(text),
            RedisValue::Int64(number) => Self::Int64(number),
            RedisValue::Binary(bytes) => Self::Binary(bytes),
        }
    }
}
