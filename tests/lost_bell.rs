//! A bell that is lost costs time, never an event.

use std::time::Duration;

use selvedge_testkit::World;
use selvedge_testkit::checkers::at_rest;
use selvedge_testkit::simulation::{Fault, When};

use crate::application::promise;
use crate::harness::{create, deliveries_ms, lose_bells, simulate, todo, until_effects, until_kept};

const BELL: &str = "/_selvedge/bell";

/// The cron looks every second, and what it finds is delivered at once.
const CRON_DEADLINE: Duration = Duration::from_millis(1_200);

#[test]
fn without_a_bell_the_cron_wakes_the_relay() -> anyhow::Result<()> {
    for fault in [Fault::Fail, Fault::Hang] {
        simulate(async |world| {
            let _cron = world.start_cron();
            world
                .node()
                .faults
                .hit("todos", "http.send", BELL, 1, fault, When::Before);
            create(&world, "Buy groceries", "u1").await;
            until_kept(&world, 1, CRON_DEADLINE).await?;
            assert_eq!(world.node().faults.met(), 1);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_bell_rings_on_though_its_answer_is_lost() -> anyhow::Result<()> {
    for fault in [Fault::Fail, Fault::Hang] {
        simulate(async |world| {
            world
                .node()
                .faults
                .hit("todos", "http.send", BELL, 1, fault, When::After);
            create(&world, "Buy groceries", "u1").await;
            until_kept(&world, 1, Duration::from_millis(100)).await
        })?;
    }
    Ok(())
}

#[test]
fn an_instance_that_traps_while_it_rings_leaves_its_event_to_the_cron() -> anyhow::Result<()> {
    for when in [When::Before, When::After] {
        simulate(async |world| {
            let _cron = world.start_cron();
            world
                .node()
                .faults
                .hit("todos", "http.send", BELL, 1, Fault::Trap, when);
            // The trap may meet the answer on its way, but not the event.
            world.post("/todos", &todo("Buy groceries", "u1")).await;
            until_kept(&world, 1, CRON_DEADLINE).await?;
            create(&world, "Buy bread", "u2").await;
            until_kept(&world, 2, Duration::from_millis(100)).await
        })?;
    }
    Ok(())
}

#[test]
fn a_relay_that_traps_when_it_is_rung_is_woken_by_the_cron() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        world
            .node()
            .faults
            .hit("relay", "sqlite.open", "default", 1, Fault::Trap, When::Before);
        create(&world, "Buy groceries", "u1").await;
        until_kept(&world, 1, CRON_DEADLINE).await?;
        assert_eq!(world.node().faults.met(), 1);
        Ok(())
    })
}

#[test]
fn a_cron_run_that_fails_is_followed_by_the_next() -> anyhow::Result<()> {
    for (function, detail) in [("sqlite.execute", "SELECT"), ("http.send", "/relay/drain")] {
        simulate(async |world| {
            let _cron = world.start_cron();
            lose_bells(&world);
            let faults = &world.node().faults;
            faults.hit("outbox-cron", function, detail, 1, Fault::Fail, When::Before);
            faults.hit("outbox-cron", function, detail, 1, Fault::Trap, When::Before);
            faults.hit("outbox-cron", function, detail, 1, Fault::Hang, When::Before);
            create(&world, "Buy groceries", "u1").await;
            until_kept(&world, 1, Duration::from_millis(4_200)).await?;
            assert_eq!(faults.met(), 1 + 3, "the bell and three runs");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_many_lost_bells_left_behind_is_delivered_in_one_go() -> anyhow::Result<()> {
    simulate(async |world| {
        lose_bells(&world);
        for number in 0..50 {
            create(&world, &format!("todo {number}"), "u1").await;
        }
        assert_eq!(
            world.sql.number("SELECT count(*) FROM subscriptions"),
            0,
            "no relay was ever awake"
        );
        let _cron = world.start_cron();
        until_kept(&world, 50, CRON_DEADLINE).await?;
        assert_eq!(deliveries_ms(&world, "notifications").len(), 1);
        Ok(())
    })
}

/// A relay that is woken by one event is held at its call of this number while another event is appended. False where it
/// makes no such call. There is no cron to help.
fn appended_while_held(number: usize, when: When) -> anyhow::Result<bool> {
    simulate(async |world: World| {
        let faults = &world.node().faults;
        let mut seen = 0;
        faults.inject(move |call, _| {
            seen += usize::from(&*call.component == "relay");
            let held = &*call.component == "relay" && seen == number + 1;
            held.then_some((Fault::Stall, when))
        });
        create(&world, "the first", "u1").await;
        let held = || faults.met() == 1;
        let done = || promise(&world).is_empty() && at_rest(&world).is_empty();
        let either = async || held() || done();
        world
            .until("the relay is held or done", Duration::from_secs(1), either)
            .await?;
        if !held() {
            return Ok(false);
        }
        create(&world, "the second", "u1").await;
        faults.release();
        until_kept(&world, 2, Duration::from_millis(500)).await?;
        Ok(true)
    })
}

#[test]
fn an_event_that_is_appended_while_the_relay_works_or_falls_asleep_is_not_forgotten() -> anyhow::Result<()> {
    for when in [When::Before, When::After] {
        let mut number = 0;
        while appended_while_held(number, when)? {
            number += 1;
        }
        println!("the relay was held at each of its {number} calls, {when:?}");
        assert!(number > 15, "a pass makes more than {number} calls");
    }
    Ok(())
}

#[test]
fn an_event_of_a_node_that_is_lost_is_delivered_by_the_next() -> anyhow::Result<()> {
    // Once the event is in the journal, the node dies: before the answer goes out, and before the bell is heard.
    for (function, detail, when) in [
        ("sqlite.execute", "INTO journal", When::After),
        ("http.send", BELL, When::Before),
        ("http.send", BELL, When::After),
    ] {
        println!("{function} {when:?}");
        simulate(async |mut world| {
            let node = world.node();
            node.faults.hit("todos", function, detail, 1, Fault::NodeLost, when);
            let wanted = todo("Buy groceries", "u1");
            let lost = async {
                world
                    .until("the node is lost", Duration::from_secs(1), async || {
                        node.faults.is_lost()
                    })
                    .await
            };
            tokio::select! {
                lost = lost => lost?,
                answer = world.post("/todos", &wanted) => assert_eq!(answer.status, 201),
            }
            world
                .until("the node is lost", Duration::from_secs(1), async || {
                    node.faults.is_lost()
                })
                .await?;
            assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 1);

            world.restart()?;
            let _cron = world.start_cron();
            // A relay that was awake when it died says so for two seconds more.
            until_kept(&world, 1, Duration::from_secs(4)).await
        })?;
    }
    Ok(())
}

#[test]
fn a_new_subscription_hears_what_was_before_it_without_any_event() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "before", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        // As if the subscription had just been added to the file.
        world.sql.change("DELETE FROM subscriptions WHERE name = 'analytics'")?;
        let _cron = world.start_cron();
        let registered = "SELECT count(*) FROM subscriptions WHERE name = 'analytics' AND cursor = 1";
        let registered = async || world.sql.number(registered) == 1;
        world
            .until("the cron has the relay take it up", Duration::from_secs(3), registered)
            .await
    })
}

#[test]
fn a_subscription_that_left_the_file_keeps_nobody_awake() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "any", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        world.sql.change(
            "INSERT INTO subscriptions (name, cursor, lease_token, leased_until_ms, collected)
             SELECT 'gone', 0, NULL, 0, 0",
        )?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let _cron = world.start_cron();
        let before = relay_calls(&world);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(
            relay_calls(&world),
            before,
            "the cron rang a relay that has nothing to do"
        );
        Ok(())
    })
}

fn relay_calls(world: &World) -> usize {
    world
        .node()
        .faults
        .calls()
        .iter()
        .filter(|call| call.component == "relay")
        .count()
}
