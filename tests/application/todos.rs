//! The workload that a todo's mutants are hunted with: it does little else than create and complete todos.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use selvedge_testkit::chaos::{Storm, Unreliable, Workload};
use selvedge_testkit::simulation::Peer;
use selvedge_testkit::{World, client};
use serde_json::json;

/// Where notifications are POSTed, outside.
pub(super) const WEBHOOK: &str = "hooks.example:80";
/// The user whose webhook never works.
const UNREACHABLE_USER: &str = "u0";

/// Todos are created and completed, by one client or by two at once; another producer's events come in between, and now
/// and then somebody sends rubbish.
pub struct Todos;

impl Workload for Todos {
    fn set_up(&self, world: &World, storm: &Storm, seed: u64) {
        world.network.play(WEBHOOK, Webhook::new(storm, seed));
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
pub(super) struct Webhook {
    storm: Storm,
    otherwise: Unreliable,
}

impl Webhook {
    pub(super) fn new(storm: &Storm, seed: u64) -> Self {
        Self {
            storm: storm.clone(),
            otherwise: Unreliable::new(storm.clone(), seed),
        }
    }
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
pub(super) fn mangled_event(world: &World, number: usize) {
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
