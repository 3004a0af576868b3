//! The tables, and how a database comes to have them.
//!
//! Whoever opens the database brings its tables up to date first: [`ensure`] reads one row when they are. Every
//! statement of a migration is idempotent, so that any number of components may meet a new database at once.

use crate::host::{Row, Value};
use crate::idempotency::kept;
use crate::{Error, mutant, projection};

/// The table that says which version each owner's tables have: `name`, `version`.
pub const VERSION_TABLE: &str = "schema_version";

/// The name of the kernel's own tables in [`VERSION_TABLE`].
pub const OWNER: &str = KERNEL.owner;

/// The version of the kernel's own tables that this program works with.
pub const VERSION: i64 = KERNEL.version();

/// The last version of the kernel's tables in databases that a preview wrote before 0.1.0 was out.
pub const PREVIEW: i64 = 2;

/// The tables of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Whose tables they are: a function's name.
    pub owner: &'static str,
    /// The statements that lead from each version to the next, the first from nothing to version 1. Every one of them
    /// does no harm when it is run again. A migration that was released never changes.
    pub migrations: &'static [&'static [&'static str]],
}

impl Tables {
    /// The version that the last migration leads to.
    pub const fn version(&self) -> i64 {
        self.migrations.len() as i64
    }
}

/// The kernel's own tables.
pub const KERNEL: Tables = Tables {
    owner: "selvedge",
    // The first versions were previews'. Their tables aren't taken over: `ensure` says so.
    migrations: &[
        &[],
        &[],
        &[
            // Every event ever accepted, in order. It is the outbox too: what a subscription still has to hear is what lies
            // after its cursor.
            "CREATE TABLE IF NOT EXISTS journal (
            position INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            source TEXT NOT NULL,
            type TEXT NOT NULL,
            subject TEXT,
            stream TEXT NOT NULL,
            version INTEGER NOT NULL,
            time_ms INTEGER NOT NULL,
            datacontenttype TEXT,
            dataschema TEXT,
            extensions TEXT,
            data,
            UNIQUE (stream, version),
            UNIQUE (source, id)
        )",
            // One row: whether a relay is awake, so that nobody needs to ring, and when markers were last collected.
            "CREATE TABLE IF NOT EXISTS relay (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            token TEXT NOT NULL,
            awake_until_ms INTEGER NOT NULL,
            collected_at_ms INTEGER NOT NULL
        )",
            "INSERT INTO relay (id, token, awake_until_ms, collected_at_ms) VALUES (1, '', 0, 0) ON CONFLICT DO NOTHING",
            // How far each subscription is, who works for it and until when, up to where its done markers are gone
            // (`collected`) and up to where they may be gone (`forgotten`). The generation is the one of its function's projection
            // that its deliveries build. One that is being built has a row of its own, `<name>~<generation>`; its rate lets it
            // go up to `allowed` by now, and anywhere once there is no such number.
            "CREATE TABLE IF NOT EXISTS subscriptions (
            name TEXT PRIMARY KEY,
            cursor INTEGER NOT NULL,
            lease_token TEXT,
            leased_until_ms INTEGER NOT NULL,
            collected INTEGER NOT NULL,
            forgotten INTEGER NOT NULL DEFAULT 0,
            paused INTEGER NOT NULL DEFAULT 0,
            generation INTEGER NOT NULL DEFAULT 0,
            allowed INTEGER
        )",
            // What isn't the happy path: deliveries to be tried again, scheduled for later, or held behind a failed event of
            // their stream; dead letters, and those that an operator discarded. What an operator did stays on record: how
            // often a dead letter was redriven, how many attempts there were before that, who discarded it when and why.
            "CREATE TABLE IF NOT EXISTS exceptions (
            subscription TEXT NOT NULL,
            position INTEGER NOT NULL,
            stream TEXT NOT NULL DEFAULT '',
            state TEXT NOT NULL CHECK (state IN ('retry', 'scheduled', 'held', 'dead', 'discarded')),
            attempt INTEGER NOT NULL,
            due_at_ms INTEGER NOT NULL,
            lease_token TEXT,
            leased_until_ms INTEGER NOT NULL,
            isolated INTEGER NOT NULL,
            reason TEXT NOT NULL,
            first_at_ms INTEGER NOT NULL,
            last_at_ms INTEGER NOT NULL,
            trace TEXT,
            redrives INTEGER NOT NULL DEFAULT 0,
            earlier_attempts INTEGER NOT NULL DEFAULT 0,
            discarded_at_ms INTEGER,
            discarded_by TEXT,
            discard_reason TEXT,
            PRIMARY KEY (subscription, position)
        )",
            "CREATE INDEX IF NOT EXISTS exceptions_due ON exceptions (state, due_at_ms)",
            "CREATE INDEX IF NOT EXISTS exceptions_failed ON exceptions (state, last_at_ms)",
            "CREATE INDEX IF NOT EXISTS exceptions_stream ON exceptions (subscription, stream, position)",
            "CREATE INDEX IF NOT EXISTS exceptions_leased ON exceptions (lease_token)",
            // The state of entities as it was after one of their events: a cache, which may be emptied at any time.
            "CREATE TABLE IF NOT EXISTS snapshots (
            stream TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            shape INTEGER NOT NULL,
            event_source TEXT NOT NULL,
            event_id TEXT NOT NULL,
            state TEXT NOT NULL
        )",
            // A walk over a part of the journal that brings a subscription what it lacks: from which position to which, how
            // far it is, and when its next event may be due. One that builds a function's projection anew says which
            // function's, and under which generation.
            "CREATE TABLE IF NOT EXISTS replays (
            id TEXT PRIMARY KEY,
            subscription TEXT NOT NULL,
            mode TEXT NOT NULL CHECK (mode IN ('redeliver', 'rebuild')),
            state TEXT NOT NULL CHECK (state IN ('running', 'cancelled', 'done')),
            types TEXT NOT NULL,
            from_position INTEGER NOT NULL,
            to_position INTEGER NOT NULL,
            cursor INTEGER NOT NULL,
            rate_per_second INTEGER NOT NULL,
            next_at_ms INTEGER NOT NULL,
            redelivered INTEGER NOT NULL DEFAULT 0,
            request_digest TEXT,
            created_at_ms INTEGER NOT NULL,
            changed_at_ms INTEGER NOT NULL,
            lease_token TEXT,
            leased_until_ms INTEGER NOT NULL DEFAULT 0,
            function TEXT,
            generation INTEGER
        )",
            "CREATE INDEX IF NOT EXISTS replays_state ON replays (state, next_at_ms)",
            projection::TABLE,
            projection::RETIRED,
            projection::ON_BEGIN,
            projection::ON_SWITCH,
            projection::ON_CANCEL,
        ],
        // Answers that are kept under their key; who consumes the topic of a subscription that hears one, and until when.
        &[
            kept::TABLE,
            kept::INDEX,
            "CREATE TABLE IF NOT EXISTS consumers (
            subscription TEXT PRIMARY KEY,
            lease_token TEXT NOT NULL,
            leased_until_ms INTEGER NOT NULL
        )",
        ],
    ],
};

