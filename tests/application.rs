//! What the sweeps and the chaos know of this application: its promise, and a workload over its public routes.

use std::path::Path;
use std::sync::OnceLock;

use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rusqlite::types::Value;
use selvedge_events::{Data, schema_uri};
use selvedge_schemas::Schemas;
use selvedge_testkit::chaos::Workload;
use selvedge_testkit::checkers::{self, Effects, Violation};
use selvedge_testkit::{World, client};
use serde_json::json;

/// Where the application's subscriptions have their effects.
const EFFECTS: [Effects; 2] = [
    Effects {
        subscription: "notifications",
        hears: "todos.task.*",
        count: "SELECT count(*) FROM notifications WHERE event_id = ?1 AND source = ?2",
    },
    Effects {
        subscription: "analytics",
        hears: "*.*.*",
        count: "SELECT count(*) FROM analytics_counted WHERE event_id = ?1 AND source = ?2",
    },
];

/// What the application promises of every run.
pub fn promise(world: &World) -> Vec<Violation> {
    let mut violations = checkers::exactly_once(world, &EFFECTS);
    violations.extend(checkers::counts_equal_fold(world));
    violations.extend(checkers::streams_have_no_gaps(world));
    violations.extend(events_have_their_schemas(world));
    violations
}

/// The schemas of the application's events.
pub fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(selvedge_schemas::FOLDER);
        Schemas::read(&folder).expect("the schemas can be read")
    })
}

/// Every event that a function appended has a schema, names it, and is as it says; so is every other one that has one.
pub fn events_have_their_schemas(world: &World) -> Vec<Violation> {
    let statement = "SELECT id, type, dataschema, CAST(data AS TEXT) FROM journal
        WHERE stream NOT LIKE 'external/%' OR dataschema LIKE 'selvedge:%'";
    let mut violations = Vec::new();
    for row in world.sql.query(statement).unwrap_or_default() {
        let mut columns = row.into_iter().map(|column| match column {
            Value::Text(text) => text,
            _ => String::new(),
        });
        let mut next = || columns.next().unwrap_or_default();
        let (id, event_type, dataschema) = (next(), next(), next());
        let data = Data::from_json_text(next()).unwrap_or_default();
        let mistakes = match schemas().get(&event_type) {
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

/// Todos are created, completed, changed and deleted, and now and then somebody sends rubbish.
pub struct Todos;

impl Workload for Todos {
    async fn command(&self, world: &World, chance: &mut StdRng, number: usize) -> Option<String> {
        if chance.random_ratio(1, 8) {
            return rubbish(world, chance).await;
        }
        let user = format!("u{}", chance.random_range(0..5));
        let todo = json!({ "title": format!("todo {number}"), "userId": user });
        let created = client::command(world, "/todos", &format!("create-{number}"), &todo).await?;
        if created.status != 201 {
            return None;
        }
        let path = created.header("location").to_owned();
        if chance.random_ratio(1, 3) {
            client::command(
                world,
                &format!("{path}/complete"),
                &format!("complete-{number}"),
                &json!({}),
            )
            .await;
        }
        // The stream ends in the todo's id, which is its path's end.
        path.rsplit('/').next().map(str::to_owned)
    }
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
