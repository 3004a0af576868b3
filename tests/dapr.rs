//! Dapr's pub/sub API: what others publish by it becomes events, and what a sidecar brings takes effect.

mod app;
mod sdk;

use http::{Method, StatusCode};
use selvedge_testkit::World;
use selvedge_testkit::simulation::Answer;
use serde_json::{Value, json};

use crate::harness::{counted, simulate};

const JSON: &str = "application/json";

async fn publish(world: &World, path: &str, content_type: &str, body: impl Into<bytes::Bytes>) -> Answer {
    let headers = [("content-type", content_type)];
    world.request(Method::POST, path, &headers, body).await
}

/// The journal's only event, as it is read.
async fn only_event(world: &World) -> Value {
    let events = world.get("/events").await.json();
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
    events[0].clone()
}

fn code(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    assert!(body["message"].is_string(), "{body}");
    (
        answer.status.as_u16(),
        body["errorCode"].as_str().unwrap_or_default().to_owned(),
    )
}

#[test]
fn a_payload_becomes_an_event_of_its_topic() -> anyhow::Result<()> {
    simulate(async |world| {
        let answer = publish(&world, "/v1.0/publish/pubsub/orders", JSON, r#"{"orderId":1}"#).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
        let event = only_event(&world).await;
        assert_eq!(
            (&event["type"], &event["topic"]),
            (&json!("com.dapr.event.sent"), &json!("orders"))
        );
        assert_eq!(
            (&event["pubsubname"], &event["data"]),
            (&json!("pubsub"), &json!({"orderId": 1}))
        );
        Ok(())
    })
}

#[test]
fn a_cloud_event_is_published_once_and_heard() -> anyhow::Result<()> {
    simulate(async |world| {
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "https://weather.example", "type": "weather.report.published",
            "data": {"celsius": 21},
        });
        for _ in 0..3 {
            let path = "/v1.0/publish/pubsub/weather/eu";
            let answer = publish(&world, path, "application/cloudevents+json", event.to_string()).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
        assert_eq!(only_event(&world).await["topic"], "weather/eu");
        let heard = async || counted(&world, "weather.report.published").await == 1;
        world
            .until("analytics counts it", std::time::Duration::from_secs(1), heard)
            .await?;

        let mut other = event;
        other["data"] = json!({"celsius": 22});
        let answer = publish(
            &world,
            "/v1.0/publish/pubsub/weather",
            "application/cloudevents+json",
            other.to_string(),
        )
        .await;
        assert_eq!(code(&answer), (409, "ERR_PUBSUB_PUBLISH_MESSAGE".to_owned()));
        Ok(())
    })
}

#[test]
fn metadata_are_heeded() -> anyhow::Result<()> {
    simulate(async |world| {
        let path =
            "/v1.0/publish/pubsub/orders?metadata.rawPayload=true&metadata.ttlInSeconds=60&metadata.partitionKey=k";
        assert_eq!(publish(&world, path, JSON, "{}").await.status, StatusCode::NO_CONTENT);
        let event = only_event(&world).await;
        assert_eq!(
            (&event["data_base64"], &event["rawpayload"]),
            (&json!("e30="), &json!(true))
        );
        assert_eq!(
            (&event["partitionkey"], &event["expiration"]),
            (&json!("k"), &event["expirytime"])
        );
        assert!(event["expiration"].is_string());
        Ok(())
    })
}

#[test]
fn refusals_have_daprs_codes_and_store_nothing() -> anyhow::Result<()> {
    simulate(async |mut world| {
        let forged = r#"{"specversion":"1.0","id":"1","source":"/todos","type":"todos.task.created"}"#;
        let cloud_event = "application/cloudevents+json";
        for (path, content_type, body, expected) in [
            ("/v1.0/publish/other/orders", JSON, "1", (404, "ERR_PUBSUB_NOT_FOUND")),
            ("/v1.0/publish/pubsub/", JSON, "1", (404, "ERR_TOPIC_EMPTY")),
            (
                "/v1.0/publish/pubsub/t?metadata.ttlInSeconds=x",
                JSON,
                "1",
                (400, "ERR_PUBSUB_REQUEST_METADATA"),
            ),
            (
                "/v1.0/publish/pubsub/t?metadata.rawPayload=x",
                JSON,
                "1",
                (400, "ERR_PUBSUB_REQUEST_METADATA"),
            ),
            (
                "/v1.0/publish/pubsub/t",
                cloud_event,
                "{",
                (400, "ERR_PUBSUB_CLOUD_EVENTS_SER"),
            ),
            (
                "/v1.0/publish/pubsub/t",
                cloud_event,
                forged,
                (403, "ERR_PUBSUB_FORBIDDEN"),
            ),
            ("/v1.0/publish/bulk/other/t", JSON, "[]", (404, "ERR_PUBSUB_NOT_FOUND")),
            (
                "/v1.0/publish/bulk/pubsub/t",
                JSON,
                "{}",
                (400, "ERR_PUBSUB_EVENTS_SER"),
            ),
            (
                "/v1.0/publish/bulk/pubsub/t",
                JSON,
                r#"[{"event":1}]"#,
                (400, "ERR_PUBSUB_EVENTS_SER"),
            ),
            (
                "/v1.0/publish/bulk/pubsub/t",
                JSON,
                r#"[{"entryId":"1","event":1},{"entryId":"1","event":2}]"#,
                (400, "ERR_PUBSUB_EVENTS_SER"),
            ),
        ] {
            let answer = publish(&world, path, content_type, body).await;
            assert_eq!(code(&answer), (expected.0, expected.1.to_owned()), "{path} {body}");
        }
        world.set_variable("dapr_pubsub_name", "");
        world.restart()?;
        let answer = publish(&world, "/v1.0/publish/pubsub/t", JSON, "1").await;
        assert_eq!(code(&answer), (400, "ERR_PUBSUB_NOT_CONFIGURED".to_owned()));
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 0);
        Ok(())
    })
}

