//! The application that the contract runs on: probe → relay → bus → listener, which is the probe once more.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rusqlite::{Connection, OpenFlags};
use selvedge_events::{Event, json};
use tempfile::TempDir;

use super::Bus;
use crate::{RealProcess, real_process};

/// How long a case waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where events of each kind go, and what their subscription has besides. An event's type is `bus.<kind>.published`.
const KINDS: [(&str, &str); 4] = [
    ("item", "max_attempts = 100"),
    ("step", "max_attempts = 100\norder = \"stream\""),
    ("poison", "max_attempts = 3"),
    ("slow", "max_attempts = 100\nmax_in_flight = 20"),
];

/// The application, on files of its own.
#[derive(Debug)]
pub struct BusApplication {
    folder: TempDir,
    variables: Vec<String>,
    process: Option<RealProcess>,
}

/// What is known of an event that a function of the application heard.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// How often the function was called with it.
    pub calls: i64,
    /// The event as it had its effect, as JSON, and its place in the order of effects.
    pub effect: Option<(i64, String)>,
}

impl BusApplication {
    /// Writes the application for a bus into a folder, and starts it. `root` is the checkout, with its components built.
    ///
    /// # Errors
    /// Where it doesn't start.
    pub fn start(bus: &dyn Bus, root: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::os::unix::fs::symlink(root.join("target"), folder.path().join("target"))?;
        std::fs::write(folder.path().join("spin.toml"), manifest(bus)?)?;
        std::fs::write(folder.path().join("subscriptions.toml"), subscriptions(bus)?)?;
        let variable = |(name, value)| ["--variable".to_owned(), format!("{name}={value}")];
        let mut application = Self {
            folder,
            variables: bus.variables().into_iter().flat_map(variable).collect(),
            process: None,
        };
        application.process = Some(application.replica()?);
        Ok(application)
    }

    /// One more process of the same application, on the same files.
    ///
    /// # Errors
    /// Where it doesn't start.
    pub fn replica(&self) -> anyhow::Result<RealProcess> {
        let variables: Vec<&str> = self.variables.iter().map(String::as_str).collect();
        let folder = self.folder.path();
        RealProcess::start(
            &real_process::binary()?,
            &folder.join("spin.toml"),
            &folder.join("state"),
            &variables,
        )
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.process.take().map_or(Ok(()), RealProcess::kill)
    }

    /// Starts it again after it was killed.
    ///
    /// # Errors
    /// Where it doesn't start.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = Some(self.replica()?);
        Ok(())
    }

    /// Where events are appended.
    ///
    /// # Panics
    /// While it is killed.
    pub fn url(&self) -> String {
        let process = self.process.as_ref().expect("the application runs");
        format!("{}/probe/events", process.url())
    }

    /// Appends events, which must be accepted.
    ///
    /// # Errors
    /// Where they aren't.
    pub fn append(&self, events: &[Event]) -> anyhow::Result<()> {
        append(&self.url(), events)
    }

    /// What the listener was called with so far, by id.
    ///
    /// # Errors
    /// What the database says.
    pub fn heard(&self) -> anyhow::Result<BTreeMap<String, Heard>> {
        let database = self.database()?;
        let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
        let mut calls = database.prepare("SELECT id, count(*) FROM calls GROUP BY id")?;
        for row in calls.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
            let (id, calls) = row?;
            heard.entry(id).or_default().calls = calls;
        }
        let mut effects = database.prepare("SELECT id, number, event FROM heard")?;
        for row in effects.query_map([], |row| Ok((row.get::<_, String>(0)?, (row.get(1)?, row.get(2)?))))? {
            let (id, effect) = row?;
            heard.entry(id).or_default().effect = Some(effect);
        }
        Ok(heard)
    }

    /// A number that the database answers a query with.
    ///
    /// # Errors
    /// What the database says.
    pub fn number(&self, query: &str) -> anyhow::Result<i64> {
        self.database()?
            .query_row(query, [], |row| row.get(0))
            .with_context(|| query.to_owned())
    }

    /// The dead letters: id, attempts, reason.
    ///
    /// # Errors
    /// What the database says.
    pub fn dead_letters(&self) -> anyhow::Result<BTreeMap<String, (i64, String)>> {
        let database = self.database()?;
        let mut statement = database
            .prepare("SELECT id, attempt, reason FROM exceptions JOIN journal USING (position) WHERE state = 'dead'")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Waits until each of these events has had its effect or is a dead letter, and nothing is outstanding any more.
    ///
    /// # Errors
    /// Where that takes longer than a minute.
    pub fn until_done(&self, ids: &[String]) -> anyhow::Result<()> {
        until("every event has its effect or is a dead letter", || {
            let (heard, dead) = (self.heard()?, self.dead_letters()?);
            let has_effect = |id: &String| heard.get(id).is_some_and(|heard| heard.effect.is_some());
            Ok(ids.iter().all(|id| has_effect(id) || dead.contains_key(id)))
        })?;
        self.until_at_rest()
    }

    /// Waits until nothing is outstanding: every cursor is at the journal's end, and no retry waits.
    ///
    /// # Errors
    /// Where that takes longer than a minute.
    pub fn until_at_rest(&self) -> anyhow::Result<()> {
        const OUTSTANDING: &str =
            "SELECT (SELECT count(*) FROM exceptions WHERE state <> 'dead') + (SELECT count(*) FROM subscriptions
            WHERE cursor < (SELECT max(position) FROM journal)) + (SELECT count(*) = 0 FROM subscriptions)";
        until("nothing is outstanding", || Ok(self.number(OUTSTANDING)? == 0))
    }

    fn database(&self) -> anyhow::Result<Connection> {
        let file = self.folder.path().join("state/sqlite_db.db");
        let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        database.busy_timeout(Duration::from_secs(5))?;
        Ok(database)
    }
}

