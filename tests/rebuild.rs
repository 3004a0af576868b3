//! Rebuilds in an operator's hands: a projection is built anew while events come, nodes are lost and readers read, and
//! readers see one whole projection or the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::simulation::{Fault, Peer, When};
use selvedge_testkit::sweep;
use selvedge_testkit::{World, client};
use serde_json::{Value, json};

use crate::admin::{TOKEN, ask, look, operate};
use crate::application::promise;
use crate::harness::{create, kept, notifications, root, until_kept};

/// What the old projection of analytics has too many of.
const DAMAGE: i64 = 1_000;

/// Takes every notification.
struct Partner;

#[async_trait]
impl Peer for Partner {
    async fn answer(&self, _request: Request<Bytes>) -> Option<Response<Bytes>> {
        Some(Response::new(Bytes::new()))
    }
}

async fn begin(world: &World, subscription: &str, rate_per_second: u32) -> String {
    let body = json!({ "subscription": subscription, "mode": "rebuild", "ratePerSecond": rate_per_second });
    let answer = ask(world, Method::POST, "/admin/replay", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{body}: {}", answer.json());
    answer.json()["id"].as_str().expect("a replay has an id").to_owned()
}

/// What readers of analytics are told in all.
async fn total(world: &World) -> i64 {
    let answer = world.get("/analytics/events").await;
    answer.json()["total"].as_i64().expect("analytics answers with a total")
}

async fn settle(world: &World, todos: usize) -> anyhow::Result<()> {
    for number in 0..todos {
        create(world, &format!("todo {number}"), "u1").await;
    }
    until_kept(
        world,
        world.sql.number("SELECT count(*) FROM journal"),
        Duration::from_secs(10),
    )
    .await
}

/// Makes the live projection of analytics one that has to be built anew.
fn damage(world: &World) -> anyhow::Result<()> {
    let damaged = "UPDATE analytics_counts SET count = count + 1000 WHERE type = 'todos.task.created'";
    Ok(world.sql.change(damaged)?)
}

#[test]
fn readers_see_the_old_counts_whole_until_the_new_ones_have_caught_up_with_live_traffic() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        settle(&world, 60).await?;
        damage(&world)?;
        let id = begin(&world, "analytics", 20).await;
        let (path, mut created) = (format!("/admin/replay/{id}"), 0);
        loop {
            let replay = look(&world, &path).await;
            let (told, journal) = (total(&world).await, world.sql.number("SELECT count(*) FROM journal"));
            if replay["state"] == "done" {
                break;
            }
            // The switch may come between the two looks.
            let switched = world
                .sql
                .number("SELECT generation FROM projections WHERE function = 'analytics'")
                == 1;
            assert!(
                switched || told >= 60 + DAMAGE,
                "the old projection is there whole: {told}"
            );
            assert!(told >= journal - 5 || switched, "and goes on: {told} of {journal}");
            assert!(created < 500, "{replay}");
            create(&world, &format!("live {created}"), "u2").await;
            created += 1;
            let end_ms = world.clock.now_ms() + 50;
            let passed = async || world.clock.now_ms() >= end_ms;
            world.until("time passes", Duration::from_secs(1), passed).await?;
        }
        assert!(created > 20, "{created} todos came meanwhile");
        until_kept(&world, 60 + created, Duration::from_secs(10)).await?;
        assert_eq!(total(&world).await, 60 + created, "the counts are exact");
        let replay = look(&world, &path).await;
        assert_eq!(
            (&replay["mode"], &replay["generation"], &replay["percent"]),
            (&json!("rebuild"), &json!(1), &json!(100))
        );
        Ok(())
    })
}

#[test]
fn a_rebuild_goes_on_after_nodes_were_lost() -> anyhow::Result<()> {
    operate(async |mut world| {
        let _cron = world.start_cron();
        settle(&world, 60).await?;
        damage(&world)?;
        let id = begin(&world, "analytics", 10).await;
        let path = format!("/admin/replay/{id}");
        for part in 1..=3 {
            let gets_on = async || look(&world, &path).await["position"].as_i64() >= Some(part * 10);
            world.until("it gets on", Duration::from_secs(30), gets_on).await?;
            assert_eq!(total(&world).await, 60 + DAMAGE);
            world.restart()?;
        }
        // The last is lost in the moment of the switch, which has happened or not.
        world.node().faults.hit(
            "relay",
            "sqlite.execute",
            "UPDATE replays SET state = 'done'",
            1,
            Fault::NodeLost,
            When::After,
        );
        let through = async || {
            world.revive();
            world.sql.number("SELECT count(*) FROM replays WHERE state = 'done'") == 1
        };
        world.until("it is through", Duration::from_secs(60), through).await?;
        world.revive();
        until_kept(&world, 60, Duration::from_secs(10)).await?;
        assert_eq!(total(&world).await, 60);
        Ok(())
    })
}

