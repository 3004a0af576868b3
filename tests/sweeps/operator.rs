//! An operator's hands: dead letters that two of them redrive at once, and a replay.

use std::sync::Arc;

use http::{Method, StatusCode};
use selvedge_engine::Program;
use selvedge_testkit::World;
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::client;
use selvedge_testkit::simulation::{Fault, When};
use selvedge_testkit::sweep::Sweep;
use serde_json::{Value, json};

use super::{Application, PATIENCE, assert_kept, no_dead_letters};
use crate::admin::TOKEN;
use crate::todo_journey::{only_its_events, todo_journey};

/// The application with an operator.
fn operated() -> anyhow::Result<Arc<Program>> {
    let application = Application {
        variables: &[("admin_token", TOKEN)],
        ..Application::default()
    };
    application.compile()
}

/// Asks until it is answered that it is done.
async fn operate(world: &World, path: &str, key: &str, body: &Value) {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*authorization), ("idempotency-key", key)];
    let done = async || {
        world.revive();
        let answer = client::once(world, Method::POST, path, &headers, body.to_string()).await;
        answer.is_some_and(|answer| answer.status == StatusCode::ACCEPTED)
    };
    world
        .until("the operator is answered", PATIENCE, done)
        .await
        .expect("it is");
}

/// Two events that notifications was never told of: two dead letters.
async fn two_dead_letters(world: &World) {
    let faults = &world.node().faults;
    let statement = "INSERT INTO notifications (";
    faults.hit(
        "notifications",
        "sqlite.execute",
        statement,
        usize::MAX,
        Fault::Fail,
        When::Before,
    );
    todo_journey(world).await;
    let dead = async || world.sql.number("SELECT count(*) FROM exceptions WHERE state = 'dead'") == 2;
    world
        .until("both are given up on", PATIENCE, dead)
        .await
        .expect("they are");
    faults.clear();
}

#[test]
fn every_call_of_two_redrives_at_once_may_fail_in_every_way() -> anyhow::Result<()> {
    let journey = async |world: &World| {
        let path = "/admin/dead-letters/redrive";
        let (all, some) = (
            json!({ "filter": {} }),
            json!({ "ids": ["notifications:1", "notifications:2"] }),
        );
        tokio::join!(operate(world, path, "one", &all), operate(world, path, "other", &some));
    };
    let check = |world: &World| {
        let mut violations = only_its_events(world);
        violations.extend(no_dead_letters(world));
        violations
    };
    let program = operated()?;
    let report = Sweep::of(&program).after(two_dead_letters).run(&journey, &check);
    assert_kept("two redrives", 25, &report);
    Ok(())
}

/// Two events whose effects in notifications are lost.
async fn two_lost_effects(world: &World) {
    todo_journey(world).await;
    let told = async || world.sql.number("SELECT count(*) FROM notifications") == 2;
    world
        .until("the user is told of both", PATIENCE, told)
        .await
        .expect("it is so");
    // The relay's last word on them comes after that.
    let settled = async || selvedge_testkit::checkers::is_at_rest(world);
    world
        .until("both are settled", PATIENCE, settled)
        .await
        .expect("they are");
    world.sql.change("DELETE FROM notifications").expect("it is there");
    world.key_value.remove_prefix("done/notifications/");
}

#[test]
fn every_call_of_a_replay_may_fail_in_every_way() -> anyhow::Result<()> {
    let journey = async |world: &World| {
        let body = json!({ "subscription": "notifications", "fromPosition": 1, "mode": "redeliver" });
        operate(world, "/admin/replay", "replay-1", &body).await;
        let through = async || {
            world.revive();
            world.sql.number("SELECT count(*) FROM replays WHERE state = 'done'") == 1
        };
        // Whether it is through is asked when the system is at rest.
        _ = world.until("it is through", PATIENCE, through).await;
    };
    let check = |world: &World| {
        let mut violations = only_its_events(world);
        violations.extend(no_dead_letters(world));
        let (done, all) = (
            world.sql.number("SELECT count(*) FROM replays WHERE state = 'done'"),
            world.sql.number("SELECT count(*) FROM replays"),
        );
        if (done, all) != (1, 1) {
            violations.push(Violation(format!("{done} of {all} replays are done")));
        }
        violations
    };
    let program = operated()?;
    let report = Sweep::of(&program).after(two_lost_effects).run(&journey, &check);
    assert_kept("a replay", 30, &report);
    Ok(())
}
