//! Dead letters in an operator's hands: found, redriven once by however many, discarded for good.

use std::time::Duration;

use http::{Method, StatusCode};
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, When};
use serde_json::{Value, json};

use crate::admin::{ask, look, operate};
use crate::harness::{create, deliveries_ms, notifications, until_kept};

/// Makes these todos of a user, none of which notifications can be told of, until they are all dead letters.
async fn with_dead_letters(world: &World, user: &str, count: usize) -> anyhow::Result<()> {
    refuse(world);
    for number in 0..count {
        create(world, &format!("todo {number}"), user).await;
    }
    let dead = async || dead(world).await == count;
    world
        .until("all are given up on", Duration::from_secs(300), dead)
        .await?;
    world.node().faults.clear();
    Ok(())
}

/// From now on notifications fails.
fn refuse(world: &World) {
    let faults = &world.node().faults;
    faults.hit(
        "notifications",
        "sqlite.execute",
        "INSERT INTO notifications",
        usize::MAX,
        Fault::Fail,
        When::Before,
    );
}

async fn dead(world: &World) -> usize {
    let page = look(world, "/admin/dead-letters?limit=100").await;
    page["deadLetters"].as_array().map_or(0, Vec::len)
}

async fn redrive(world: &World, body: Value) -> Value {
    let answer = ask(world, Method::POST, "/admin/dead-letters/redrive", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{body}: {}", answer.json());
    answer.json()
}

#[test]
fn a_dead_letter_is_found_with_its_story_and_its_event() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_dead_letters(&world, "u1", 3).await?;
        let first = look(
            &world,
            "/admin/dead-letters?limit=2&subscription=notifications&type=todos.*.created&reason=50",
        )
        .await;
        let ids: Vec<_> = first["deadLetters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|letter| letter["id"].clone())
            .collect();
        assert_eq!(
            (ids, &first["next"]),
            (
                vec![json!("notifications:1"), json!("notifications:2")],
                &json!("notifications:2")
            )
        );
        let second = look(&world, "/admin/dead-letters?limit=2&after=notifications:2").await;
        assert_eq!(
            (&second["deadLetters"][0]["id"], &second["next"]),
            (&json!("notifications:3"), &Value::Null)
        );

        let letter = &second["deadLetters"][0];
        assert_eq!(
            (&letter["attempts"], &letter["redrives"], &letter["type"]),
            (&json!(8), &json!(0), &json!("todos.task.created"))
        );
        let story = look(&world, "/admin/dead-letters/notifications:3").await;
        assert_eq!(&story["deadLetter"], letter);
        assert_eq!(story["event"]["data"]["title"], "todo 2");
        for none in [
            "subscription=analytics",
            "type=todos.task.deleted",
            "reason=moon",
            "to=2000-01-01T00:00:00Z",
        ] {
            let page = look(&world, &format!("/admin/dead-letters?{none}")).await;
            assert_eq!(page["deadLetters"], json!([]), "{none}");
        }
        Ok(())
    })
}

#[test]
fn two_operators_redrive_the_same_letters_at_once_and_each_takes_effect_once() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_dead_letters(&world, "u1", 12).await?;
        let all = async || redrive(&world, json!({ "filter": { "subscription": "notifications" } })).await;
        let some = async || {
            redrive(
                &world,
                json!({ "ids": ["notifications:3", "notifications:7", "notifications:99"] }),
            )
            .await
        };
        let (first, second, third) = tokio::join!(all(), some(), all());
        let redriven = [&first, &second, &third].map(|answer| answer["redriven"].as_u64().unwrap_or_default());
        assert_eq!(redriven.iter().sum::<u64>(), 12, "{first} {second} {third}");
        assert!(
            second["notDead"]
                .as_array()
                .is_some_and(|ids| ids.contains(&json!("notifications:99"))),
            "{second}"
        );
        let told = async || notifications(&world, "u1").await == 12;
        world.until("all are told", Duration::from_secs(5), told).await?;
        until_kept(&world, 12, Duration::from_secs(5)).await?;
        assert_eq!(redrive(&world, json!({ "filter": {} })).await["redriven"], 0);
        Ok(())
    })
}

#[test]
fn letters_that_fail_again_are_dead_again_and_not_picked_up_by_the_same_redrive() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_dead_letters(&world, "u1", 2).await?;
        refuse(&world);
        let attempts = deliveries_ms(&world, "notifications").len();
        assert_eq!(redrive(&world, json!({ "filter": {} })).await["redriven"], 2);
        let again = async || dead(&world).await == 2;
        world
            .until("they are dead again", Duration::from_secs(300), again)
            .await?;
        let end_ms = world.clock.now_ms() + 60_000;
        world
            .until("a minute passes", Duration::from_secs(70), async || {
                world.clock.now_ms() >= end_ms
            })
            .await?;
        let tried = deliveries_ms(&world, "notifications").len() - attempts;
        assert!(
            (8..=16).contains(&tried),
            "eight attempts each, alone or together: {tried}"
        );
        let letters = look(&world, "/admin/dead-letters").await;
        for letter in letters["deadLetters"].as_array().into_iter().flatten() {
            let counts = ["attempts", "earlierAttempts", "redrives"].map(|field| letter[field].as_i64());
            assert_eq!(counts, [Some(8), Some(8), Some(1)], "{letter}");
        }
        Ok(())
    })
}

#[test]
fn a_redrive_keeps_to_its_rate() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_dead_letters(&world, "u1", 10).await?;
        let begun_ms = world.clock.now_ms();
        redrive(&world, json!({ "filter": {}, "ratePerSecond": 2 })).await;
        for second in 1..=4 {
            let at_ms = begun_ms + second * 1_000 - 100;
            world
                .until("time passes", Duration::from_secs(2), async || {
                    world.clock.now_ms() >= at_ms
                })
                .await?;
            let told = notifications(&world, "u1").await as u64;
            assert!(told <= 2 * second, "{told} after {second} s");
        }
        let told = async || notifications(&world, "u1").await == 10;
        world.until("all are told", Duration::from_secs(5), told).await?;
        assert!(world.clock.now_ms() - begun_ms >= 4_000);
        Ok(())
    })
}

#[test]
fn what_is_discarded_stays_on_record_and_is_never_brought_again() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        with_dead_letters(&world, "u1", 3).await?;
        let body = json!({ "ids": ["notifications:2"], "reason": "the user left", "by": "ann" });
        for (discarded, not_dead) in [(1, json!([])), (0, json!(["notifications:2"]))] {
            let answer = ask(&world, Method::POST, "/admin/dead-letters/discard", &body).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(
                (&answer.json()["discarded"], &answer.json()["notDead"]),
                (&json!(discarded), &not_dead)
            );
        }
        assert_eq!(redrive(&world, json!({ "filter": {} })).await["redriven"], 2);
        assert_eq!(
            redrive(&world, json!({ "ids": ["notifications:2"] })).await["redriven"],
            0
        );
        until_kept(&world, 3, Duration::from_secs(5)).await?;
        assert_eq!(notifications(&world, "u1").await, 2);

        let kept = look(&world, "/admin/dead-letters?state=discarded").await;
        let record = &kept["deadLetters"][0];
        assert_eq!(
            (&record["id"], &record["discarded"]["reason"]),
            (&json!("notifications:2"), &json!("the user left"))
        );
        assert_eq!(record["discarded"]["by"], "ann");
        assert!(
            record["discarded"]["at"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{record}"
        );
        assert_eq!(look(&world, "/admin/dead-letters").await["deadLetters"], json!([]));
        Ok(())
    })
}
