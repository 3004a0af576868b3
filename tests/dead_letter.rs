//! What can't be delivered becomes a dead letter with its story, and nothing else suffers from it.

use std::time::Duration;

use rusqlite::types::Value as Stored;
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, When};

use crate::harness::{
    counted, create, deliveries_ms, lose_bells, notifications, simulate, todo, until_effects, until_kept,
};
use crate::retry::assert_policy;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A dead letter, as it is kept.
#[derive(Debug, PartialEq)]
struct DeadLetter {
    subscription: String,
    position: i64,
    attempts: i64,
    reason: String,
    first_at_ms: i64,
    last_at_ms: i64,
    trace: Option<String>,
}

fn dead_letters(world: &World) -> anyhow::Result<Vec<DeadLetter>> {
    let query = "SELECT subscription, position, attempt, reason, first_at_ms, last_at_ms, trace FROM exceptions
        WHERE state = 'dead' ORDER BY subscription, position";
    let read = |row: Vec<Stored>| match <[Stored; 7]>::try_from(row) {
        Ok(
            [
                Stored::Text(subscription),
                Stored::Integer(position),
                Stored::Integer(attempts),
                Stored::Text(reason),
                Stored::Integer(first_at_ms),
                Stored::Integer(last_at_ms),
                trace,
            ],
        ) => Ok(DeadLetter {
            subscription,
            position,
            attempts,
            reason,
            first_at_ms,
            last_at_ms,
            trace: match trace {
                Stored::Text(trace) => Some(trace),
                _ => None,
            },
        }),
        other => anyhow::bail!("a dead letter has another shape: {other:?}"),
    };
    world.sql.query(query)?.into_iter().map(read).collect()
}

/// Appends an event that notifications can't read: it doesn't say whom it is about.
fn append_unreadable(world: &World, id: &str) -> rusqlite::Result<()> {
    let now_ms = world.clock.now_ms();
    world.sql.change(&format!(
        "INSERT INTO journal (id, source, type, stream, version, time_ms, datacontenttype, extensions, data)
         VALUES ('{id}', '/import', 'todos.task.created', 'import/{id}', 1, {now_ms}, 'application/json',
             '{{\"traceparent\":\"{TRACE}\"}}', '{{\"title\":5}}')"
    ))
}

#[test]
fn an_event_that_can_never_work_is_a_dead_letter_at_once() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "Buy groceries", "u1").await;
        until_kept(&world, 1, Duration::from_secs(1)).await?;
        lose_bells(&world);
        append_unreadable(&world, "x")?;
        create(&world, "Buy bread", "u2").await;
        let _cron = world.start_cron();
        until_kept(&world, 3, Duration::from_secs(3)).await?;

        let now_ms = i64::try_from(world.clock.now_ms())?;
        let dead = dead_letters(&world)?;
        let [letter] = &dead[..] else {
            anyhow::bail!("one dead letter, not {dead:?}")
        };
        assert_eq!(
            (&*letter.subscription, letter.position, letter.attempts),
            ("notifications", 2, 1)
        );
        assert!(
            letter.reason.contains("data") || letter.reason.contains("title"),
            "{}",
            letter.reason
        );
        assert_eq!(letter.trace.as_deref(), Some(TRACE));
        assert_eq!(letter.first_at_ms, letter.last_at_ms);
        assert!((now_ms - 3_000..=now_ms).contains(&letter.first_at_ms), "{letter:?}");

        // The event beside it in the batch isn't affected, nor is the other subscription.
        assert_eq!(notifications(&world, "u2").await, 1);
        assert_eq!(deliveries_ms(&world, "notifications").len(), 2);
        assert_eq!(counted(&world, "todos.task.created").await, 3);
        Ok(())
    })
}

