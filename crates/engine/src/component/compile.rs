//! From a `.wasm` file to code that can be instantiated: compiled once, kept in a cache on disk.

use std::path::{Path, PathBuf};

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::Cache;
use crate::Error;
use crate::host::{self, InstanceState};
use crate::limits;

/// Compiles components for one engine.
pub(crate) struct Compiler {
    pub engine: Engine,
    linker: Linker<InstanceState>,
    cache: Option<Cache>,
}

impl Compiler {
    /// A compiler that keeps compiled code in `cache`; `None`: nothing is kept.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, Error> {
        let engine = engine().map_err(Error::Engine)?;
        let linker = host::linker(&engine).map_err(Error::Engine)?;
        Ok(Self {
            engine,
            linker,
            cache: cache.map(Cache::new),
        })
    }

    /// The code of the component at `path`.
    pub fn load(&self, id: &str, path: &Path) -> Result<InstancePre<InstanceState>, Error> {
        let refused = |cause| Error::Component {
            id: id.to_owned(),
            path: path.to_owned(),
            cause,
        };
        let bytes = std::fs::read(path).map_err(|error| refused(error.into()))?;
        let component = match &self.cache {
            Some(cache) => cache.load(&self.engine, &bytes),
            None => Component::new(&self.engine, bytes),
        };
        let component = component.map_err(refused)?;
        self.linker.instantiate_pre(&component).map_err(refused)
    }
}

fn engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::INSTANCES_MAX)
        .total_core_instances(limits::INSTANCES_MAX * 8)
        .total_memories(limits::INSTANCES_MAX)
        .total_tables(limits::INSTANCES_MAX * 4)
        .total_stacks(limits::INSTANCES_MAX * 4)
        .max_core_instances_per_component(16)
        .max_tables_per_component(16)
        .table_elements(100_000)
        .max_component_instance_size(4 * 1024 * 1024)
        .max_core_instance_size(4 * 1024 * 1024)
        .max_memory_size(limits::INSTANCE_MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(512 * 1024)
        .table_keep_resident(16 * 1024);
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}
