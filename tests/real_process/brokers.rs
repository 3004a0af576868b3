//! The message broker is killed at random moments under load, and started again: nothing that was accepted is lost, and
//! nothing happens twice.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use selvedge_testkit::servers::{Access, Mosquitto, RedisServer};
use selvedge_testkit::{RealProcess, real_process};

use super::load::Load;
use super::promise::until_kept;
use super::{MEMORY_BYTES_MAX, alone, kept, kills, seed};
use crate::harness::{application_copy, edit};

/// How often the broker is killed where `SELVEDGE_KILLS` doesn't say.
const CRASHES: u32 = 3;
/// How soon, and how late, it is killed after it began to serve.
const KILLED_AFTER_MS: std::ops::Range<u64> = 20..1_500;
/// How long it is gone.
const GONE_MS: std::ops::Range<u64> = 0..400;

/// A broker that can be killed.
trait Broker {
    fn kill(&mut self) -> std::io::Result<()>;
    fn start_again(&mut self) -> anyhow::Result<()>;
}

impl Broker for RedisServer {
    fn kill(&mut self) -> std::io::Result<()> {
        self.kill()
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.start_again()
    }
}

impl Broker for Mosquitto {
    fn kill(&mut self) -> std::io::Result<()> {
        self.kill()
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.start_again()
    }
}

#[test]
fn every_201_has_each_effect_once_however_often_redis_is_killed() -> anyhow::Result<()> {
    let server = RedisServer::start(Access::Open)?;
    let variable = format!("redis_url={}", server.url());
    survive("redis", "redis-server", server, &variable)
}

#[test]
fn every_201_has_each_effect_once_however_often_mosquitto_is_killed() -> anyhow::Result<()> {
    let server = Mosquitto::start(Access::Open)?;
    let variable = format!("mqtt_url={}", server.url());
    survive("mqtt", "mosquitto", server, &variable)
}

/// Runs the application with its events on a broker, which is killed again and again under load.
fn survive(name: &str, program: &str, mut broker: impl Broker, variable: &str) -> anyhow::Result<()> {
    let _alone = alone();
    let mut random = StdRng::seed_from_u64(seed());
    let application = application_copy()?;
    // Nobody wants to wait for minutes for what a kill has cost several attempts.
    let subscriptions = application.path().join(format!("subscriptions.{name}.toml"));
    for subscription in ["notifications", "analytics"] {
        let line = format!("name = \"{subscription}\"\n");
        let impatience = "initial_interval = \"100ms\"\nmax_interval = \"1s\"\n";
        edit(&subscriptions, &line, &format!("{line}{impatience}"))?;
    }
    let state = application.path().join("state");
    let manifest = application.path().join(format!("spin.{name}.toml"));
    let process = RealProcess::start(&real_process::binary()?, &manifest, &state, &["--variable", variable])?;

    let (crashes, begin) = (kills()?.unwrap_or(CRASHES), Instant::now());
    let load = Load::start(&process);
    load.until_accepted(1)?;
    for _ in 0..crashes {
        std::thread::sleep(Duration::from_millis(random.random_range(KILLED_AFTER_MS)));
        broker.kill()?;
        std::thread::sleep(Duration::from_millis(random.random_range(GONE_MS)));
        broker.start_again()?;
    }
    load.until_accepted(1)?;
    let record = load.stop()?;
    assert!(
        record.refused.is_empty(),
        "commands need no broker: {:?}",
        record.refused
    );
    until_kept(&process, &state, &record.accepted)?;
    let (count, memory) = (record.accepted.values().map(Vec::len).sum::<usize>(), process.memory()?);
    println!(
        "{program}: {crashes} kills, {count} todos were accepted, all effects are there after {:?}; {memory}",
        begin.elapsed()
    );
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    kept(
        &format!("SIGKILL of {program}"),
        crashes,
        count,
        begin.elapsed(),
        memory,
    )
}
