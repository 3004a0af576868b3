//! What the sweeps and the chaos know of this application: its promise, and a workload over its public routes.

mod money;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rusqlite::types::Value;
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_events::{Data, schema_uri};
use selvedge_schemas::Schemas;
use selvedge_testkit::chaos::{Storm, Unreliable, Workload};
use selvedge_testkit::checkers::{self, Attempts, Effects, Violation};
use selvedge_testkit::simulation::Peer;
use selvedge_testkit::{World, client};
use serde_json::json;
use tempfile::TempDir;

pub use money::money_conserved;

/// Where the application's subscriptions have their effects.
pub const EFFECTS: [Effects; 2] = [
    Effects {
        subscription: "notifications",
        hears: "todos.task.*",
        count: "SELECT count(*) FROM notifications WHERE event_id = ?1 AND source = ?2
            AND generation = (SELECT generation FROM projections WHERE function = 'notifications')",
    },
    Effects {
        subscription: "analytics",
        hears: "*.*.*",
        count: "SELECT count(*) FROM analytics_counted WHERE event_id = ?1 AND source = ?2
            AND generation = (SELECT generation FROM projections WHERE function = 'analytics')",
    },
];

/// Where notifications are POSTed, outside.
const WEBHOOK: &str = "hooks.example:80";
/// The user whose webhook never works.
const UNREACHABLE_USER: &str = "u0";
/// How long a done marker is kept, as docs/delivery.md says.
const MARKER_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What the subscriptions of [`under_pressure`] give an event: 1, 2 and 4 s between four attempts, a fifth less by chance.
const ATTEMPTS: Attempts = Attempts {
    attempts_max: 4,
    waits_ms_min: 5_600,
};

/// The application as chaos runs it: its shipped components with small batches, few attempts and a webhook, so that a
/// short run meets what else takes thousands of events. Components and environment are the manifest's, unless `change`
/// says otherwise.
pub fn under_pressure(root: &Path, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<Arc<Program>> {
    let mut manifest = Manifest::read(&root.join("spin.toml"))?;
    let folder = TempDir::with_prefix("selvedge-chaos-")?;
    let file = "subscriptions.toml";
    let mut text = std::fs::read_to_string(root.join(file))?;
    for effect in EFFECTS {
        let name = format!("name = \"{}\"\n", effect.subscription);
        let settings = format!("{name}batch = 3\nmax_attempts = {}\n", ATTEMPTS.attempts_max);
        text = text.replace(&name, &settings);
    }
    std::fs::write(folder.path().join(file), text)?;
    folder.path().clone_into(&mut manifest.folder);
    let webhook = manifest.variables.get_mut("notify_webhook_url");
    webhook.context("notifications have a webhook")?.default = Some(format!("http://{WEBHOOK}/notify"));
    change(&mut manifest);
    let cache = root.join("target/component-cache");
    Ok(Arc::new(Program::compile(manifest, Some(cache), &|_| {})?))
}

/// What the application promises of every run under pressure.
pub fn promise_under_pressure(world: &World) -> Vec<Violation> {
    let mut violations = promise(world);
    violations.extend(checkers::dead_letters_had_their_attempts(world, &ATTEMPTS));
    violations.extend(told_outside(world));
    violations.extend(commands_took_effect_once(world));
    violations
}

/// Every notification that is no dead letter was taken by the webhook, at least once.
fn told_outside(world: &World) -> Vec<Violation> {
    let exchanges = world.network.exchanges();
    let taken: HashSet<&str> = exchanges
        .iter()
        .filter(|exchange| exchange.status.is_some_and(|status| status.is_success()))
        .map(|exchange| &*exchange.idempotency_key)
        .collect();
    let notified = "SELECT event_id FROM notifications WHERE NOT EXISTS (
        SELECT 1 FROM exceptions JOIN journal USING (position)
        WHERE subscription = 'notifications' AND id = event_id AND journal.source = notifications.source)";
    let missed = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(id)) if taken.contains(&*id) => None,
        other => Some(Violation(format!(
            "the webhook never took the notification of {other:?}"
        ))),
    };
    let notified = world.sql.query(notified).unwrap_or_default();
    notified.into_iter().filter_map(missed).collect()
}

/// No command took effect twice, whatever its client heard: the workload gives every todo a title of its own, and done
/// is done.
fn commands_took_effect_once(world: &World) -> Vec<Violation> {
    let twice = "SELECT 'created twice', data FROM journal WHERE type = 'todos.task.created' AND source = '/todos'
            GROUP BY data ->> 'title' HAVING count(*) > 1
        UNION ALL SELECT 'completed twice', stream FROM journal WHERE type = 'todos.task.completed'
            GROUP BY stream HAVING count(*) > 1";
    let twice = world.sql.query(twice).unwrap_or_default();
    twice.into_iter().map(|row| Violation(format!("{row:?}"))).collect()
}

/// What the application promises of every run.
pub fn promise(world: &World) -> Vec<Violation> {
    let mut violations = checkers::exactly_once(world, &EFFECTS);
    violations.extend(checkers::counts_equal_fold(world));
    violations.extend(checkers::streams_have_no_gaps(world));
    violations.extend(money_conserved(world));
    violations.extend(checkers::cursors_only_move_on(world));
    violations.extend(checkers::markers_are_kept(world, &EFFECTS, MARKER_RETENTION));
    violations.extend(events_have_their_schemas(world));
    violations
}

