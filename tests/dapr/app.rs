//! This application under a Dapr sidecar: what the sidecar brings, and what it is asked to publish.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::simulation::Peer;
use selvedge_testkit::{Simulation, World};
use serde_json::{Value, json};

use crate::harness::{application_copy, create, notifications, root};

const UNDER_DAPR: &str = r#"
[[subscription]]
name = "notifications"
types = ["todos.task.*"]
match = "event.source != '/ignored'"
from = "dapr:pubsub/todos"
target = "function:notifications"
batch = 20

[[subscription]]
name = "out"
types = ["todos.task.*"]
target = "dapr:pubsub/todos"
initial_interval = "1s"
jitter = 0
"#;

/// A sidecar that keeps what it is asked to publish, and answers as it is told.
#[derive(Clone, Default)]
struct Sidecar {
    asked: Arc<Mutex<Vec<(String, String, Value)>>>,
    answers: Arc<Mutex<Vec<(u16, String)>>>,
}

impl Sidecar {
    fn asked(&self) -> Vec<(String, String, Value)> {
        self.asked.lock().expect("no test panicked").clone()
    }
}

#[async_trait]
impl Peer for Sidecar {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let token = request.headers().get("dapr-api-token");
        let token = token
            .and_then(|token| token.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = serde_json::from_slice(request.body()).unwrap_or_default();
        let path = request.uri().path().to_owned();
        self.asked.lock().expect("no test panicked").push((path, token, body));
        let mut answers = self.answers.lock().expect("no test panicked");
        let (status, body) = if answers.is_empty() {
            (204, String::new())
        } else {
            answers.remove(0)
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Some(response)
    }
}

fn under_dapr<T>(test: impl AsyncFnOnce(World, Sidecar) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let copy = application_copy()?;
    std::fs::write(copy.path().join("subscriptions.toml"), UNDER_DAPR)?;
    let cache = root().join("target/component-cache");
    let manifest = Manifest::read(&copy.path().join("spin.toml"))?;
    let program = Arc::new(Program::compile(manifest, Some(cache), &|_| {})?);
    Simulation::run(&program, 1, async |mut world: World| {
        let sidecar = Sidecar::default();
        world.network.play("127.0.0.1:3500", sidecar.clone());
        world.set_variable("dapr_api_token", "ours");
        world.set_variable("dapr_app_token", "theirs");
        world.restart()?;
        test(world, sidecar).await
    })
}

fn event(id: &str, user: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/todos", "type": "todos.task.created", "subject": id,
        "topic": "todos", "pubsubname": "pubsub", "traceid": "", "tracestate": "",
        "datacontenttype": "application/json", "data": {"title": "Buy groceries", "userId": user},
    })
}

async fn bring(world: &World, token: &str, body: &Value) -> (u16, Value) {
    let headers = [
        ("content-type", "application/cloudevents+json"),
        ("dapr-api-token", token),
    ];
    let path = "/dapr/deliver/notifications";
    let answer = world.request(Method::POST, path, &headers, body.to_string()).await;
    (answer.status.as_u16(), answer.json())
}

#[test]
fn a_sidecar_is_told_what_to_subscribe_to() -> anyhow::Result<()> {
    under_dapr(async |world, _| {
        let list = world.get("/dapr/subscribe").await;
        assert_eq!(list.status, StatusCode::OK);
        let expected = json!([{
            "pubsubname": "pubsub", "topic": "todos", "route": "/dapr/deliver/notifications",
            "bulkSubscribe": {"enabled": true, "maxMessagesCount": 20, "maxAwaitDurationMs": 20},
        }]);
        assert_eq!(list.json(), expected);
        Ok(())
    })
}