#[test]
fn the_last_attempt_that_fails_makes_a_dead_letter_with_its_story() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        world.node().faults.hit(
            "notifications",
            "sqlite.execute",
            "poison",
            usize::MAX,
            Fault::Fail,
            When::Before,
        );
        let headers = [("content-type", "application/json"), ("traceparent", TRACE)];
        let poison = todo("poison", "u1").to_string();
        assert_eq!(
            world
                .request(http::Method::POST, "/todos", &headers, poison)
                .await
                .status,
            201
        );
        let dead = async || dead_letters(&world).is_ok_and(|letters| letters.len() == 1);
        world.until("it is given up on", Duration::from_secs(150), dead).await?;

        let letter = dead_letters(&world)?.remove(0);
        let attempts_ms = deliveries_ms(&world, "notifications");
        assert_eq!(
            (&*letter.subscription, letter.position, letter.attempts),
            ("notifications", 1, 8)
        );
        assert_policy(&attempts_ms, 0);
        assert!(
            letter.reason.contains("500") || letter.reason.contains("503"),
            "{}",
            letter.reason
        );
        assert_eq!(letter.trace.as_deref(), Some(TRACE));
        // It is written down when the attempt has failed: a moment after it was sent.
        let moment_ms = |sent_ms: u64, at_ms: i64| (0..=20).contains(&(at_ms - sent_ms as i64));
        assert!(
            moment_ms(attempts_ms[0], letter.first_at_ms),
            "{attempts_ms:?} {letter:?}"
        );
        assert!(
            moment_ms(attempts_ms[7], letter.last_at_ms),
            "{attempts_ms:?} {letter:?}"
        );

        // The other subscription and later events are as if nothing had happened.
        assert_eq!(counted(&world, "todos.task.created").await, 1);
        create(&world, "Buy bread", "u2").await;
        let told = async || notifications(&world, "u2").await == 1;
        world
            .until("the next todo is told", Duration::from_millis(100), told)
            .await
    })
}

#[test]
fn a_dead_letter_is_left_alone() -> anyhow::Result<()> {
    simulate(async |mut world| {
        create(&world, "Buy groceries", "u1").await;
        append_unreadable(&world, "x")?;
        let cron = world.start_cron();
        until_kept(&world, 2, Duration::from_secs(3)).await?;
        let (letters, sent) = (dead_letters(&world)?, deliveries_ms(&world, "notifications").len());
        assert_eq!(letters.len(), 1);

        let end_ms = world.clock.now_ms() + 600_000;
        let later = async || world.clock.now_ms() >= end_ms;
        world
            .until("ten minutes are over", Duration::from_secs(620), later)
            .await?;
        assert_eq!(deliveries_ms(&world, "notifications").len(), sent);

        // Neither does a restart, nor a bell, bring it back.
        drop(cron);
        world.restart()?;
        let _cron = world.start_cron();
        create(&world, "Buy bread", "u2").await;
        until_kept(&world, 3, Duration::from_secs(3)).await?;
        assert_eq!(deliveries_ms(&world, "notifications").len(), 1, "the new event's");
        assert_eq!(dead_letters(&world)?, letters);
        Ok(())
    })
}

#[test]
fn dead_letters_are_seen_in_the_health_report() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "Buy groceries", "u1").await;
        for id in ["x", "y"] {
            append_unreadable(&world, id)?;
        }
        let _cron = world.start_cron();
        until_kept(&world, 3, Duration::from_secs(3)).await?;
        let report = world.get("/health").await.json();
        let dead = |name: &str| {
            let subscriptions = report["subscriptions"].as_array()?;
            let lag = subscriptions.iter().find(|lag| lag["subscription"] == name)?;
            lag["deadLetters"].as_i64()
        };
        assert_eq!(
            (dead("notifications"), dead("analytics")),
            (Some(2), Some(0)),
            "{report}"
        );
        Ok(())
    })
}

#[test]
fn a_row_whose_json_is_broken_stops_nobody() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "before", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        world.sql.change(
            "INSERT INTO journal SELECT 2, 'broken', source, 'todos.task.changed', 'b', 'todos/b', 1, time_ms, datacontenttype, NULL, NULL, '{'
             FROM journal WHERE position = 1",
        )?;
        let id = create(&world, "after", "u2").await;
        let told = async || {
            world
                .sql
                .number(&format!("SELECT count(*) FROM notifications WHERE todo_id = '{id}'"))
                == 1
        };
        world
            .until("what comes after it is told", Duration::from_secs(1), told)
            .await?;
        let dead =
            "SELECT count(*) FROM exceptions WHERE state = 'dead' AND subscription = 'notifications' AND position = 2";
        assert_eq!(world.sql.number(dead), 1);
        Ok(())
    })
}
