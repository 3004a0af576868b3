//! Under a Dapr sidecar: events go out to it, and come back to notifications in its envelope, each of them twice.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_testkit::World;
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::simulation::{Peer, SimulatedNetwork};
use selvedge_testkit::sweep::Sweep;
use serde_json::{Value, json};

use super::{Application, PATIENCE, assert_kept, no_dead_letters, notified_once, warm_up};
use crate::todo_journey::todo_journey;

const SUBSCRIPTIONS: &str = r#"
[[subscription]]
name = "notifications"
types = ["todos.task.*"]
from = "dapr:pubsub/todos"
target = "function:notifications"

[[subscription]]
name = "out"
types = ["todos.task.*"]
target = "dapr:pubsub/todos"
"#;

/// What the sidecar is known by.
const TOKEN: &str = "theirs";
/// How long it waits for an answer, before it brings an event again, and before it brings one a second time for no reason.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
const COPY_AFTER: Duration = Duration::from_secs(5);

/// A sidecar whose broker keeps what it took, and brings it until it is told that it is done.
#[derive(Clone)]
struct Sidecar {
    network: Weak<SimulatedNetwork>,
}

#[async_trait]
impl Peer for Sidecar {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let events = match request.uri().path() {
            "/v1.0/publish/pubsub/todos" => vec![body],
            "/v1.0/publish/bulk/pubsub/todos" => {
                let entries = body.as_array().cloned().unwrap_or_default();
                entries.into_iter().map(|entry| entry["event"].clone()).collect()
            }
            _ => return Some(answer(StatusCode::NOT_FOUND)),
        };
        for event in events {
            tokio::spawn(bring(self.network.upgrade()?, in_envelope(event)));
        }
        Some(answer(StatusCode::NO_CONTENT))
    }
}

fn answer(status: StatusCode) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer
}

/// What Dapr adds to an event that is a CloudEvent already.
fn in_envelope(mut event: Value) -> Value {
    for (name, value) in [
        ("topic", "todos"),
        ("pubsubname", "pubsub"),
        ("traceid", ""),
        ("tracestate", ""),
    ] {
        event[name] = json!(value);
    }
    event
}

/// Brings an event until its subscription is done with it, and then again.
async fn bring(network: Arc<SimulatedNetwork>, event: Value) {
    for pause in [Duration::ZERO, COPY_AFTER] {
        tokio::time::sleep(pause).await;
        while !is_done_with(&network, &event).await {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn is_done_with(network: &SimulatedNetwork, event: &Value) -> bool {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/dapr/deliver/notifications")
        .header("host", "127.0.0.1:3000")
        .header("content-type", "application/cloudevents+json")
        .header("dapr-api-token", TOKEN)
        .body(Bytes::from(event.to_string()))
        .expect("it is well formed");
    let asked = tokio::time::timeout(ANSWER_TIMEOUT, network.ask("127.0.0.1:3000", request));
    let Ok(Some(answer)) = asked.await else { return false };
    let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    answer.status().is_success() && (said["status"] == "SUCCESS" || said["status"] == "DROP")
}

/// A todo is created and completed under a sidecar, and its user hears of it.
async fn journey(world: &World) {
    let network = Arc::downgrade(&world.network);
    world.network.play("127.0.0.1:3500", Sidecar { network });
    todo_journey(world).await;
    let told = async || {
        world.revive();
        world.sql.number("SELECT count(*) FROM notifications") >= 2
    };
    _ = world.until("the user is told of both", PATIENCE, told).await;
    // The copies come as well.
    tokio::time::sleep(COPY_AFTER + PAUSE).await;
}

#[test]
fn every_call_of_a_todo_by_dapr_may_fail_in_every_way() -> anyhow::Result<()> {
    let application = Application {
        subscriptions: Some(SUBSCRIPTIONS),
        variables: &[("dapr_app_token", TOKEN)],
        ..Application::default()
    };
    let program = application.compile()?;
    let check = |world: &World| -> Vec<Violation> {
        let mut violations = notified_once(world);
        violations.extend(no_dead_letters(world));
        violations
    };
    let report = Sweep::of(&program).after(warm_up).run(&journey, &check);
    assert_kept("a todo by Dapr", 40, &report);
    Ok(())
}
