//! Batches of keys through `wasi:keyvalue`.

use std::cell::OnceCell;

use spin_sdk::experimental::wasi::keyvalue::store::{self, Bucket, Error as StoreError};
use spin_sdk::experimental::wasi::keyvalue::{atomics, batch};

use crate::Error;

const NAME: &str = "default";

/// The store, opened at first use and kept for as long as the instance lives.
#[derive(Default)]
pub(super) struct KeyValue {
    bucket: OnceCell<Bucket>,
}

impl KeyValue {
    /// Stores differ in whether a key that doesn't exist is answered with nothing or not at all.
    pub(super) fn get_many(&self, keys: &[String]) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let pairs = batch::get_many(self.bucket()?, keys).map_err(store_error)?;
        Ok(pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect())
    }

    pub(super) fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Error> {
        batch::set_many(self.bucket()?, pairs).map_err(store_error)
    }

    pub(super) fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        batch::delete_many(self.bucket()?, keys).map_err(store_error)
    }

    pub(super) fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        atomics::increment(self.bucket()?, key, delta).map_err(store_error)
    }

    fn bucket(&self) -> Result<&Bucket, Error> {
        if self.bucket.get().is_none() {
            _ = self.bucket.set(store::open(NAME).map_err(store_error)?);
        }
        Ok(self.bucket.get().expect("it was opened just now"))
    }
}

fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::NoSuchStore | StoreError::AccessDenied => Error::Configuration {
            name: format!("the key-value store \"{NAME}\""),
            reason: "isn't the component's to use: add `key_value_stores = [\"default\"]` in spin.toml".to_owned(),
        },
        StoreError::Other(detail) => Error::KeyValue { detail },
    }
}
