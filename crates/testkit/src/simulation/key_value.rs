//! Key-value stores in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use selvedge_engine::ports::{KeyValueError, KeyValueStore, KeyValueStores};

/// One store, shared by every node of a world, under every label.
#[derive(Debug, Clone, Default)]
pub struct MemoryKeyValue(Arc<Mutex<Contents>>);

/// What a store holds. Counters are kept apart: Spin promises nothing of their encoding.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Keys and values.
    pub values: BTreeMap<String, Vec<u8>>,
    /// Counters of `increment`.
    pub counters: BTreeMap<String, i64>,
}

impl MemoryKeyValue {
    /// A store that holds this.
    pub(super) fn with(contents: Contents) -> Self {
        Self(Arc::new(Mutex::new(contents)))
    }

    /// What the store holds now.
    pub fn contents(&self) -> Contents {
        self.lock().clone()
    }

    /// Loses every key that begins with this, for a test that breaks something on purpose.
    pub fn remove_prefix(&self, prefix: &str) {
        self.lock().values.retain(|key, _| !key.starts_with(prefix));
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValueStores for MemoryKeyValue {
    fn store(&self, _label: &str) -> Option<Arc<dyn KeyValueStore>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl KeyValueStore for MemoryKeyValue {
    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, KeyValueError> {
        let contents = self.lock();
        Ok(keys.iter().map(|key| contents.values.get(key).cloned()).collect())
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        self.lock().values.extend(pairs);
        Ok(())
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        let mut contents = self.lock();
        for key in keys {
            contents.values.remove(&key);
            contents.counters.remove(&key);
        }
        Ok(())
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError> {
        let mut contents = self.lock();
        let counter = contents.counters.entry(key).or_default();
        *counter += delta;
        Ok(*counter)
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let contents = self.lock();
        Ok(contents
            .values
            .keys()
            .chain(contents.counters.keys())
            .cloned()
            .collect())
    }

    async fn swap(&self, key: String, current: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool, KeyValueError> {
        let mut contents = self.lock();
        let holds = contents.values.get(&key) == current.as_ref();
        if holds {
            contents.values.insert(key, value);
        }
        Ok(holds)
    }
}
