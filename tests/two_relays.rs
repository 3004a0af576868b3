//! Any number of relays: each event has its effect once, and one that was away too long changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, Node, When};

use crate::harness::{simulate, todo, until_kept, until_met};

/// How long a lease lasts unless it is renewed.
const LEASE_MS: u64 = 5_000;

/// The path of the deliveries to notifications.
const NOTIFICATIONS: &str = "/_selvedge/deliver/notifications";

async fn create_on(node: &Node, title: &str) {
    let headers = [("content-type", "application/json")];
    let created = node
        .request(Method::POST, "/todos", &headers, todo(title, "u1").to_string())
        .await;
    assert_eq!(created.status, 201, "{:?}", created.json());
}

/// Rings this node's relay until all that it can do is done.
async fn drain_on(node: &Node) {
    let answer = node.request(Method::POST, "/relay/drain", &[], "").await;
    assert_eq!(answer.status, 202, "{:?}", answer.json());
}

/// How many deliveries this node's relay sent.
fn sent_by(node: &Node, subscription: &str) -> usize {
    node.faults
        .times_ms("relay", "http.send", &format!("/_selvedge/deliver/{subscription}"))
        .len()
}

fn cursor(world: &World) -> i64 {
    world
        .sql
        .number("SELECT cursor FROM subscriptions WHERE name = 'notifications'")
}

fn two_nodes(world: &World) -> anyhow::Result<(Arc<Node>, Arc<Node>)> {
    Ok((world.node(), world.add_node()?))
}

/// Notes every cursor that goes back from now on. The tables must be there.
fn witness(world: &World) -> rusqlite::Result<()> {
    world.sql.change(
        "CREATE TABLE went_back (name TEXT);
         CREATE TRIGGER witness AFTER UPDATE ON subscriptions WHEN NEW.cursor < OLD.cursor
         BEGIN INSERT INTO went_back VALUES (NEW.name); END",
    )
}

fn assert_no_cursor_went_back(world: &World) {
    let went_back = world.sql.query("SELECT name FROM went_back");
    assert_eq!(went_back, Ok(Vec::new()), "the witness is there and saw nothing");
}

/// Events that were marked as done more than once by a subscription: their effect was made twice, or tried.
fn done_twice(nodes: &[&Node]) -> Vec<String> {
    let mut marks: BTreeMap<String, usize> = BTreeMap::new();
    let calls = nodes.iter().flat_map(|node| node.faults.calls());
    for call in calls.filter(|call| call.function == "keyvalue.set-many") {
        for key in call.detail.split_whitespace() {
            *marks.entry(key.to_owned()).or_default() += 1;
        }
    }
    marks
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(key, _)| key)
        .collect()
}

#[test]
fn two_relays_under_load_bring_every_event_once() -> anyhow::Result<()> {
    const ROUNDS: usize = 10;
    simulate(async |world| {
        let (one, other) = two_nodes(&world)?;
        create_on(&one, "the first").await;
        until_kept(&world, 1, Duration::from_secs(1)).await?;
        witness(&world)?;
        for round in 0..ROUNDS {
            // The nodes take turns. The bell wakes the relay of the event's node, and one of its deliveries takes long.
            let (slow, quick) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
            slow.faults
                .hit("relay", "http.send", NOTIFICATIONS, 1, Fault::Stall, When::Before);
            let met = slow.faults.met();
            create_on(slow, "wakes a relay").await;
            until_met(&world, slow, met + 1).await?;
            tokio::join!(
                create_on(slow, "a"),
                create_on(quick, "b"),
                create_on(slow, "c"),
                create_on(quick, "d"),
                drain_on(slow),
                drain_on(quick),
            );
            // Meanwhile it leaves everything else to others.
            let asleep = async || world.sql.number("SELECT awake_until_ms FROM relay") == 0;
            world
                .until("the slow relay sleeps", Duration::from_secs(1), asleep)
                .await?;
            let sent = sent_by(quick, "analytics");
            create_on(quick, "wakes the other relay").await;
            let works = async || sent_by(quick, "analytics") > sent;
            world
                .until("the other relay works", Duration::from_secs(1), works)
                .await?;
            slow.faults.release();
            until_kept(&world, 1 + 6 * (round as i64 + 1), Duration::from_secs(1)).await?;
        }
        assert!(sent_by(&one, "notifications") >= ROUNDS / 2 && sent_by(&other, "notifications") >= ROUNDS / 2);
        assert_eq!(done_twice(&[&one, &other]), Vec::<String>::new());
        assert_no_cursor_went_back(&world);
        Ok(())
    })
}

