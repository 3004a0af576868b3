//! `spin:variables@3.0.0`.

use wasmtime::component::Accessor;

use super::{Host, InstanceState};
use crate::bindings::spin::variables::variables::{Error, Host as VariablesHost, HostWithStore};

impl VariablesHost for InstanceState {}

impl<T: Send + 'static> HostWithStore<T> for Host {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<Result<String, Error>> {
        let component = accessor.with(|mut access| access.get().component.clone());
        let work = async { component.variable(&name) };
        component
            .caller
            .call("variables.get", || name.clone(), Error::Provider, work)
            .await
    }
}
