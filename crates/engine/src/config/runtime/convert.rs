//! From the runtime configuration as TOML writes it to the typed one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::{
    DEFAULT_LABEL, KeyValueStoreConfig, RuntimeConfig, RuntimeFolders, SqliteDatabaseConfig, VariablesProvider,
};
use crate::config::error::{ConfigError, Location};
use crate::config::toml_source::{KeyedTable, TomlSource};

const DEFAULT_STATE_DIR: &str = ".spin";
const DEFAULT_KEY_VALUE_FILE: &str = "sqlite_key_value.db";
const DEFAULT_DATABASE_FILE: &str = "sqlite_db.db";
const DEFAULT_ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE";

const SUPPORTED_KEYS: [&str; 6] = [
    "state_dir",
    "log_dir",
    "key_value_store",
    "sqlite_database",
    "variables_provider",
    "config_provider",
];
const KEYS_OF_SPIN_ONLY: [&str; 9] = [
    "client_tls",
    "llm_compute",
    "max_instance_memory",
    "outbound_http",
    "outbound_mqtt",
    "outbound_mysql",
    "outbound_networking",
    "outbound_pg",
    "outbound_redis",
];

/// A table whose keys depend on its `type`.
type Table = Spanned<BTreeMap<String, Spanned<toml::Value>>>;
type Tables = BTreeMap<Spanned<String>, Table>;

#[derive(Deserialize)]
struct RuntimeShape {
    state_dir: Option<Spanned<String>>,
    log_dir: Option<Spanned<String>>,
    #[serde(default)]
    key_value_store: Tables,
    #[serde(default)]
    sqlite_database: Tables,
    variables_provider: Option<Vec<Table>>,
    config_provider: Option<Spanned<Vec<Table>>>,
}

pub fn runtime_config(source: TomlSource<'_>, folders: &RuntimeFolders) -> Result<RuntimeConfig, ConfigError> {
    check_keys(source)?;
    let mut shape: RuntimeShape = source.parse()?;
    let state_dir = state_dir(source, shape.state_dir.take(), folders)?;
    let log_dir = match shape.log_dir.take() {
        None => Some(state_dir.join("logs")),
        Some(folder) if folder.get_ref().is_empty() => None,
        Some(folder) => Some(folders.current.join(folder.get_ref())),
    };
    let file_folder = folders.current.join(source.file.parent().unwrap_or(Path::new("")));
    let mut key_value_stores = BTreeMap::new();
    for (label, table) in std::mem::take(&mut shape.key_value_store) {
        let table = KeyedTable::new(source, format!("[key_value_store.{}]", label.get_ref()), table);
        key_value_stores.insert(label.into_inner(), key_value_store(table, &file_folder)?);
    }
    let default_store = KeyValueStoreConfig::Spin {
        path: state_dir.join(DEFAULT_KEY_VALUE_FILE),
    };
    key_value_stores
        .entry(DEFAULT_LABEL.to_owned())
        .or_insert(default_store);

    let mut sqlite_databases = BTreeMap::new();
    for (label, table) in std::mem::take(&mut shape.sqlite_database) {
        let table = KeyedTable::new(source, format!("[sqlite_database.{}]", label.get_ref()), table);
        sqlite_databases.insert(label.into_inner(), sqlite_database(table, &folders.current)?);
    }
    let path = state_dir.join(DEFAULT_DATABASE_FILE);
    let default_database = SqliteDatabaseConfig::Spin {
        path,
        allow_attach_file: false,
    };
    sqlite_databases
        .entry(DEFAULT_LABEL.to_owned())
        .or_insert(default_database);

    let variables_providers = variables_providers(source, shape, &folders.current)?;
    Ok(RuntimeConfig {
        state_dir,
        log_dir,
        key_value_stores,
        sqlite_databases,
        variables_providers,
    })
}

fn variables_providers(
    source: TomlSource<'_>,
    shape: RuntimeShape,
    current: &Path,
) -> Result<Vec<VariablesProvider>, ConfigError> {
    if let (Some(_), Some(old)) = (&shape.variables_provider, &shape.config_provider) {
        let problem = "[[config_provider]] is the old name of [[variables_provider]], and both are there";
        return Err(ConfigError::invalid(
            source.at(&old.span()),
            problem,
            "use the new name for all of them",
        ));
    }
    let tables = shape
        .variables_provider
        .or(shape.config_provider.map(Spanned::into_inner))
        .unwrap_or_default();
    let mut providers = Vec::new();
    for table in tables {
        let table = KeyedTable::new(source, "[[variables_provider]]".to_owned(), table);
        providers.push(variables_provider(table, current)?);
    }
    providers.push(VariablesProvider::Env {
        prefix: DEFAULT_ENVIRONMENT_PREFIX.to_owned(),
        dotenv_path: Some(current.join(".env")),
    });
    Ok(providers)
}

/// Refuses keys that aren't known, and those that only Spin knows, before anything else is read.
fn check_keys(source: TomlSource<'_>) -> Result<(), ConfigError> {
    let keys: BTreeMap<Spanned<String>, IgnoredAny> = source.parse()?;
    let unknown = |key: &&Spanned<String>| !SUPPORTED_KEYS.contains(&key.get_ref().as_str());
    // The first in the file, not in the alphabet.
    let Some(key) = keys.keys().filter(unknown).min_by_key(|key| key.span().start) else {
        return Ok(());
    };
    let (location, name) = (source.at(&key.span()), key.get_ref());
    let supported = format!("its keys are {}", SUPPORTED_KEYS.join(", "));
    match KEYS_OF_SPIN_ONLY.contains(&name.as_str()) {
        true => Err(ConfigError::unsupported(
            location,
            format!("the key `{name}`"),
            supported,
        )),
        false => {
            let problem = format!("the runtime configuration has an unknown key `{name}`");
            Err(ConfigError::invalid(location, problem, supported))
        }
    }
}

