//! What a subscription asks for in subscriptions.toml holds in the running application: order, pause, delay, expiry,
//! `match`, and a webhook.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use selvedge::webhook::Secrets;
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::simulation::{Fault, Peer, When};
use selvedge_testkit::{Simulation, World};
use serde_json::{Value, json};

use crate::harness::{application_copy, create, edit, lose_bells, notifications, root, simulate};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfE1g==";

/// What is written below the block of the subscription `notifications`.
const NOTIFICATIONS: &str = "target = \"function:notifications\"\n";

/// Runs `test` in a world whose application has these lines in the subscription `notifications`, and these blocks after
/// it. Its relay may reach `https://hooks.example`.
fn simulate_with<T>(
    lines: &str,
    blocks: &str,
    test: impl AsyncFnOnce(World) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let copy = application_copy()?;
    let manifest = copy.path().join("spin.toml");
    edit(
        &copy.path().join("subscriptions.toml"),
        NOTIFICATIONS,
        &format!("{NOTIFICATIONS}{lines}\n{blocks}\n"),
    )?;
    edit(
        &manifest,
        r#""{{ dapr_url }}""#,
        r#""{{ dapr_url }}", "https://hooks.example""#,
    )?;
    let cache = root().join("target/component-cache");
    let program = Arc::new(Program::compile(Manifest::read(&manifest)?, Some(cache), &|_| {})?);
    Simulation::run(&program, 1, test)
}

fn exceptions(world: &World) -> i64 {
    world
        .sql
        .number("SELECT count(*) FROM exceptions WHERE subscription = 'notifications'")
}

/// Creates a todo, and gives its event an extension before anybody can hear it.
async fn create_with_extension(world: &World, name: &str, time: &str) -> anyhow::Result<()> {
    lose_bells(world);
    create(world, "Buy groceries", "u1").await;
    let change = format!("UPDATE journal SET extensions = json_set(extensions, '$.{name}', '{time}')");
    Ok(world.sql.change(&change)?)
}

#[test]
fn a_delayed_event_is_delivered_when_its_time_has_come() -> anyhow::Result<()> {
    simulate(async |world| {
        // The clock begins at midnight.
        create_with_extension(&world, "deliverat", "2026-01-01T00:10:00Z").await?;
        let _cron = world.start_cron();
        let waits = async || exceptions(&world) == 1;
        world.until("it waits", Duration::from_secs(3), waits).await?;
        tokio::time::sleep(Duration::from_secs(590)).await;
        assert_eq!(notifications(&world, "u1").await, 0, "ten minutes aren't over");
        let told = async || notifications(&world, "u1").await == 1;
        world.until("it is delivered", Duration::from_secs(12), told).await?;
        let settled = async || exceptions(&world) == 0;
        world.until("nothing is left", Duration::from_secs(1), settled).await
    })
}

#[test]
fn an_expired_event_is_a_dead_letter_and_not_delivered() -> anyhow::Result<()> {
    simulate(async |world| {
        create_with_extension(&world, "expirytime", "2025-12-31T23:59:59Z").await?;
        let _cron = world.start_cron();
        let dead =
            "SELECT count(*) FROM exceptions WHERE state = 'dead' AND attempt = 0 AND reason LIKE 'it expired at %'";
        let parked = async || world.sql.number(dead) == 2;
        world
            .until("it is parked for both", Duration::from_secs(3), parked)
            .await?;
        assert_eq!(notifications(&world, "u1").await, 0);
        Ok(())
    })
}

#[test]
fn a_failing_event_holds_back_its_own_stream_only() -> anyhow::Result<()> {
    simulate_with(
        "order = \"stream\"\njitter = 0\ninitial_interval = \"30s\"",
        "",
        async |world| {
            let _cron = world.start_cron();
            world.node().faults.hit(
                "notifications",
                "sqlite.execute",
                "INTO notifications",
                1,
                Fault::Fail,
                When::Before,
            );
            let first = create(&world, "Buy groceries", "u1").await;
            let failed = async || exceptions(&world) == 1;
            world.until("it failed", Duration::from_secs(3), failed).await?;

            let second = create(&world, "Water the plants", "u2").await;
            for todo in [&first, &second] {
                assert_eq!(
                    world.post(&format!("/todos/{todo}/complete"), &json!({})).await.status,
                    200
                );
            }
            let others = async || notifications(&world, "u2").await == 2;
            world
                .until("the other stream goes on", Duration::from_secs(3), others)
                .await?;
            let held = "SELECT count(*) FROM exceptions WHERE subscription = 'notifications' AND state = 'held'";
            assert_eq!((notifications(&world, "u1").await, world.sql.number(held)), (0, 1));

            let caught_up = async || notifications(&world, "u1").await == 2 && exceptions(&world) == 0;
            world.until("it catches up", Duration::from_secs(40), caught_up).await?;
            let types = "SELECT type FROM notifications WHERE user_id = 'u1' ORDER BY number";
            let types = world.sql.query(types)?;
            assert!(
                format!("{:?}", types[0]).contains("created") && format!("{:?}", types[1]).contains("completed"),
                "{types:?}"
            );
            Ok(())
        },
    )
}