/// Appends events, which must be accepted.
///
/// # Errors
/// Where they aren't, or there is no answer: then they may have been appended.
pub fn append(url: &str, events: &[Event]) -> anyhow::Result<()> {
    let body = json::encode_batch(events)?;
    let answer = ureq::post(url)
        .header("content-type", json::BATCH_MEDIA_TYPE)
        .send(&body[..])?;
    ensure!(answer.status() == 202, "{}", answer.status());
    Ok(())
}

/// Waits until something is so, at most a minute.
///
/// # Errors
/// Where it isn't so by then, or what asking for it fails with.
pub fn until(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(begun.elapsed() < DEADLINE, "{DEADLINE:?} have gone by: {what} isn't so");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn manifest(bus: &dyn Bus) -> anyhow::Result<String> {
    let mut text = "spin_manifest_version = 2\n[application]\nname = \"bus\"\n[variables]\napp_url = { default = \"http://127.0.0.1:3000\" }\n"
        .to_owned();
    let names: Vec<_> = bus.variables().into_iter().map(|(name, _)| name).collect();
    for name in &names {
        writeln!(text, "{name} = {{ default = \"\", secret = true }}")?;
    }
    let component = |id: &str, wasm: &str, hosts: &[&str]| {
        let hosts: Vec<_> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        format!(
            "[component.{id}]\nsource = \"target/functions/wasm32-wasip2/component/{wasm}.wasm\"\nfiles = [\"subscriptions.toml\"]\n\
             key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]\nallowed_outbound_hosts = [{}]\n",
            hosts.join(", ")
        )
    };
    text.push_str("[[trigger.http]]\nroute = \"/probe/...\"\ncomponent = \"probe\"\n");
    text.push_str(&component("probe", "probe", &["http://relay.spin.internal"]));
    text.push_str("[[trigger.http]]\nroute = \"/relay/...\"\ncomponent = \"relay\"\n");
    text.push_str(&component(
        "relay",
        "relay",
        &[&["http://*.spin.internal"], bus.hosts()].concat(),
    ));
    let given = |component: &str| {
        let lines = names.iter().map(|name| format!("{name} = \"{{{{ {name} }}}}\"\n"));
        format!("[component.{component}.variables]\n{}", lines.collect::<String>())
    };
    text.push_str(&given("relay"));
    if let Some(id) = bus.consumer() {
        writeln!(
            text,
            "[[trigger.http]]\nroute = {{ private = true }}\ncomponent = \"{id}\""
        )?;
        let hosts = [&["http://*.spin.internal"], bus.hosts()].concat();
        text.push_str(&component(id, &id.replace('-', "_"), &hosts));
        text.push_str(&given(id));
    }
    text.push_str("[[trigger.cron]]\ncomponent = \"outbox-cron\"\ncron_expression = \"* * * * * *\"\n");
    text.push_str(&component("outbox-cron", "outbox_cron", &["{{ app_url }}"]));
    text.push_str("[component.outbox-cron.variables]\napp_url = \"{{ app_url }}\"\n");
    if bus.features().has_consumers {
        text.push_str(bus.trigger_settings());
        for (kind, _) in KINDS {
            text.push_str(&bus.trigger(kind));
        }
        text.push_str(&component("listener", "probe", &[]));
    }
    Ok(text)
}

fn subscriptions(bus: &dyn Bus) -> anyhow::Result<String> {
    let mut text = String::new();
    for (kind, settings) in KINDS {
        writeln!(
            text,
            "[[subscription]]\nname = \"{kind}\"\ntypes = [\"bus.{kind}.*\"]\n{}\n{settings}\ninitial_interval = \"100ms\"\n\
             max_interval = \"1s\"\ntimeout = \"2s\"",
            bus.subscription(kind)
        )?;
        if let Some(lines) = bus.publisher(kind) {
            writeln!(
                text,
                "[[subscription]]\nname = \"{kind}-published\"\ntypes = [\"bus.{kind}.*\"]\n{lines}\nmax_attempts = 100\n\
                 initial_interval = \"100ms\"\nmax_interval = \"1s\"\ntimeout = \"2s\""
            )?;
        }
    }
    Ok(text)
}
