//! `wasi:keyvalue@0.2.0-draft2`: `store`, `batch` and `atomics`.

use wasmtime::component::Resource;

use super::InstanceState;
use super::key_value::Store;
use crate::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::ports::KeyValueError;
use store::{Error, KeyResponse};

/// A guest's compare-and-swap: the bucket, the key, and the value that was read when it was made.
pub struct Cas {
    store: Store,
    key: String,
    current: Option<Vec<u8>>,
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            other => Self::Other(other.to_string()),
        }
    }
}

impl store::Host for InstanceState {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Store>> {
        let opened = self.component.key_value_store(&identifier);
        Ok(self.keep_store(opened)?.map_err(Error::from))
    }
}

impl store::HostBucket for InstanceState {
    async fn get(&mut self, bucket: Resource<Store>, key: String) -> Answer<Option<Vec<u8>>> {
        let store = self.store(&bucket)?.0;
        let work = async { Ok(store.get_many(vec![key.clone()]).await?.pop().flatten()) };
        self.component
            .caller
            .call("keyvalue.get", || key.clone(), Error::Other, work)
            .await
    }

    async fn set(&mut self, bucket: Resource<Store>, key: String, value: Vec<u8>) -> Answer<()> {
        let store = self.store(&bucket)?.0;
        let work = async { Ok(store.set_many(vec![(key.clone(), value)]).await?) };
        self.component
            .caller
            .call("keyvalue.set", || key.clone(), Error::Other, work)
            .await
    }

    async fn delete(&mut self, bucket: Resource<Store>, key: String) -> Answer<()> {
        let store = self.store(&bucket)?.0;
        let work = async { Ok(store.delete_many(vec![key.clone()]).await?) };
        self.component
            .caller
            .call("keyvalue.delete", || key.clone(), Error::Other, work)
            .await
    }

    async fn exists(&mut self, bucket: Resource<Store>, key: String) -> Answer<bool> {
        let store = self.store(&bucket)?.0;
        let work = async { Ok(store.get_many(vec![key.clone()]).await?.pop().flatten().is_some()) };
        self.component
            .caller
            .call("keyvalue.exists", || key.clone(), Error::Other, work)
            .await
    }

    async fn list_keys(&mut self, bucket: Resource<Store>, cursor: Option<String>) -> Answer<KeyResponse> {
        if cursor.is_some() {
            return Ok(Err(Error::Other(
                "list-keys takes no cursor: all keys come with the first call".to_owned(),
            )));
        }
        let store = self.store(&bucket)?.0;
        let work = async {
            Ok(KeyResponse {
                keys: store.keys().await?,
                cursor: None,
            })
        };
        self.component
            .caller
            .call("keyvalue.list-keys", String::new, Error::Other, work)
            .await
    }

    async fn drop(&mut self, bucket: Resource<Store>) -> wasmtime::Result<()> {
        self.drop_store(bucket)
    }
}

impl batch::Host for InstanceState {
    async fn get_many(&mut self, bucket: Resource<Store>, keys: Vec<String>) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        let store = self.store(&bucket)?.0;
        let detail = || keys.join(" ");
        let work = async {
            let values = store.get_many(keys.clone()).await?;
            Ok(keys.iter().cloned().zip(values).collect())
        };
        self.component
            .caller
            .call("keyvalue.get-many", detail, Error::Other, work)
            .await
    }

    async fn set_many(&mut self, bucket: Resource<Store>, pairs: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let store = self.store(&bucket)?.0;
        let keys: Vec<String> = match self.component.caller.gate {
            Some(_) => pairs.iter().map(|(key, _)| key.clone()).collect(),
            None => Vec::new(),
        };
        let work = async { Ok(store.set_many(pairs).await?) };
        self.component
            .caller
            .call("keyvalue.set-many", || keys.join(" "), Error::Other, work)
            .await
    }

    async fn delete_many(&mut self, bucket: Resource<Store>, keys: Vec<String>) -> Answer<()> {
        let store = self.store(&bucket)?.0;
        let detail = keys.join(" ");
        let work = async { Ok(store.delete_many(keys).await?) };
        self.component
            .caller
            .call("keyvalue.delete-many", || detail, Error::Other, work)
            .await
    }
}

impl atomics::Host for InstanceState {
    async fn increment(&mut self, bucket: Resource<Store>, key: String, delta: i64) -> Answer<i64> {
        let store = self.store(&bucket)?.0;
        let work = async { Ok(store.increment(key.clone(), delta).await?) };
        self.component
            .caller
            .call("keyvalue.increment", || key.clone(), Error::Other, work)
            .await
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { store, key, current } = self.table.delete(cas)?;
        let work = async { Ok::<bool, Error>(store.0.swap(key.clone(), current, value).await?) };
        let swapped = self
            .component
            .caller
            .call("keyvalue.swap", || key.clone(), Error::Other, work)
            .await?;
        match swapped {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                let current = store.0.get_many(vec![key.clone()]).await?.pop().flatten();
                let again = self.table.push(Cas { store, key, current })?;
                Ok(Err(atomics::CasError::CasFailed(again)))
            }
            Err(error) => Ok(Err(atomics::CasError::StoreError(error))),
        }
    }
}

impl atomics::HostCas for InstanceState {
    async fn new(&mut self, bucket: Resource<Store>, key: String) -> Answer<Resource<Cas>> {
        let store = self.store(&bucket)?;
        let current = match store.0.get_many(vec![key.clone()]).await {
            Ok(mut values) => values.pop().flatten(),
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(Ok(self.table.push(Cas { store, key, current })?))
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        let Cas { store, key, .. } = self.table.get(&cas)?;
        let (store, key) = (store.clone(), key.clone());
        let current = match store.0.get_many(vec![key]).await {
            Ok(mut values) => values.pop().flatten(),
            Err(error) => return Ok(Err(error.into())),
        };
        self.table.get_mut(&cas)?.current = current.clone();
        Ok(Ok(current))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}