#[test]
fn of_a_bulk_request_each_entry_is_taken_or_refused_by_itself() -> anyhow::Result<()> {
    simulate(async |world| {
        let known = json!({"specversion":"1.0","id":"7","source":"/shop","type":"shop.order.placed","data":1});
        let path = "/v1.0/publish/pubsub/orders";
        let answer = publish(&world, path, "application/cloudevents+json", known.to_string()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let mut changed = known.clone();
        changed["data"] = json!(2);
        let entries = json!([
            {"entryId": "a", "event": {"n": 1}, "contentType": JSON},
            {"entryId": "b", "event": {"n": 2}, "contentType": "text/plain"},
            {"entryId": "c", "event": changed, "contentType": "application/cloudevents+json"},
            {"entryID": "d", "event": "text", "contentType": "text/plain", "metadata": {"ttlInSeconds": "60"}},
            {"entryId": "e", "event": "x", "metadata": {"ttlInSeconds": "soon"}},
        ]);
        for version in ["v1.0", "v1.0-alpha1"] {
            let path = format!("/{version}/publish/bulk/pubsub/orders");
            let answer = publish(&world, &path, JSON, entries.to_string()).await;
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            let told = answer.json();
            assert_eq!(told["errorCode"], "ERR_PUBSUB_PUBLISH_MESSAGE");
            let failed = told["failedEntries"].as_array().cloned().unwrap_or_default();
            let mut ids: Vec<_> = failed.iter().filter_map(|entry| entry["entryId"].as_str()).collect();
            ids.sort_unstable();
            assert_eq!(ids, ["b", "c", "e"], "{told}");
            assert!(failed.iter().all(|entry| entry["error"].is_string()), "{told}");
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 1 + 2 + 2);
        let good = json!([{"entryId": "1", "event": 1}, {"entryId": "2", "event": 2}]);
        let answer = publish(&world, "/v1.0/publish/bulk/pubsub/orders", JSON, good.to_string()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        Ok(())
    })
}

#[test]
fn a_token_and_topics_are_asked_for_once_they_are_set() -> anyhow::Result<()> {
    simulate(async |mut world| {
        world.set_variable("dapr_api_token", "secret");
        world.set_variable("dapr_allowed_topics", "orders, weather");
        world.restart()?;
        let path = "/v1.0/publish/pubsub/orders";
        assert_eq!(code(&publish(&world, path, JSON, "1").await).0, 401);
        let send = async |path: &str, token: &str| {
            let headers = [("content-type", JSON), ("dapr-api-token", token)];
            world.request(Method::PUT, path, &headers, "1").await
        };
        assert_eq!(code(&send(path, "wrong").await).0, 401);
        assert_eq!(send(path, "secret").await.status, StatusCode::NO_CONTENT);
        let other = send("/v1.0/publish/pubsub/other", "secret").await;
        assert_eq!(code(&other), (403, "ERR_PUBSUB_FORBIDDEN".to_owned()));
        assert_eq!(world.get("/v1.0/metadata").await.status, StatusCode::UNAUTHORIZED);
        Ok(())
    })
}

#[test]
fn the_sidecar_says_that_it_is_there() -> anyhow::Result<()> {
    simulate(async |world| {
        for path in ["/v1.0/healthz", "/v1.0/healthz/outbound"] {
            assert_eq!(world.get(path).await.status, StatusCode::NO_CONTENT, "{path}");
        }
        let metadata = world.get("/v1.0/metadata").await.json();
        assert_eq!(metadata["components"][0]["name"], "pubsub", "{metadata}");
        Ok(())
    })
}