#[test]
fn a_cancelled_rebuild_leaves_what_readers_see() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        settle(&world, 40).await?;
        damage(&world)?;
        let id = begin(&world, "analytics", 5).await;
        let path = format!("/admin/replay/{id}");
        let gets_on = async || look(&world, &path).await["position"].as_i64() >= Some(10);
        world.until("it gets on", Duration::from_secs(10), gets_on).await?;
        let turn = async |how: &str| ask(&world, Method::POST, &format!("{path}/{how}"), &Value::Null).await;
        assert_eq!(turn("cancel").await.json()["state"], "cancelled");
        assert_eq!(turn("resume").await.status, StatusCode::CONFLICT);
        for number in 0..5 {
            create(&world, &format!("live {number}"), "u1").await;
        }
        let goes_on = async || total(&world).await == 45 + DAMAGE;
        world
            .until("the old one goes on", Duration::from_secs(10), goes_on)
            .await?;

        begin(&world, "analytics", 1_000).await;
        until_kept(&world, 45, Duration::from_secs(10)).await?;
        assert_eq!(total(&world).await, 45);
        Ok(())
    })
}

#[test]
fn nobody_outside_is_told_again_by_a_rebuild() -> anyhow::Result<()> {
    operate(async |mut world| {
        world.network.play("hooks.example", Partner);
        world.set_variable("notify_webhook_url", "http://hooks.example/notify");
        world.restart()?;
        let _cron = world.start_cron();
        settle(&world, 20).await?;
        world.sql.change("UPDATE notifications SET text = 'lost'")?;
        begin(&world, "notifications", 1_000).await;
        let switched = async || {
            world
                .sql
                .number("SELECT generation FROM projections WHERE function = 'notifications'")
                == 1
        };
        world
            .until("readers see the new ones", Duration::from_secs(10), switched)
            .await?;
        assert_eq!(notifications(&world, "u1").await, 20);
        let first = world.get("/notifications?userId=u1").await.json();
        assert_eq!(first["notifications"][0]["text"], "New: todo 0");
        create(&world, "live", "u1").await;
        until_kept(&world, 21, Duration::from_secs(10)).await?;
        assert_eq!(world.network.exchanges().len(), 21, "each was told outside once");
        Ok(())
    })
}

#[test]
fn what_cannot_be_built_anew_is_refused_with_its_reason() -> anyhow::Result<()> {
    operate(async |world| {
        settle(&world, 1).await?;
        for (body, status, says) in [
            (
                json!({ "subscription": "orders", "mode": "rebuild" }),
                409,
                "no projection",
            ),
            (
                json!({ "subscription": "analytics", "mode": "rebuild", "types": ["todos.task.*"] }),
                422,
                "types",
            ),
            (
                json!({ "subscription": "nobody", "mode": "rebuild" }),
                422,
                "subscription",
            ),
            (
                json!({ "subscription": "analytics", "mode": "redeliver" }),
                422,
                "fromPosition",
            ),
            (json!({ "subscription": "analytics", "mode": "anew" }), 422, "rebuild"),
        ] {
            let answer = ask(&world, Method::POST, "/admin/replay", &body).await;
            assert_eq!(answer.status, status, "{body}: {}", answer.json());
            assert!(answer.json().to_string().contains(says), "{body}: {}", answer.json());
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM replays"), 0);
        Ok(())
    })
}

/// The application with an operator.
fn operated() -> anyhow::Result<Arc<Program>> {
    let mut manifest = Manifest::read(&root().join("spin.toml"))?;
    let token = manifest.variables.get_mut("admin_token");
    token.context("operators have a token")?.default = Some(TOKEN.to_owned());
    let cache = root().join("target/component-cache");
    Ok(Arc::new(Program::compile(manifest, Some(cache), &|_| {})?))
}

/// A todo, and a rebuild of analytics that an operator asks for until it is answered.
async fn rebuild_journey(world: &World) {
    let created = client::command(world, "/todos", "create-1", &json!({ "title": "tea", "userId": "u1" })).await;
    assert_eq!(created.expect("the command is answered in the end").status, 201);
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*authorization), ("idempotency-key", "rebuild-1")];
    let body = json!({ "subscription": "analytics", "mode": "rebuild" }).to_string();
    let began = async || {
        world.revive();
        let answer = world
            .request(Method::POST, "/admin/replay", &headers, body.clone())
            .await;
        answer.status == StatusCode::ACCEPTED
    };
    world
        .until("the rebuild begins", Duration::from_secs(300), began)
        .await
        .expect("it does");
    let through = async || {
        world.revive();
        world.sql.number("SELECT count(*) FROM replays WHERE state = 'done'") == 1
    };
    // Whether it is through is asked when the system is at rest.
    _ = world.until("it is through", Duration::from_secs(300), through).await;
}

#[test]
fn every_call_of_a_rebuild_may_fail_in_every_way() -> anyhow::Result<()> {
    let check = |world: &World| {
        let mut violations = promise(world);
        let done = world.sql.number("SELECT count(*) FROM replays WHERE state = 'done'");
        let live = world
            .sql
            .number("SELECT generation FROM projections WHERE function = 'analytics'");
        let subscriptions = world
            .sql
            .number("SELECT count(*) FROM subscriptions WHERE name LIKE '%~%'");
        if (done, live, subscriptions) != (1, 1, 0) {
            let text = format!("{done} rebuilds are done, generation {live} is live, {subscriptions} are being built");
            violations.push(Violation(text));
        }
        violations
    };
    let report = sweep::sweep(&operated()?, &rebuild_journey, &check);
    kept("a rebuild", &report);
    assert!(report.calls > 60, "the journey made only {} calls", report.calls);
    assert!(report.broken.is_empty(), "{report}");
    Ok(())
}
