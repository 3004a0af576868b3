//! Replays in an operator's hands: what is missing is brought while the rest of the world goes on, across crashes.

use std::time::Duration;

use http::{Method, StatusCode};
use selvedge_testkit::World;
use serde_json::{Value, json};

use crate::admin::{TOKEN, ask, look, operate};
use crate::harness::{create, deliveries_ms, until_kept};

/// Loses what notifications knows of every todo so far: its rows and its done markers.
fn lose_notifications(world: &World) -> anyhow::Result<()> {
    world.sql.change("DELETE FROM notifications")?;
    world.key_value.remove_prefix("done/notifications/");
    Ok(())
}

async fn begin(world: &World, body: Value) -> String {
    let answer = ask(world, Method::POST, "/admin/replay", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{body}: {}", answer.json());
    let id = answer.json()["id"].as_str().expect("a replay has an id").to_owned();
    assert_eq!(answer.header("location"), format!("/admin/replay/{id}"));
    id
}

async fn until_through(world: &World, id: &str) -> anyhow::Result<Value> {
    let path = format!("/admin/replay/{id}");
    let through = async || look(world, &path).await["state"] == "done";
    world
        .until("the replay is through", Duration::from_secs(120), through)
        .await?;
    Ok(look(world, &path).await)
}

async fn with_todos(world: &World, user: &str, count: usize) -> anyhow::Result<()> {
    for number in 0..count {
        create(world, &format!("todo {number}"), user).await;
    }
    until_kept(
        world,
        world.sql.number("SELECT count(*) FROM journal"),
        Duration::from_secs(10),
    )
    .await
}

#[test]
fn a_replay_during_live_traffic_brings_what_is_missing_and_everything_once() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_todos(&world, "u1", 40).await?;
        lose_notifications(&world)?;
        let body = json!({ "subscription": "notifications", "fromPosition": 1, "ratePerSecond": 20 });
        let id = begin(&world, body).await;
        for number in 0..40 {
            create(&world, &format!("live {number}"), "u2").await;
        }
        let rows = |user| {
            world
                .sql
                .number(&format!("SELECT count(*) FROM notifications WHERE user_id = '{user}'"))
        };
        world
            .until("live traffic is told", Duration::from_secs(1), async || {
                rows("u2") == 40
            })
            .await?;
        assert!(rows("u1") < 40, "the replay keeps to its rate beside it");
        let listed = look(&world, "/admin/subscriptions").await;
        let shown = listed["subscriptions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["subscription"] == "notifications");
        assert_eq!(
            shown.map(|one| one["replays"][0]["id"].clone()),
            Some(json!(id)),
            "{listed}"
        );

        let replay = until_through(&world, &id).await?;
        assert_eq!(
            (&replay["redelivered"], &replay["percent"], &replay["toPosition"]),
            (&json!(40), &json!(100), &json!(40))
        );
        until_kept(&world, 80, Duration::from_secs(10)).await?;
        assert_eq!((rows("u1"), rows("u2")), (40, 40));
        Ok(())
    })
}

#[test]
fn a_replay_changes_nothing_that_is_done() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_todos(&world, "u1", 10).await?;
        let sent = deliveries_ms(&world, "notifications").len();
        let since = "2020-01-01T00:00:00Z";
        let id = begin(
            &world,
            json!({ "subscription": "notifications", "fromTime": since, "types": ["todos.task.*"] }),
        )
        .await;
        let replay = until_through(&world, &id).await?;
        assert_eq!(
            (&replay["redelivered"], &replay["mode"]),
            (&json!(0), &json!("redeliver"))
        );
        assert_eq!(deliveries_ms(&world, "notifications").len(), sent, "nothing was sent");
        until_kept(&world, 10, Duration::from_secs(1)).await
    })
}

#[test]
fn a_replay_goes_on_after_the_node_was_lost() -> anyhow::Result<()> {
    operate(async |mut world| {
        let _cron = world.start_cron();
        with_todos(&world, "u1", 30).await?;
        lose_notifications(&world)?;
        let id = begin(
            &world,
            json!({ "subscription": "notifications", "fromPosition": 1, "ratePerSecond": 5 }),
        )
        .await;
        for part in 1..=3_i64 {
            let told = async || world.sql.number("SELECT count(*) FROM notifications") >= part * 6;
            world.until("it gets on", Duration::from_secs(30), told).await?;
            assert_eq!(look(&world, &format!("/admin/replay/{id}")).await["state"], "running");
            world.restart()?;
        }
        let replay = until_through(&world, &id).await?;
        assert_eq!(replay["position"], 30);
        until_kept(&world, 30, Duration::from_secs(10)).await?;
        assert_eq!(world.sql.number("SELECT count(*) FROM notifications"), 30);
        Ok(())
    })
}

#[test]
fn a_replay_is_cancelled_and_resumed_by_its_id() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_todos(&world, "u1", 20).await?;
        lose_notifications(&world)?;
        let id = begin(
            &world,
            json!({ "subscription": "notifications", "fromPosition": 1, "ratePerSecond": 2 }),
        )
        .await;
        let turn =
            async |how: &str| ask(&world, Method::POST, &format!("/admin/replay/{id}/{how}"), &Value::Null).await;
        let told = || world.sql.number("SELECT count(*) FROM notifications");
        world
            .until("it has begun", Duration::from_secs(5), async || told() > 0)
            .await?;
        assert_eq!(turn("cancel").await.json()["state"], "cancelled");
        let end_ms = world.clock.now_ms() + 30_000;
        world
            .until("time passes", Duration::from_secs(40), async || {
                world.clock.now_ms() >= end_ms
            })
            .await?;
        assert!((1..20).contains(&told()), "{}", told());

        assert_eq!(turn("resume").await.json()["state"], "running");
        until_through(&world, &id).await?;
        world
            .until("all is told", Duration::from_secs(5), async || told() == 20)
            .await?;
        for how in ["cancel", "resume"] {
            assert_eq!(turn(how).await.status, StatusCode::CONFLICT, "{how}: it is through");
        }
        Ok(())
    })
}

#[test]
fn the_same_idempotency_key_begins_one_replay() -> anyhow::Result<()> {
    operate(async |world| {
        with_todos(&world, "u1", 1).await?;
        let authorization = format!("Bearer {}", TOKEN);
        let headers = [("authorization", &*authorization), ("idempotency-key", "k1")];
        let body = |position| json!({ "subscription": "analytics", "fromPosition": position }).to_string();
        let first = world.request(Method::POST, "/admin/replay", &headers, body(1)).await;
        let second = world.request(Method::POST, "/admin/replay", &headers, body(1)).await;
        assert_eq!(
            (first.status, second.status),
            (StatusCode::ACCEPTED, StatusCode::ACCEPTED)
        );
        assert_eq!(first.json()["id"], second.json()["id"]);
        let other = world.request(Method::POST, "/admin/replay", &headers, body(2)).await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(world.sql.number("SELECT count(*) FROM replays"), 1);
        Ok(())
    })
}