#[test]
fn what_a_sidecar_brings_takes_effect_once() -> anyhow::Result<()> {
    under_dapr(async |world, _| {
        for _ in 0..2 {
            assert_eq!(
                bring(&world, "theirs", &event("1", "u1")).await,
                (200, json!({"status": "SUCCESS"}))
            );
        }
        assert_eq!(notifications(&world, "u1").await, 1);
        let mut unheard = event("2", "u1");
        unheard["type"] = json!("orders.order.placed");
        assert_eq!(bring(&world, "theirs", &unheard).await.1["status"], "SUCCESS");
        assert_eq!(
            bring(&world, "theirs", &json!({"no": "event"})).await.1["status"],
            "DROP"
        );
        let bulk = json!({"entries": [
            {"entryId": "a", "event": event("1", "u1"), "contentType": "application/cloudevents+json"},
            {"entryId": "b", "event": event("3", "u1"), "contentType": "application/cloudevents+json"},
            {"entryId": "c", "event": "AP8=", "contentType": "application/octet-stream"},
        ]});
        let expected = json!({"statuses": [
            {"entryId": "a", "status": "SUCCESS"}, {"entryId": "b", "status": "SUCCESS"}, {"entryId": "c", "status": "DROP"},
        ]});
        assert_eq!(bring(&world, "theirs", &bulk).await, (200, expected));
        assert_eq!(notifications(&world, "u1").await, 2);
        Ok(())
    })
}

#[test]
fn nobody_brings_events_without_the_token() -> anyhow::Result<()> {
    under_dapr(async |mut world, _| {
        assert_eq!(bring(&world, "wrong", &event("1", "u1")).await.0, 401);
        world.set_variable("dapr_app_token", "");
        world.restart()?;
        let (status, problem) = bring(&world, "", &event("1", "u1")).await;
        assert_eq!(status, 403);
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("dapr_app_token")),
            "{problem}"
        );
        assert_eq!(notifications(&world, "u1").await, 0);
        Ok(())
    })
}

#[test]
fn an_event_is_published_by_the_sidecar() -> anyhow::Result<()> {
    under_dapr(async |world, sidecar| {
        let id = create(&world, "Buy groceries", "u1").await;
        let published = async || !sidecar.asked().is_empty();
        world
            .until("it is published", Duration::from_secs(1), published)
            .await?;
        let (path, token, body) = sidecar.asked().remove(0);
        assert_eq!((&*path, &*token), ("/v1.0/publish/pubsub/todos", "ours"));
        assert_eq!(
            (&body["subject"], &body["type"]),
            (&json!(id), &json!("todos.task.created"))
        );
        assert_eq!(
            notifications(&world, "u1").await,
            0,
            "the journal doesn't feed what comes from a broker"
        );
        Ok(())
    })
}

#[test]
fn what_a_sidecar_does_not_take_is_published_again_and_nothing_else() -> anyhow::Result<()> {
    under_dapr(async |world, sidecar| {
        let failed = json!({"failedEntries": [{"entryId": "1", "error": "broker down"}], "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE"});
        // Held back by the first failure all three go together; then the second of them fails alone.
        *sidecar.answers.lock().expect("no test panicked") = vec![
            (500, "{}".to_owned()),
            (500, "{}".to_owned()),
            (500, "{}".to_owned()),
            (500, failed.to_string()),
        ];
        let _cron = world.start_cron();
        for number in 0..3 {
            create(&world, &format!("todo {number}"), "u1").await;
        }
        let rested = async || world.sql.number("SELECT count(*) FROM exceptions") == 0 && sidecar.asked().len() > 3;
        world
            .until("all are published", Duration::from_secs(60), rested)
            .await?;
        let bulk = sidecar
            .asked()
            .iter()
            .filter(|(path, ..)| path.ends_with("/bulk/pubsub/todos"))
            .count();
        let single = sidecar
            .asked()
            .iter()
            .filter(|(path, ..)| path.ends_with("publish/pubsub/todos"))
            .count();
        assert!(bulk > 0 && single > 0, "{:?}", sidecar.asked());
        Ok(())
    })
}

#[test]
fn a_sidecar_that_is_not_there_is_named_in_the_reason() -> anyhow::Result<()> {
    under_dapr(async |world, sidecar| {
        let refused = json!({"errorCode": "ERR_PUBSUB_NOT_FOUND", "message": "pubsub pubsub not found"});
        *sidecar.answers.lock().expect("no test panicked") = vec![(404, refused.to_string())];
        create(&world, "Buy groceries", "u1").await;
        let failed = async || {
            world
                .sql
                .number("SELECT count(*) FROM exceptions WHERE reason LIKE '%ERR_PUBSUB_NOT_FOUND%'")
                == 1
        };
        world
            .until("the reason is kept", Duration::from_secs(1), failed)
            .await?;
        Ok(())
    })
}
