//! What can be checked before anything starts: each mistake is one sentence that says what and where.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use selvedge::relay::consumer;
use selvedge::subscription::{Address, Subscriptions};
use selvedge::{bell, schema};

use crate::Error;
use crate::config::{
    AllowedHosts, Manifest, RuntimeConfig, SqliteDatabaseConfig, Variables, check_component, mounted_files, validate,
};

/// The file that says who hears what, by the name under which the relay sees it.
const SUBSCRIPTIONS: &str = "subscriptions.toml";

/// Checks the manifest, the files that it names, the components, the subscriptions, the state folder, and the databases' schema.
///
/// # Errors
/// The first mistake that is found.
pub fn check(manifest: &Manifest, runtime: &RuntimeConfig, variables: &Variables) -> Result<(), Error> {
    validate(manifest, runtime, variables)?;
    for component in manifest.components.values() {
        check_code(manifest, &component.id, &component.source)?;
    }
    if let Some(path) = subscriptions_file(manifest)? {
        let subscriptions = check_subscriptions(&path, manifest)?;
        check_webhooks(&path, &subscriptions, manifest, variables)?;
    }
    check_writable(&runtime.state_dir)?;
    for SqliteDatabaseConfig::Spin { path, .. } in runtime.sqlite_databases.values() {
        check_schema(path)?;
    }
    Ok(())
}

/// Checks that the file at `path` can be the code of a component: that Spin would run it too, and that what triggers the
/// component finds there what it calls.
pub(crate) fn check_code(manifest: &Manifest, id: &str, path: &Path) -> Result<(), Error> {
    let (id, path) = (id.to_owned(), path.to_owned());
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let cause = error.into();
            return Err(Error::Component { id, path, cause });
        }
    };
    check_component(&bytes, &manifest.trigger_types_of(&id)).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let problems = problems.join("; ");
        Error::Platform { id, path, problems }
    })
}

/// The subscriptions of whichever component reads some.
fn subscriptions_file(manifest: &Manifest) -> Result<Option<PathBuf>, Error> {
    for component in manifest.components.values() {
        let files = mounted_files(manifest, component)?;
        if let Some(file) = files.into_iter().find(|file| file.guest == Path::new(SUBSCRIPTIONS)) {
            return Ok(Some(file.host));
        }
    }
    Ok(None)
}

fn check_subscriptions(path: &Path, manifest: &Manifest) -> Result<Subscriptions, Error> {
    let failed = |cause| Error::File {
        path: path.to_owned(),
        action: "read",
        cause,
    };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let wrong = |message: String| Error::Subscriptions {
        path: path.to_owned(),
        message,
    };
    let subscriptions = Subscriptions::parse(&text).map_err(|error| wrong(error.to_string()))?;
    let unknown = subscriptions
        .components()
        .find(|(component, _)| !manifest.components.contains_key(*component));
    let topic = subscriptions
        .of_brokers()
        .find(|(from, _)| matches!(from, Address::Kafka { .. }));
    if let Some((from, subscription)) = topic
        && !manifest.components.contains_key(consumer::COMPONENT)
    {
        return Err(wrong(format!(
            "subscriptions.toml: the subscription {} hears {from}, and {} has no component {}, which consumes topics; add it as \
             spin.kafka.toml has it",
            subscription.name,
            manifest.file.display(),
            consumer::COMPONENT
        )));
    }
    match unknown {
        None => Ok(subscriptions),
        Some((component, line)) => {
            let known: Vec<&str> = manifest.components.keys().map(String::as_str).collect();
            let known = known.join(", ");
            let message = format!(
                "subscriptions.toml, line {line}: the target function:{component} names no component of {}; use one of {known}",
                manifest.file.display()
            );
            Err(wrong(message))
        }
    }
}

/// Checks that the relay may reach the webhooks that subscriptions are for.
fn check_webhooks(
    path: &Path,
    subscriptions: &Subscriptions,
    manifest: &Manifest,
    variables: &Variables,
) -> Result<(), Error> {
    let Some(relay) = manifest.components.get(bell::RELAY) else {
        return Ok(());
    };
    let allowed = AllowedHosts::resolve(manifest, relay, variables)?;
    match subscriptions
        .webhooks()
        .find(|(url, _)| !allowed.allows_url(url, "https"))
    {
        None => Ok(()),
        Some((url, line)) => Err(Error::Subscriptions {
            path: path.to_owned(),
            message: format!(
                "subscriptions.toml, line {line}: the relay may not reach {url}; add its scheme and host to the \
                 allowed_outbound_hosts of [component.{}] in {}",
                bell::RELAY,
                manifest.file.display()
            ),
        }),
    }
}

/// Creates the state folder and a file in it, which it removes again.
fn check_writable(state_dir: &Path) -> Result<(), Error> {
    let failed = |action| {
        let path = state_dir.to_owned();
        move |cause| Error::File { path, action, cause }
    };
    std::fs::create_dir_all(state_dir).map_err(failed("created"))?;
    tempfile::NamedTempFile::new_in(state_dir).map_err(failed("written"))?;
    Ok(())
}

/// Refuses a database that a newer kernel wrote. One that isn't there yet, or has no schema yet, is fine.
fn check_schema(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let unreadable = |error: rusqlite::Error| Error::Store {
        message: format!("the database {} can't be read: {error}", path.display()),
    };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unreadable)?;
    let has_versions = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let has_versions: i64 = connection
        .query_row(has_versions, [schema::VERSION_TABLE], |row| row.get(0))
        .map_err(unreadable)?;
    if has_versions == 0 {
        return Ok(());
    }
    let version = format!("SELECT version FROM {} WHERE name = ?1", schema::VERSION_TABLE);
    let found: Option<i64> = connection
        .query_row(&version, [schema::OWNER], |row| row.get(0))
        .optional()
        .map_err(unreadable)?;
    match found {
        Some(found) if found > schema::VERSION => Err(Error::NewerSchema {
            path: path.to_owned(),
            found,
            known: schema::VERSION,
        }),
        Some(found) if schema::is_preview(found) => Err(Error::PreviewSchema { path: path.to_owned() }),
        _ => Ok(()),
    }
}
