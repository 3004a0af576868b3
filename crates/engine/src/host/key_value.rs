//! `spin:key-value@3.0.0`.

use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Host, InstanceState};
use crate::bindings::spin::key_value::key_value::{Error, Host as KeyValueHost, HostStore, HostStoreWithStore};
use crate::component::Definition;
use crate::limits;
use crate::ports::{KeyValueError, KeyValueStore};

/// A guest's handle to a store; `spin:key-value`'s `store` and `wasi:keyvalue`'s `bucket` alike.
#[derive(Clone)]
pub struct Store(pub(super) Arc<dyn KeyValueStore>);

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Definition {
    /// The store of that label, if the manifest names it and the runtime configuration has it.
    pub(super) fn key_value_store(&self, label: &str) -> Result<Store, KeyValueError> {
        if !self.key_value_stores.iter().any(|allowed| allowed == label) {
            return Err(KeyValueError::AccessDenied);
        }
        self.ports
            .key_value
            .store(label)
            .map(Store)
            .ok_or(KeyValueError::NoSuchStore)
    }
}

impl InstanceState {
    pub(super) fn store(&self, handle: &Resource<Store>) -> wasmtime::Result<Store> {
        Ok(self.table.get(handle)?.clone())
    }

    pub(super) fn keep_store(
        &mut self,
        opened: Result<Store, KeyValueError>,
    ) -> wasmtime::Result<Result<Resource<Store>, KeyValueError>> {
        match opened {
            Err(error) => Ok(Err(error)),
            Ok(_) if self.open.key_value >= limits::KEY_VALUE_STORES_MAX => Ok(Err(KeyValueError::StoreTableFull)),
            Ok(store) => {
                self.open.key_value += 1;
                Ok(Ok(self.table.push(store)?))
            }
        }
    }

    pub(super) fn drop_store(&mut self, handle: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.open.key_value -= 1;
        Ok(())
    }
}

/// The caller's definition and the store behind a handle.
fn resolve<T>(
    accessor: &Accessor<T, Host>,
    handle: &Resource<Store>,
) -> wasmtime::Result<(Arc<Definition>, Arc<dyn KeyValueStore>)> {
    accessor.with(|mut access| {
        let state = access.get();
        Ok((state.component.clone(), state.store(handle)?.0))
    })
}

impl KeyValueHost for InstanceState {}

impl HostStore for InstanceState {
    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.drop_store(store)
    }
}

impl<T: Send + 'static> HostStoreWithStore<T> for Host {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Answer<Resource<Store>> {
        accessor.with(|mut access| {
            let state = access.get();
            let opened = state.component.key_value_store(&label);
            Ok(state.keep_store(opened)?.map_err(Error::from))
        })
    }

    async fn get(accessor: &Accessor<T, Self>, store: Resource<Store>, key: String) -> Answer<Option<Vec<u8>>> {
        let (component, store) = resolve(accessor, &store)?;
        let work = async { Ok(store.get_many(vec![key.clone()]).await?.pop().flatten()) };
        component
            .caller
            .call("key-value.get", || key.clone(), Error::Other, work)
            .await
    }

    async fn set(accessor: &Accessor<T, Self>, store: Resource<Store>, key: String, value: Vec<u8>) -> Answer<()> {
        let (component, store) = resolve(accessor, &store)?;
        let work = async { Ok(store.set_many(vec![(key.clone(), value)]).await?) };
        component
            .caller
            .call("key-value.set", || key.clone(), Error::Other, work)
            .await
    }

    async fn delete(accessor: &Accessor<T, Self>, store: Resource<Store>, key: String) -> Answer<()> {
        let (component, store) = resolve(accessor, &store)?;
        let work = async { Ok(store.delete_many(vec![key.clone()]).await?) };
        component
            .caller
            .call("key-value.delete", || key.clone(), Error::Other, work)
            .await
    }

    async fn exists(accessor: &Accessor<T, Self>, store: Resource<Store>, key: String) -> Answer<bool> {
        let (component, store) = resolve(accessor, &store)?;
        let work = async { Ok(store.get_many(vec![key.clone()]).await?.pop().flatten().is_some()) };
        component
            .caller
            .call("key-value.exists", || key.clone(), Error::Other, work)
            .await
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), Error>>)> {
        let (component, store) = resolve(accessor, &store)?;
        let work = async { Ok(store.keys().await?) };
        let answer = component
            .caller
            .call("key-value.get-keys", String::new, Error::Other, work)
            .await?;
        let (keys, end) = match answer {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, keys)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(end) })?;
            Ok((keys, end))
        })
    }
}

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::StoreTableFull => Self::StoreTableFull,
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            KeyValueError::Other(text) => Self::Other(text),
        }
    }
}
