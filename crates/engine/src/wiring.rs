//! From a runtime configuration to the real side of the ports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use crate::config::{KeyValueStoreConfig, RuntimeConfig, SqliteDatabaseConfig};
use crate::ports::{KeyValueError, KeyValueStore, KeyValueStores, Ports};
use crate::real::{
    ComponentOutput, KeyValueFile, KeyValueRedis, RealNetwork, SqliteDatabases, SystemClock, SystemRandom,
};

/// Where components' output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputTo {
    /// To files in the runtime configuration's log folder.
    pub files: bool,
    /// To the terminal, each line with its component before it.
    pub terminal: bool,
}

/// The real ports that `runtime` asks for. Creates folders and files that aren't there.
///
/// # Errors
/// [`Error::Store`] where a store can't be opened, [`Error::File`] where the log folder can't be created.
pub fn real_ports(runtime: &RuntimeConfig, output: OutputTo) -> Result<Ports, Error> {
    let log_folder = runtime.log_dir.clone().filter(|_| output.files);
    let refused = |cause| Error::File {
        path: runtime.log_dir.clone().unwrap_or_default(),
        action: "created",
        cause,
    };
    let databases = runtime
        .sqlite_databases
        .iter()
        .map(|(label, SqliteDatabaseConfig::Spin { path, .. })| (label.clone(), path.clone()));
    let sql = SqliteDatabases::new(databases).map_err(|error| Error::Store {
        message: error.to_string(),
    })?;
    Ok(Ports {
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
        key_value: Arc::new(Stores::open(&runtime.key_value_stores)?),
        sql: Arc::new(sql),
        network: Arc::new(RealNetwork::new()),
        output: Arc::new(ComponentOutput::new(log_folder, !output.terminal).map_err(refused)?),
        gate: None,
    })
}

/// The configured key-value stores, by label.
struct Stores(BTreeMap<String, Arc<dyn KeyValueStore>>);

impl Stores {
    fn open(configured: &BTreeMap<String, KeyValueStoreConfig>) -> Result<Self, Error> {
        let failed = |error: KeyValueError| Error::Store {
            message: error.to_string(),
        };
        let mut files: BTreeMap<PathBuf, Arc<KeyValueFile>> = BTreeMap::new();
        let mut stores: BTreeMap<String, Arc<dyn KeyValueStore>> = BTreeMap::new();
        for (label, store) in configured {
            let store: Arc<dyn KeyValueStore> = match store {
                KeyValueStoreConfig::Redis { url } => Arc::new(KeyValueRedis::new(url).map_err(failed)?),
                KeyValueStoreConfig::Spin { path } => {
                    let file = match files.get(path) {
                        Some(file) => file.clone(),
                        None => KeyValueFile::open(path).map_err(failed)?,
                    };
                    files.insert(path.clone(), file.clone());
                    file.store(label)
                }
            };
            stores.insert(label.clone(), store);
        }
        Ok(Self(stores))
    }
}

impl KeyValueStores for Stores {
    fn store(&self, label: &str) -> Option<Arc<dyn KeyValueStore>> {
        self.0.get(label).cloned()
    }
}