/// Runs one statement. The schema needs nothing else of a database, and is made before there is a host to use it.
pub type Execute<'a> = dyn FnMut(&str, Vec<Value>) -> Result<Vec<Row>, Error> + 'a;

/// Brings the kernel's tables and these up to date.
///
/// # Errors
/// [`Error::NewerSchema`] when the database was written by a newer version, [`Error::PreviewSchema`] when a preview wrote
/// it; then nothing was changed. Otherwise what the database fails with: call it again.
pub fn ensure(execute: &mut Execute<'_>, tables: &[Tables]) -> Result<(), Error> {
    let all = || std::iter::once(&KERNEL).chain(tables);
    let mut found = versions(execute)?;
    for owned in all() {
        check(owned.owner, version_of(&found, owned.owner), owned.version())?;
    }
    if is_preview(version_of(&found, OWNER)) {
        return Err(Error::PreviewSchema);
    }
    if all().all(|owned| version_of(&found, owned.owner) == owned.version()) {
        return Ok(());
    }
    create_version_table(execute)?;
    found = versions(execute)?;
    all().try_for_each(|owned| migrate(execute, owned, version_of(&found, owned.owner)))
}

/// Whether tables of version `found` can be worked with by a program that knows version `known`.
///
/// # Errors
/// [`Error::NewerSchema`] when they can't.
pub fn check(owner: &str, found: i64, known: i64) -> Result<(), Error> {
    if found <= known {
        return Ok(());
    }
    Err(Error::NewerSchema {
        owner: owner.to_owned(),
        found,
        known,
    })
}

/// Whether a preview wrote a database whose kernel tables have this version; 0 is a new database.
pub fn is_preview(found: i64) -> bool {
    (1..=PREVIEW).contains(&found)
}

fn create_version_table(execute: &mut Execute<'_>) -> Result<(), Error> {
    let statement = "CREATE TABLE IF NOT EXISTS schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL)";
    execute(statement, Vec::new()).map(drop)
}

/// The versions of all owners' tables; none in a database that has no version table yet.
fn versions(execute: &mut Execute<'_>) -> Result<Vec<(String, i64)>, Error> {
    match execute("SELECT name, version FROM schema_version", Vec::new()) {
        Ok(rows) => rows
            .into_iter()
            .map(|mut row| Ok((row.text()?, row.integer()?)))
            .collect(),
        // No other reason to fail is this one: a database that is busy or broken says so with the next statement.
        Err(Error::Database { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn version_of(versions: &[(String, i64)], owner: &str) -> i64 {
    versions
        .iter()
        .find(|(name, _)| name == owner)
        .map_or(0, |(_, version)| *version)
}

fn migrate(execute: &mut Execute<'_>, tables: &Tables, from: i64) -> Result<(), Error> {
    let done = usize::try_from(from).unwrap_or(0).min(tables.migrations.len());
    for statement in tables.migrations[done..].iter().copied().flatten() {
        let statement = mutant::cut(
            "effect_without_unique_key",
            *statement,
            ",\n            UNIQUE (generation, event_id, source)",
        );
        execute(&statement, Vec::new())?;
    }
    if done == tables.migrations.len() {
        return Ok(());
    }
    // Never back: a newer program may have been faster.
    let record = "INSERT INTO schema_version (name, version) VALUES (?, ?)
        ON CONFLICT (name) DO UPDATE SET version = excluded.version WHERE excluded.version > schema_version.version";
    execute(record, vec![tables.owner.into(), tables.version().into()]).map(drop)
}