#[test]
fn a_lease_keeps_others_away_until_it_ends() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, other) = two_nodes(&world)?;
        one.faults.hit(
            "relay",
            "sqlite.execute",
            "FROM journal WHERE position",
            1,
            Fault::Stall,
            When::After,
        );
        create_on(&one, "Buy groceries").await;
        until_met(&world, &one, 1).await?;

        let stalled_ms = world.clock.now_ms();
        let patient = async || {
            drain_on(&other).await;
            world.clock.now_ms() > stalled_ms + LEASE_MS - 500
        };
        world
            .until("the other relay has had its chances", Duration::from_secs(6), patient)
            .await?;
        assert_eq!(sent_by(&other, "notifications"), 0, "it is leased");
        one.faults.release();
        until_kept(&world, 1, Duration::from_secs(3)).await?;
        assert_eq!((sent_by(&one, "notifications"), sent_by(&one, "analytics")), (1, 1));
        assert_eq!(sent_by(&other, "notifications") + sent_by(&other, "analytics"), 0);
        Ok(())
    })
}

#[test]
fn a_delivery_that_takes_long_keeps_its_lease() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, other) = two_nodes(&world)?;
        let _cron = world.start_cron();
        one.faults
            .hit("relay", "http.send", NOTIFICATIONS, 1, Fault::Stall, When::Before);
        create_on(&one, "Buy groceries").await;
        let begun_ms = world.clock.now_ms();
        let patient = async || {
            drain_on(&other).await;
            world.clock.now_ms() > begun_ms + 25_000
        };
        world
            .until("the other relay has had its chances", Duration::from_secs(26), patient)
            .await?;
        one.faults.release();
        until_kept(&world, 1, Duration::from_secs(1)).await?;
        assert_eq!(
            (sent_by(&one, "notifications"), sent_by(&other, "notifications")),
            (1, 0)
        );
        Ok(())
    })
}

/// A relay stalls at this statement until its lease has ended and another one has taken over and gone on. Then it comes
/// back.
fn comes_back_too_late(statement: &str, when: When) -> anyhow::Result<()> {
    println!("{statement} {when:?}");
    simulate(async |world| {
        let (one, other) = two_nodes(&world)?;
        create_on(&one, "the first").await;
        until_kept(&world, 1, Duration::from_secs(1)).await?;
        witness(&world)?;

        one.faults
            .hit("relay", "sqlite.execute", statement, 1, Fault::Stall, when);
        create_on(&one, "the second").await;
        until_met(&world, &one, 1).await?;
        let stalled_ms = world.clock.now_ms();

        // The other relay takes over when the lease has ended, and no sooner, and goes on to later events.
        let taken_over = async || {
            drain_on(&other).await;
            cursor(&world) == 2
        };
        let _cron = world.start_cron();
        world
            .until("the other relay has taken over", Duration::from_secs(45), taken_over)
            .await?;
        let waited_ms = world.clock.now_ms() - stalled_ms;
        assert!(
            (LEASE_MS..=LEASE_MS + 500).contains(&waited_ms),
            "it took over after {waited_ms} ms"
        );
        assert!(sent_by(&other, "notifications") > 0);
        create_on(&other, "the third").await;
        world
            .until("it goes on", Duration::from_secs(3), async || cursor(&world) == 3)
            .await?;

        one.faults.release();
        until_kept(&world, 3, Duration::from_secs(5)).await?;
        assert_eq!(cursor(&world), 3);
        assert_eq!(world.sql.number("SELECT count(*) FROM notifications"), 3);
        assert_eq!(world.sql.number("SELECT sum(count) FROM analytics_counts"), 3);
        assert_eq!(done_twice(&[&one, &other]), Vec::<String>::new());
        assert_no_cursor_went_back(&world);
        Ok(())
    })
}

#[test]
fn a_relay_that_comes_back_before_its_delivery_has_no_effect_any_more() -> anyhow::Result<()> {
    comes_back_too_late("FROM journal WHERE position", When::After)
}

#[test]
fn a_relay_that_comes_back_before_its_settlement_is_fenced() -> anyhow::Result<()> {
    comes_back_too_late("UPDATE subscriptions SET cursor", When::Before)
}

