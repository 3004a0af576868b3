//! The runtime configuration, `runtime-config.toml`: where an application's state is.
//!
//! The format is Spin's. Only those of its types are known that the embedded engine has: stores of type `spin` (a SQLite
//! file) and `redis`, databases of type `spin`, providers of variables of type `env` and `static`.

mod convert;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::toml_source::TomlSource;

/// The label of the store and of the database that are there without configuration.
pub const DEFAULT_LABEL: &str = "default";
/// Where everything is that an application keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// The folder of the default stores; absolute.
    pub state_dir: PathBuf,
    /// The folder of the components' output; `None` when it isn't to be written.
    pub log_dir: Option<PathBuf>,
    /// The key-value stores, by label; `default` is always there.
    pub key_value_stores: BTreeMap<String, KeyValueStoreConfig>,
    /// The SQLite databases, by label; `default` is always there.
    pub sqlite_databases: BTreeMap<String, SqliteDatabaseConfig>,
    /// Who is asked for the values of variables, in this order. The environment is always the last.
    pub variables_providers: Vec<VariablesProvider>,
}

/// Where a key-value store is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyValueStoreConfig {
    /// A SQLite file.
    Spin {
        /// The file; absolute.
        path: PathBuf,
    },
    /// A Redis server.
    Redis {
        /// `redis://…` or `rediss://…`. `Debug` doesn't show it: it may hold a password.
        url: String,
    },
}

impl fmt::Debug for KeyValueStoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spin { path } => formatter.debug_struct("Spin").field("path", path).finish(),
            Self::Redis { .. } => formatter.write_str("Redis { url: (not shown) }"),
        }
    }
}

/// Where a SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqliteDatabaseConfig {
    /// A file.
    Spin {
        /// The file; absolute.
        path: PathBuf,
        /// Whether a component may ATTACH other files.
        allow_attach_file: bool,
    },
}

/// Who knows values of variables.
#[derive(Clone, PartialEq, Eq)]
pub enum VariablesProvider {
    /// The environment.
    Env {
        /// What the names of environment variables begin with, without the underscore behind it.
        prefix: String,
        /// A file of `NAME=value` lines that is asked after the environment; absolute.
        dotenv_path: Option<PathBuf>,
    },
    /// The configuration itself.
    Static {
        /// Values by name. `Debug` doesn't show them.
        values: BTreeMap<String, String>,
    },
}

impl fmt::Debug for VariablesProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { prefix, dotenv_path } => formatter
                .debug_struct("Env")
                .field("prefix", prefix)
                .field("dotenv_path", dotenv_path)
                .finish(),
            Self::Static { values } => formatter.debug_tuple("Static").field(&values.keys()).finish(),
        }
    }
}

/// The folders that relative paths are relative to.
#[derive(Debug, Clone)]
pub struct RuntimeFolders {
    /// The manifest's folder; absolute.
    pub application: PathBuf,
    /// The folder the process runs in; absolute.
    pub current: PathBuf,
    /// `--state-dir`: wins over the configuration's.
    pub state_dir: Option<PathBuf>,
}

impl RuntimeConfig {
    /// Reads a runtime configuration; the defaults where there is no file.
    pub fn read(file: Option<&Path>, folders: &RuntimeFolders) -> Result<Self, ConfigError> {
        match file {
            None => Self::parse("", &folders.current.join("runtime-config.toml"), folders),
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|cause| ConfigError::CannotRead {
                    file: file.to_owned(),
                    cause,
                })?;
                Self::parse(&text, file, folders)
            }
        }
    }

    /// Parses the text of a runtime configuration; `file` is its name.
    pub fn parse(text: &str, file: &Path, folders: &RuntimeFolders) -> Result<Self, ConfigError> {
        convert::runtime_config(TomlSource { file, text }, folders)
    }
}

#[cfg(test)]
mod tests;