fn state_dir(
    source: TomlSource<'_>,
    configured: Option<Spanned<String>>,
    folders: &RuntimeFolders,
) -> Result<PathBuf, ConfigError> {
    match (&folders.state_dir, configured) {
        (Some(folder), _) => Ok(folders.current.join(folder)),
        (None, Some(folder)) if folder.get_ref().is_empty() => {
            let problem = "an empty `state_dir` would keep the default stores in memory and lose them";
            Err(ConfigError::invalid(
                source.at(&folder.span()),
                problem,
                "name a folder, or remove the key",
            ))
        }
        (None, Some(folder)) => Ok(folders.current.join(folder.get_ref())),
        (None, None) => Ok(folders.application.join(DEFAULT_STATE_DIR)),
    }
}

fn key_value_store(mut table: KeyedTable<'_>, folder: &Path) -> Result<KeyValueStoreConfig, ConfigError> {
    let (kind, location) = table.require_text("type", "\"spin\"")?;
    let store = match kind.as_str() {
        "spin" => KeyValueStoreConfig::Spin {
            path: required_path(&mut table, folder, DEFAULT_KEY_VALUE_FILE)?,
        },
        "redis" => {
            let (url, location) = table.require_text("url", "\"redis://127.0.0.1:6379\"")?;
            if !url.starts_with("redis://") && !url.starts_with("rediss://") {
                let problem = "the `url` of a key-value store is no redis:// or rediss:// URL";
                return Err(ConfigError::invalid(
                    location,
                    problem,
                    "write for example \"redis://127.0.0.1:6379\"",
                ));
            }
            KeyValueStoreConfig::Redis { url }
        }
        _ => {
            return Err(unknown_type(
                location,
                "key-value store",
                &kind,
                &["azure_cosmos", "aws_dynamo"],
                "spin, redis",
            ));
        }
    };
    table.finish().map(|()| store)
}

fn sqlite_database(mut table: KeyedTable<'_>, folder: &Path) -> Result<SqliteDatabaseConfig, ConfigError> {
    let (kind, location) = table.require_text("type", "\"spin\"")?;
    if kind != "spin" {
        return Err(unknown_type(location, "SQLite database", &kind, &["libsql"], "spin"));
    }
    let path = required_path(&mut table, folder, DEFAULT_DATABASE_FILE)?;
    let allow_attach_file = table.take_bool("allow_attach_file")?;
    table.finish().map(|()| SqliteDatabaseConfig::Spin {
        path,
        allow_attach_file,
    })
}

/// Spin keeps a store of type `spin` without a path in memory, apart for each trigger. That loses events.
fn required_path(table: &mut KeyedTable<'_>, folder: &Path, example: &str) -> Result<PathBuf, ConfigError> {
    match table.take_text("path")? {
        Some((path, _)) if !path.is_empty() => Ok(folder.join(path)),
        _ => {
            let problem = "a store of type \"spin\" without a `path` is kept in memory by Spin and lost";
            let remedy =
                format!("add for example `path = \".spin/{example}\"`, or remove the table of the default store");
            Err(ConfigError::invalid(table.location(), problem, remedy))
        }
    }
}

fn variables_provider(mut table: KeyedTable<'_>, current: &Path) -> Result<VariablesProvider, ConfigError> {
    let (kind, location) = table.require_text("type", "\"env\"")?;
    let provider = match kind.as_str() {
        "env" => VariablesProvider::Env {
            prefix: table
                .take_text("prefix")?
                .map_or_else(|| DEFAULT_ENVIRONMENT_PREFIX.to_owned(), |(text, _)| text),
            dotenv_path: table.take_text("dotenv_path")?.map(|(path, _)| current.join(path)),
        },
        "static" => VariablesProvider::Static {
            values: static_values(&mut table)?,
        },
        _ => {
            let of_spin_only = ["azure_key_vault", "vault"];
            return Err(unknown_type(
                location,
                "variables provider",
                &kind,
                &of_spin_only,
                "env, static",
            ));
        }
    };
    table.finish().map(|()| provider)
}

fn static_values(table: &mut KeyedTable<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let location = table.location();
    let entries = match table.take("values").map(Spanned::into_inner) {
        Some(toml::Value::Table(entries)) => entries,
        Some(other) => return Err(table.wrong_type(location, "values", "a table of texts", &other)),
        None => {
            let problem = "a static variables provider has no `values`";
            return Err(ConfigError::invalid(
                location,
                problem,
                "add for example `values = { name = \"value\" }`",
            ));
        }
    };
    let mut values = BTreeMap::new();
    for (name, value) in entries {
        match value {
            toml::Value::String(text) => values.insert(name, text),
            other => return Err(table.wrong_type(location, &format!("values.{name}"), "a string", &other)),
        };
    }
    Ok(values)
}

fn unknown_type(location: Location, what: &str, kind: &str, of_spin_only: &[&str], supported: &str) -> ConfigError {
    let remedy = format!("the supported types are: {supported}");
    match of_spin_only.contains(&kind) {
        true => ConfigError::unsupported(location, format!("a {what} of type \"{kind}\""), remedy),
        false => ConfigError::invalid(location, format!("there is no {what} of type \"{kind}\""), remedy),
    }
}