/// The schemas of the application's events.
pub fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(selvedge_schemas::FOLDER);
        Schemas::read(&folder).expect("the schemas can be read")
    })
}

/// Every event of a function has a schema, names it, and is as it says.
pub fn events_have_their_schemas(world: &World) -> Vec<Violation> {
    // What a test wrote into the journal by hand is no function's, and belongs to no correlation.
    let statement = "SELECT id, type, source, dataschema, CAST(data AS TEXT) FROM journal
        WHERE extensions ->> 'correlationid' IS NOT NULL";
    let is_functions = |source: &str| schemas().iter().any(|(_, schema)| schema.publisher() == Some(source));
    let mut violations = Vec::new();
    for row in world.sql.query(statement).unwrap_or_default() {
        let mut columns = row.into_iter().map(|column| match column {
            Value::Text(text) => text,
            _ => String::new(),
        });
        let mut next = || columns.next().unwrap_or_default();
        let (id, event_type, source, dataschema) = (next(), next(), next(), next());
        let data = Data::from_json_text(next()).unwrap_or_default();
        let mistakes = match schemas().get(&event_type) {
            None if !is_functions(&source) => continue,
            None => "there is no schema of its type: write schemas/<type>.json".to_owned(),
            Some(_) if dataschema != schema_uri(&event_type) => format!("its dataschema is {dataschema:?}"),
            Some(schema) => match schema.check(&data) {
                Ok(()) => continue,
                Err(mistakes) => format!("{mistakes:?}"),
            },
        };
        violations.push(Violation(format!("event {id} ({event_type}): {mistakes}")));
    }
    violations
}

/// Todos are created and completed, by one client or by two at once; another producer's events come in between, and now
/// and then somebody sends rubbish.
pub struct Todos;

impl Workload for Todos {
    fn set_up(&self, world: &World, storm: &Storm, seed: u64) {
        let webhook = Webhook {
            storm: storm.clone(),
            otherwise: Unreliable::new(storm.clone(), seed),
        };
        world.network.play(WEBHOOK, webhook);
    }

    async fn command(&self, world: &World, storm: &Storm, chance: &mut StdRng, number: usize) -> Option<String> {
        match chance.random_range(0..24) {
            0..=2 => return rubbish(world, chance).await,
            // Nobody rings for it: without a cron it would wait.
            3 if !storm.is_calm() => {
                mangled_event(world, number);
                return None;
            }
            _ => {}
        }
        let user = format!("u{}", chance.random_range(0..5));
        let todo = json!({ "title": format!("todo {number}"), "userId": user });
        let created = client::command(world, "/todos", &format!("create-{number}"), &todo).await?;
        if created.status != 201 {
            return None;
        }
        let path = created.header("location").to_owned();
        let complete = format!("{path}/complete");
        let complete =
            async |key: &str| client::command(world, &complete, &format!("{key}-{number}"), &json!({})).await;
        match chance.random_range(0..6) {
            0 | 1 => drop(complete("complete").await),
            2 => drop(futures::future::join(complete("one"), complete("other")).await),
            _ => {}
        }
        // The stream ends in the todo's id, which is its path's end.
        path.rsplit('/').next().map(str::to_owned)
    }
}

/// The system that notifications are POSTed to.
struct Webhook {
    storm: Storm,
    otherwise: Unreliable,
}

#[async_trait]
impl Peer for Webhook {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let user = serde_json::from_slice::<serde_json::Value>(request.body()).unwrap_or_default()["userId"].clone();
        if user == UNREACHABLE_USER && !self.storm.is_calm() {
            let mut refusal = Response::new(Bytes::new());
            *refusal.status_mut() = StatusCode::BAD_GATEWAY;
            return Some(refusal);
        }
        self.otherwise.answer(request).await
    }
}

/// An event that another producer wrote, and that notifications can't understand.
fn mangled_event(world: &World, number: usize) {
    let now_ms = world.clock.now_ms();
    // Before the first command there is no journal to write to.
    let _ = world.sql.change(&format!(
        "INSERT INTO journal (id, source, type, stream, version, time_ms, datacontenttype, data)
         VALUES ('mangled-{number}', '/import', 'todos.task.created', 'import/{number}', 1, {now_ms}, 'application/json', '{{}}')"
    ));
}

/// A request that is refused, whatever happens: it must change nothing.
async fn rubbish(world: &World, chance: &mut StdRng) -> Option<String> {
    let bodies: [&[u8]; 6] = [
        b"",
        b"{",
        b"[]",
        b"{\"title\": 5, \"userId\": \"u1\"}",
        b"{\"title\": \"\", \"userId\": \"\"}",
        b"\xff\xfe",
    ];
    let body = bodies.choose(chance)?.to_vec();
    let path = [
        "/todos",
        "/todos/nobody/complete",
        "/nowhere",
        "/relay/drain",
        "/analytics/events",
    ]
    .choose(chance)?;
    world.revive();
    let headers = [
        ("content-type", "application/json"),
        ("spin-path-info", "/_selvedge/bell"),
    ];
    // Faults may leave it without an answer.
    client::once(world, Method::POST, path, &headers, body).await;
    None
}
