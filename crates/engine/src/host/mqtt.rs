//! `spin:mqtt@3.0.0`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Accessor, Resource};

use super::{Host, InstanceState};
use crate::bindings::spin::mqtt::mqtt::{
    Error, Host as MqttHost, HostConnection, HostConnectionWithStore, Payload, Qos,
};
use crate::limits;
use crate::ports::{MqttConnection, MqttError, MqttOptions, MqttQos};

/// A guest's handle to a connection.
pub struct Connection(Arc<dyn MqttConnection>);

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl MqttHost for InstanceState {}

impl HostConnection for InstanceState {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.open.mqtt -= 1;
        Ok(())
    }
}

impl<T: Send + 'static> HostConnectionWithStore<T> for Host {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
        username: String,
        password: String,
        keep_alive_interval_in_secs: u64,
    ) -> Answer<Resource<Connection>> {
        let component = accessor.with(|mut access| access.get().component.clone());
        let keep_alive = Duration::from_secs(keep_alive_interval_in_secs);
        let work = async {
            if !component.allows(&address, "mqtt") {
                return Err(Error::InvalidAddress);
            }
            Ok(component
                .ports
                .network
                .mqtt(MqttOptions {
                    address,
                    username,
                    password,
                    keep_alive,
                })
                .await?)
        };
        let opened = component
            .caller
            .call("mqtt.open", String::new, Error::Other, work)
            .await?;
        accessor.with(|mut access| {
            let state = access.get();
            match opened {
                Err(error) => Ok(Err(error)),
                Ok(_) if state.open.mqtt >= limits::BROKER_CONNECTIONS_MAX => Ok(Err(Error::TooManyConnections)),
                Ok(connection) => {
                    state.open.mqtt += 1;
                    Ok(Ok(state.table.push(Connection(connection))?))
                }
            }
        })
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        topic: String,
        payload: Payload,
        qos: Qos,
    ) -> Answer<()> {
        let (component, connection) = accessor.with(|mut access| {
            let state = access.get();
            wasmtime::error::Ok((state.component.clone(), state.table.get(&connection)?.0.clone()))
        })?;
        let work = async { Ok(connection.publish(&topic, payload, qos.into()).await?) };
        component
            .caller
            .call("mqtt.publish", || topic.clone(), Error::Other, work)
            .await
    }
}

impl From<MqttError> for Error {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::InvalidAddress => Self::InvalidAddress,
            MqttError::TooManyConnections => Self::TooManyConnections,
            MqttError::ConnectionFailed(text) => Self::ConnectionFailed(text),
            MqttError::Other(text) => Self::Other(text),
        }
    }
}

impl From<Qos> for MqttQos {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}
