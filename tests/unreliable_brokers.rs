//! Brokers that lose, double and delay messages, and that restart: the promise holds on several nodes, and one seed is one run.

use std::sync::Arc;
use std::time::Duration;

use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::{Simulation, World};

use crate::harness::{create, root, until_kept};

const TODOS: usize = 20;
/// How many messages in a hundred are lost, doubled or late, and how late.
const UNRELIABLE_PERCENT: u32 = 40;
const LATE_MS: u64 = 20_000;

fn program(file: &str) -> anyhow::Result<Arc<Program>> {
    let manifest = Manifest::read(&root().join(file))?;
    let cache = root().join("target/component-cache");
    Ok(Arc::new(Program::compile(manifest, Some(cache), &|_| {})?))
}

/// Todos on three nodes, while `disturb` has its way with the broker and now and then restarts it. The hash of everything that
/// the nodes called.
fn run(program: &Arc<Program>, seed: u64, disturb: impl Fn(&World, bool)) -> anyhow::Result<Vec<u64>> {
    Simulation::run(program, seed, async |world| {
        world.add_node()?;
        world.add_node()?;
        let _cron = world.start_cron();
        for number in 0..TODOS {
            disturb(&world, number % 7 == 3);
            create(&world, &format!("todo {number}"), "u1").await;
        }
        until_kept(&world, TODOS as i64, Duration::from_secs(3_600)).await?;
        let nodes = world.nodes();
        assert_eq!(nodes.len(), 3);
        Ok(nodes.iter().map(|node| node.faults.trace_hash()).collect())
    })
}

/// Several runs, of which the first is made twice. `disturb` is told the run's seed as well.
fn costs_no_effect(file: &str, disturb: impl Fn(&World, u64, bool)) -> anyhow::Result<()> {
    let program = program(file)?;
    let run = |seed| run(&program, seed, |world, restart| disturb(world, seed, restart));
    assert_eq!(run(1)?, run(1)?, "one seed is one run");
    for seed in 2..=4 {
        run(seed)?;
    }
    Ok(())
}

#[test]
fn a_redis_server_that_loses_doubles_and_delays_messages_costs_no_effect() -> anyhow::Result<()> {
    costs_no_effect("spin.redis.toml", |world, seed, restart| {
        let redis = &world.network.redis;
        let seed = seed + redis.published() as u64;
        match restart {
            true => redis.restart(Duration::from_secs(2)),
            false => redis.fates(|fates| fates.unreliable(seed, UNRELIABLE_PERCENT, LATE_MS)),
        }
    })
}

#[test]
fn an_mqtt_broker_that_loses_doubles_and_delays_messages_costs_no_effect() -> anyhow::Result<()> {
    costs_no_effect("spin.mqtt.toml", |world, seed, restart| {
        let mqtt = &world.network.mqtt;
        let seed = seed + mqtt.published() as u64;
        match restart {
            true => mqtt.restart(Duration::from_secs(2)),
            false => mqtt.fates(|fates| fates.unreliable(seed, UNRELIABLE_PERCENT, LATE_MS)),
        }
    })
}

#[test]
fn a_kafka_broker_that_restarts_costs_no_effect() -> anyhow::Result<()> {
    costs_no_effect("spin.kafka.toml", |world, _, restart| {
        if restart {
            world.network.kafka.restart(Duration::from_secs(2));
        }
    })
}

/// The consumer waits at the broker: it doesn't ask from time to time.
#[test]
fn an_event_that_comes_by_kafka_is_heard_in_milliseconds() -> anyhow::Result<()> {
    let program = program("spin.kafka.toml")?;
    Simulation::run(&program, 1, async |world| {
        let _cron = world.start_cron();
        let groups = async || ["todos", "events"].map(|topic| world.network.kafka.groups(topic).len()) == [1, 1];
        world
            .until("both topics are consumed", Duration::from_secs(30), groups)
            .await?;
        for number in 1..=10 {
            create(&world, "tea", "u1").await;
            let both = async || {
                ["notifications", "analytics_counted"]
                    .iter()
                    .all(|table| world.sql.number(&format!("SELECT count(*) FROM {table}")) == number)
            };
            world
                .until("both effects are there", Duration::from_millis(5), both)
                .await?;
        }
        Ok(())
    })
}

#[test]
fn while_nobody_listens_events_wait_and_say_why() -> anyhow::Result<()> {
    let program = program("spin.redis.toml")?;
    Simulation::run(&program, 1, async |world| {
        let _cron = world.start_cron();
        world.network.redis.stop();
        create(&world, "tea", "u1").await;
        let refused = "SELECT count(*) FROM exceptions WHERE state = 'retry' AND reason LIKE '%Connection refused%'";
        let waits = async || world.sql.number(refused) == 2;
        world.until("both events wait", Duration::from_secs(30), waits).await?;
        world.network.redis.start();
        until_kept(&world, 1, Duration::from_secs(600)).await?;
        let listen = ["todos", "events"].map(|channel| world.network.redis.listeners(channel));
        assert_eq!(listen, [1, 1], "the triggers have connected again");
        // A node that is gone listens no more.
        let second = world.add_node()?;
        let both = async || world.network.redis.listeners("todos") == 2;
        world.until("both listen", Duration::from_secs(1), both).await?;
        second.faults.lose();
        let one = async || world.network.redis.listeners("todos") == 1;
        world.until("one listens", Duration::from_secs(1), one).await
    })
}
