//! Every pattern and every broker in the exhaustive crash sweep: each host call of its journey meets every fault, and each
//! message what a broker may do to it. (The journeys by the relay's own requests are in crash_sweep.rs and rebuild.rs.)

mod dapr;
mod kafka;
mod mqtt;
mod operator;
mod redis;
mod saga;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rusqlite::types::Value;
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_events::Event;
use selvedge_testkit::World;
use selvedge_testkit::checkers::{self, Violation};
use selvedge_testkit::sweep::Report;
use serde_json::json;

use crate::application::EFFECTS;
use crate::harness::{application_copy, edit, kept, root};

/// How long a journey waits for what it leads to. Whether it came is asked when the system is at rest.
const PATIENCE: Duration = Duration::from_secs(600);

/// An application that differs from the shipped one, `broker` being a part of its manifest's name.
#[derive(Default)]
struct Application<'a> {
    broker: &'a str,
    /// The subscriptions, instead of its own.
    subscriptions: Option<&'a str>,
    /// What these variables are.
    variables: &'a [(&'a str, &'a str)],
    /// Where the relay may reach out to as well.
    host: Option<&'a str>,
}

impl Application<'_> {
    fn compile(&self) -> anyhow::Result<Arc<Program>> {
        let copy = application_copy()?;
        let file = copy.path().join(format!("spin{}.toml", self.broker));
        if let Some(subscriptions) = self.subscriptions {
            let own = format!("subscriptions{}.toml", self.broker);
            std::fs::write(copy.path().join(own), subscriptions)?;
        }
        if let Some(host) = self.host {
            let sidecar = r#""{{ dapr_url }}""#;
            edit(&file, sidecar, &format!("{sidecar}, \"{host}\""))?;
        }
        let mut manifest = Manifest::read(&file)?;
        for (name, value) in self.variables {
            let variable = manifest
                .variables
                .get_mut(*name)
                .with_context(|| format!("there is no {name}"))?;
            variable.default = Some((*value).to_owned());
        }
        let cache = root().join("target/component-cache");
        Ok(Arc::new(Program::compile(manifest, Some(cache), &|_| {})?))
    }
}

/// Opens every function that a todo meets, so that no run needs to set up its tables.
async fn warm_up(world: &World) {
    for path in ["/todos?userId=u1", "/notifications?userId=u1", "/analytics/events"] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    know_subscriptions(world).await;
}

/// Has the relay enter its subscriptions.
async fn know_subscriptions(world: &World) {
    world.post("/relay/drain", &json!({})).await;
    let known = async || world.sql.number("SELECT count(*) FROM subscriptions") > 0;
    world
        .until("the relay knows its subscriptions", PATIENCE, known)
        .await
        .expect("it does");
}

/// Asserts that nothing was broken, in so many calls at least.
fn assert_kept(what: &str, calls_min: usize, report: &Report) {
    kept(what, report);
    assert!(report.calls >= calls_min, "{what} made only {} calls", report.calls);
    assert!(report.broken.is_empty(), "{what}: {report}");
}

/// Two events, of which each had its effect once in notifications, whoever brought it there.
fn notified_once(world: &World) -> Vec<Violation> {
    let mut violations = checkers::exactly_once(world, &EFFECTS[..1]);
    violations.extend(checkers::streams_have_no_gaps(world));
    violations.extend(checkers::cursors_only_move_on(world));
    let events = world.sql.number("SELECT count(*) FROM journal");
    if events != 2 {
        violations.push(Violation(format!(
            "the journal has {events} events instead of the journey's two"
        )));
    }
    violations
}

/// What others got of a todo's two events: both, in the journal's order, copies aside. `None` is what was no event.
fn arrived_in_order(world: &World, got: impl Iterator<Item = Option<Event>>) -> Vec<Violation> {
    let (mut violations, mut arrived) = (Vec::new(), Vec::new());
    for event in got {
        match event {
            Some(event) if arrived.contains(&event.id) => {}
            Some(event) => arrived.push(event.id),
            None => violations.push(Violation("others got what is no event".to_owned())),
        }
    }
    let ids = world.sql.query("SELECT id FROM journal ORDER BY position");
    let journal: Vec<_> = ids
        .unwrap_or_default()
        .into_iter()
        .filter_map(|mut row| match row.remove(0) {
            Value::Text(id) => Some(id),
            _ => None,
        })
        .collect();
    if journal.len() != 2 || arrived != journal {
        violations.push(Violation(format!(
            "others got {arrived:?}, the journal has {journal:?}"
        )));
    }
    violations
}

/// No event became a dead letter: one fault costs none of them all of its attempts.
fn no_dead_letters(world: &World) -> Vec<Violation> {
    match world
        .sql
        .number("SELECT count(*) FROM exceptions WHERE state IN ('dead', 'discarded')")
    {
        0 => Vec::new(),
        count => vec![Violation(format!("one fault made {count} dead letters"))],
    }
}