#[test]
fn a_settlement_that_comes_back_too_late_adds_no_exception() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, other) = two_nodes(&world)?;
        // The first delivery fails, and before its relay can write that down, another one has delivered the event.
        one.faults.hit(
            "notifications",
            "sqlite.execute",
            "INTO notifications",
            1,
            Fault::Fail,
            When::Before,
        );
        one.faults.hit(
            "relay",
            "sqlite.execute",
            "INSERT INTO exceptions",
            1,
            Fault::Stall,
            When::Before,
        );
        create_on(&one, "Buy groceries").await;
        until_met(&world, &one, 2).await?;
        let taken_over = async || {
            drain_on(&other).await;
            cursor(&world) == 1
        };
        world
            .until("the other relay has taken over", Duration::from_secs(45), taken_over)
            .await?;

        one.faults.release();
        let _cron = world.start_cron();
        until_kept(&world, 1, Duration::from_secs(5)).await?;
        let warned = |line: &String| line.contains("lease on notifications had ended");
        let fenced = async || world.output.lines().iter().any(warned);
        world
            .until("the relay learns that it was fenced", Duration::from_secs(5), fenced)
            .await?;
        assert_eq!(world.sql.number("SELECT count(*) FROM exceptions"), 0);
        Ok(())
    })
}

#[test]
fn a_retry_is_made_by_one_relay_at_a_time() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, other) = two_nodes(&world)?;
        one.faults.hit(
            "notifications",
            "sqlite.execute",
            "INTO notifications",
            1,
            Fault::Fail,
            When::Before,
        );
        one.faults.hit(
            "relay",
            "sqlite.execute",
            "UPDATE exceptions SET lease_token",
            1,
            Fault::Stall,
            When::After,
        );
        create_on(&one, "Buy groceries").await;
        let claimed = async || {
            drain_on(&one).await;
            one.faults.met() == 2
        };
        world
            .until("the retry is claimed", Duration::from_secs(3), claimed)
            .await?;
        let claimed_ms = world.clock.now_ms();
        let patient = async || {
            drain_on(&other).await;
            world.clock.now_ms() > claimed_ms + LEASE_MS - 500
        };
        world
            .until("the other relay has had its chances", Duration::from_secs(45), patient)
            .await?;
        assert_eq!(sent_by(&other, "notifications"), 0, "the retry is leased");

        // Its holder never comes back: once the lease has ended, the other one makes the retry.
        one.faults.lose();
        let _cron = world.start_cron();
        until_kept(&world, 1, Duration::from_secs(10)).await?;
        assert_eq!(sent_by(&other, "notifications"), 1);
        Ok(())
    })
}

#[test]
fn a_node_that_is_lost_in_the_middle_of_a_delivery_is_followed_by_the_other() -> anyhow::Result<()> {
    for (component, function, detail) in [
        ("relay", "http.send", NOTIFICATIONS),
        ("notifications", "sqlite.execute", "INTO notifications"),
        ("analytics", "keyvalue.set-many", "done/"),
        ("relay", "sqlite.execute", "UPDATE subscriptions SET cursor"),
    ] {
        for when in [When::Before, When::After] {
            println!("{component} {function} {when:?}");
            simulate(async |world| {
                let (one, _other) = two_nodes(&world)?;
                let _cron = world.start_cron();
                one.faults.hit(component, function, detail, 1, Fault::NodeLost, when);
                create_on(&one, "Buy groceries").await;
                world
                    .until("the node is lost", Duration::from_secs(1), async || {
                        one.faults.is_lost()
                    })
                    .await?;
                until_kept(&world, 1, Duration::from_secs(45)).await?;
                assert_eq!(world.sql.number("SELECT count(*) FROM notifications"), 1);
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_function_that_comes_back_after_its_timeout_does_nothing_twice() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let node = world.node();
        node.faults.hit(
            "notifications",
            "sqlite.execute",
            "INTO notifications",
            1,
            Fault::Stall,
            When::Before,
        );
        create_on(&node, "Buy groceries").await;
        // The relay has given up on it and delivers the event again; then both deliveries have their effect.
        let again = async || sent_by(&node, "notifications") == 2;
        world
            .until("the event is delivered again", Duration::from_secs(35), again)
            .await?;
        node.faults.release();
        until_kept(&world, 1, Duration::from_secs(3)).await?;
        assert_eq!(world.sql.number("SELECT count(*) FROM notifications"), 1);
        Ok(())
    })
}
