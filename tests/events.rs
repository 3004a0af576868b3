//! `POST /events` takes CloudEvents from outside, once, and nothing that isn't one; `GET /events` reads them.

use http::StatusCode;
use selvedge_testkit::World;
use selvedge_testkit::simulation::Answer;
use serde_json::{Value, json};

use crate::harness::{counted, create, simulate};

mod pages;
mod refused;

const SOURCE: &str = "https://weather.example";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// An event as an outside sender writes it.
fn event(id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": "weather.report.published",
        "data": { "celsius": 21 }
    })
}

async fn send(world: &World, content_type: &str, body: impl ToString) -> Answer {
    let headers = [("content-type", content_type)];
    world
        .request(http::Method::POST, "/events", &headers, body.to_string())
        .await
}

fn told(answer: &Answer) -> (StatusCode, i64, i64) {
    let json = answer.json();
    let number = |name: &str| json[name].as_i64().unwrap_or(-1);
    (answer.status, number("appended"), number("known"))
}

async fn journal(world: &World) -> i64 {
    world.sql.number("SELECT count(*) FROM journal")
}

#[test]
fn an_event_from_outside_is_accepted_in_every_mode_and_delivered() -> anyhow::Result<()> {
    simulate(async |world| {
        let binary = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", SOURCE),
            ("ce-type", "weather.report.published"),
            ("ce-subject", "Z%C3%BCrich"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        let answer = world
            .request(http::Method::POST, "/events", &binary, r#"{"celsius":21}"#)
            .await;
        assert_eq!(told(&answer), (StatusCode::ACCEPTED, 1, 0), "{}", answer.json());
        assert_eq!(
            told(&send(&world, STRUCTURED, event("2")).await),
            (StatusCode::ACCEPTED, 1, 0)
        );
        let batch = json!([event("3"), event("4"), event("3")]);
        assert_eq!(told(&send(&world, BATCH, batch).await), (StatusCode::ACCEPTED, 2, 1));
        assert_eq!(
            told(&send(&world, BATCH, json!([])).await),
            (StatusCode::ACCEPTED, 0, 0)
        );

        let heard = async || counted(&world, "weather.report.published").await == 4;
        world
            .until("analytics has all four", std::time::Duration::from_secs(1), heard)
            .await?;
        let stored = world
            .sql
            .query("SELECT subject, extensions FROM journal WHERE id = '1'")?;
        let text = format!("{stored:?}");
        assert!(
            text.contains("Zürich") && text.contains("0af7651916cd43dd8448eb211c80319c"),
            "{text}"
        );
        Ok(())
    })
}

#[test]
fn an_event_that_is_sent_again_is_accepted_again_and_appended_once() -> anyhow::Result<()> {
    simulate(async |world| {
        assert_eq!(
            told(&send(&world, STRUCTURED, event("1")).await),
            (StatusCode::ACCEPTED, 1, 0)
        );
        for _ in 0..3 {
            assert_eq!(
                told(&send(&world, STRUCTURED, event("1")).await),
                (StatusCode::ACCEPTED, 0, 1)
            );
        }
        let both = json!([event("1"), event("2")]);
        assert_eq!(told(&send(&world, BATCH, both).await), (StatusCode::ACCEPTED, 1, 1));
        assert_eq!(journal(&world).await, 2);
        Ok(())
    })
}

#[test]
fn an_idempotency_key_stands_for_one_request() -> anyhow::Result<()> {
    simulate(async |world| {
        let headers = [("content-type", STRUCTURED), ("idempotency-key", "k1")];
        let keyed = async |event: Value| {
            let request = world.request(http::Method::POST, "/events", &headers, event.to_string());
            request.await
        };
        let (first, second) = futures::future::join(keyed(event("1")), keyed(event("1"))).await;
        assert_eq!(
            (first.status, second.status),
            (StatusCode::ACCEPTED, StatusCode::ACCEPTED)
        );
        // Not "known": it is the first answer.
        assert_eq!(keyed(event("1")).await.json(), first.json());
        assert_eq!(keyed(event("2")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(journal(&world).await, 1);
        Ok(())
    })
}

#[test]
fn another_event_under_a_known_id_is_a_conflict_and_takes_its_batch_along() -> anyhow::Result<()> {
    simulate(async |world| {
        assert_eq!(send(&world, STRUCTURED, event("1")).await.status, StatusCode::ACCEPTED);
        let mut other = event("1");
        other["data"]["celsius"] = json!(22);
        let answer = send(&world, BATCH, json!([event("2"), other])).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("\"1\"") && detail.contains("new id"), "{detail}");
        assert_eq!(journal(&world).await, 1);
        Ok(())
    })
}

#[test]
fn two_senders_of_one_event_at_the_same_moment_append_it_once() -> anyhow::Result<()> {
    simulate(async |world| {
        world.add_node()?;
        let nodes = world.nodes();
        let headers = [("content-type", STRUCTURED)];
        let body = event("1").to_string();
        let one = nodes[0].request(http::Method::POST, "/events", &headers, body.clone());
        let other = nodes[1].request(http::Method::POST, "/events", &headers, body);
        let (one, other) = tokio::join!(one, other);
        assert_eq!((one.status, other.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
        assert_eq!(told(&one).1 + told(&other).1, 1);
        assert_eq!(journal(&world).await, 1);
        Ok(())
    })
}

#[test]
fn events_with_a_partition_key_are_a_stream_in_order() -> anyhow::Result<()> {
    simulate(async |world| {
        let keyed = |id: &str| {
            let mut event = event(id);
            event["partitionkey"] = json!("paris");
            event
        };
        assert_eq!(
            send(&world, BATCH, json!([keyed("1"), keyed("2")])).await.status,
            StatusCode::ACCEPTED
        );
        assert_eq!(send(&world, STRUCTURED, keyed("3")).await.status, StatusCode::ACCEPTED);
        let answer = world.get(&format!("/events?stream=external/key/{SOURCE}/paris")).await;
        let json = answer.json();
        let ids: Vec<_> = json
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| event["id"].clone())
            .collect();
        assert_eq!(ids, ["1", "2", "3"]);
        Ok(())
    })
}

#[test]
fn a_forged_event_of_a_function_is_refused() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = create(&world, "Buy groceries", "u1").await;
        let forged = |source: &str, event_type: &str| {
            let mut event = event("forged");
            event["source"] = json!(source);
            event["type"] = json!(event_type);
            event["subject"] = json!(id);
            event["data"] = json!({ "title": "Pay me", "userId": "u1" });
            event
        };
        for event in [
            forged("/todos", "todos.task.completed"),
            forged("/me", "todos.task.completed"),
            forged("/me", "todos.task.invented"),
            forged("/todos", "weather.report.published"),
            forged("/todos/1", "weather.report.published"),
        ] {
            let alone = send(&world, STRUCTURED, &event).await;
            assert_eq!(alone.status, StatusCode::FORBIDDEN, "{}", alone.json());
            let in_a_batch = send(&world, BATCH, json!([self::event("good"), event])).await;
            assert_eq!(in_a_batch.status, StatusCode::FORBIDDEN);
        }
        assert_eq!(journal(&world).await, 1);
        assert_eq!(world.get(&format!("/todos/{id}")).await.json()["completed"], false);
        Ok(())
    })
}

#[test]
fn attributes_in_headers_change_nothing_of_a_structured_event() -> anyhow::Result<()> {
    simulate(async |world| {
        let headers = [
            ("content-type", STRUCTURED),
            ("ce-id", "spoofed"),
            ("ce-source", "/todos"),
            ("ce-type", "todos.task.created"),
            ("ce-specversion", "1.0"),
            ("spin-path-info", "/_selvedge/bell"),
            ("x-forwarded-host", "todos.spin.internal"),
        ];
        let answer = world
            .request(http::Method::POST, "/events", &headers, event("1").to_string())
            .await;
        assert_eq!(told(&answer), (StatusCode::ACCEPTED, 1, 0));
        assert_eq!(
            world
                .sql
                .number("SELECT count(*) FROM journal WHERE id = '1' AND type LIKE 'weather%'"),
            1
        );
        assert_eq!(journal(&world).await, 1);
        Ok(())
    })
}

#[test]
fn a_later_delivery_and_an_expiry_are_kept() -> anyhow::Result<()> {
    simulate(async |world| {
        let mut later = event("1");
        later["deliverat"] = json!("2030-01-01T00:00:00Z");
        later["expirytime"] = json!("2030-01-02T00:00:00Z");
        assert_eq!(send(&world, STRUCTURED, later).await.status, StatusCode::ACCEPTED);
        let kept = "SELECT count(*) FROM journal WHERE json_extract(extensions, '$.deliverat') = '2030-01-01T00:00:00Z'
            AND json_extract(extensions, '$.expirytime') = '2030-01-02T00:00:00Z'";
        assert_eq!(world.sql.number(kept), 1);
        let mut wrong = event("2");
        wrong["deliverat"] = json!("tomorrow");
        assert_eq!(
            send(&world, STRUCTURED, wrong).await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
        Ok(())
    })
}