#[test]
fn a_paused_subscription_gets_nothing_until_it_is_resumed() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        create(&world, "Buy groceries", "u1").await;
        let told = async || notifications(&world, "u1").await == 1;
        world.until("it runs", Duration::from_secs(3), told).await?;

        world
            .sql
            .change("UPDATE subscriptions SET paused = 1 WHERE name = 'notifications'")?;
        create(&world, "Water the plants", "u1").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(notifications(&world, "u1").await, 1);

        world
            .sql
            .change("UPDATE subscriptions SET paused = 0 WHERE name = 'notifications'")?;
        let told = async || notifications(&world, "u1").await == 2;
        world
            .until("it goes on where it was", Duration::from_secs(3), told)
            .await
    })
}

#[test]
fn a_match_lets_through_what_it_matches() -> anyhow::Result<()> {
    simulate_with("match = \"data.title.startsWith('Buy')\"", "", async |world| {
        let _cron = world.start_cron();
        create(&world, "Water the plants", "u1").await;
        create(&world, "Buy groceries", "u1").await;
        let passed = async || world.sql.number("SELECT min(cursor) FROM subscriptions") == 2;
        world.until("both are past", Duration::from_secs(3), passed).await?;
        assert_eq!((notifications(&world, "u1").await, exceptions(&world)), (1, 0));
        Ok(())
    })
}

/// A partner that refuses the first request, and keeps all.
#[derive(Clone, Default)]
struct Partner(Arc<Mutex<Vec<Request<Bytes>>>>);

#[async_trait]
impl Peer for Partner {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
        let status = if requests.len() == 1 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::NO_CONTENT
        };
        Some(
            Response::builder()
                .status(status)
                .body(Bytes::new())
                .expect("a response"),
        )
    }
}

#[test]
fn a_webhook_is_signed_with_both_secrets_while_one_is_replaced_and_tried_again() -> anyhow::Result<()> {
    let partner = "[[subscription]]\nname = \"partner\"\ntypes = [\"todos.task.created\"]\n\
        target = \"https://hooks.example/todos\"\nsecret_variable = \"webhook_secret\"\n";
    simulate_with("", partner, async |mut world| {
        let peer = Partner::default();
        world.network.play("hooks.example", peer.clone());
        world.set_variable("webhook_secret", &format!("{NEXT_SECRET} {SECRET}"));
        world.restart()?;
        let _cron = world.start_cron();
        create(&world, "Buy groceries", "u1").await;
        let settled = async || {
            peer.0.lock().unwrap_or_else(PoisonError::into_inner).len() == 2
                && world.sql.number("SELECT count(*) FROM exceptions") == 0
        };
        world
            .until("the second request settles it", Duration::from_secs(5), settled)
            .await?;

        let requests = peer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let header =
            |request: &Request<Bytes>, name: &str| request.headers()[name].to_str().expect("a text").to_owned();
        for request in requests.iter() {
            let event: Value = serde_json::from_slice(request.body())?;
            assert_eq!(
                (&event["type"], &event["data"]["title"]),
                (&json!("todos.task.created"), &json!("Buy groceries"))
            );
            let (id, timestamp) = (
                header(request, "webhook-id"),
                header(request, "webhook-timestamp").parse()?,
            );
            let sign = |secret| {
                Secrets::parse("x", secret)
                    .expect("a secret")
                    .sign(&id, timestamp, request.body())
            };
            let expected = format!("{} {}", sign(NEXT_SECRET), sign(SECRET));
            assert_eq!(header(request, "webhook-signature"), expected);
            assert_eq!(header(request, "content-type"), "application/cloudevents+json");
        }
        assert_eq!(header(&requests[0], "webhook-id"), header(&requests[1], "webhook-id"));
        assert_ne!(
            header(&requests[0], "webhook-timestamp"),
            header(&requests[1], "webhook-timestamp")
        );
        Ok(())
    })
}
