//! `cargo xtask bench`: what an event costs, measured from outside through the real HTTP port.
//!
//! This half prepares: it builds the functions, the engine and the load generator in release, and becomes the latter.
//! The load generator ([`load`]) is a process of its own, with the engine as its child.

#[cfg(feature = "bench")]
mod broker;
#[cfg(feature = "bench")]
mod effects;
#[cfg(feature = "bench")]
mod engine;
#[cfg(feature = "bench")]
mod http;
#[cfg(feature = "bench")]
mod journey;
#[cfg(feature = "bench")]
pub mod load;
#[cfg(feature = "bench")]
mod long;
#[cfg(feature = "bench")]
mod report;

use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::process::{self, say};
use crate::{components, up, workspace};

/// Measure the application: rates, delays, CPU seconds and memory. Prints one table.
#[derive(clap::Args)]
pub struct Bench {
    /// What runs the application; name both to compare them.
    #[arg(long = "engine", value_enum, value_name = "ENGINE", default_value = "selvedge")]
    engines: Vec<EngineKind>,
    /// What brings events to notifications and analytics; name more to compare them.
    #[arg(long = "broker", value_enum, value_name = "BROKER", default_value = "none")]
    brokers: Vec<Broker>,
    /// How long each phase sends requests.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How many keep-alive connections send at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,
    /// Measure instead what length costs: loading a stream of many events, and journeys on a journal of very many.
    #[arg(long)]
    long: bool,
    /// Leave orders out: where a broker brings events one by one, what a few seconds of orders lead to takes minutes.
    #[arg(long)]
    todos_only: bool,
}

/// What can run the application.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// The embedded engine of this project.
    Selvedge,
    /// `spin` from PATH, with the cron plugin.
    Spin,
}

impl EngineKind {
    /// The name that `--engine` takes.
    fn name(self) -> &'static str {
        match self {
            Self::Selvedge => "selvedge",
            Self::Spin => "spin",
        }
    }
}

/// What can bring events to consumers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Broker {
    /// The relay calls them.
    None,
    /// Channels of a Redis server from PATH.
    Redis,
    /// Topics of a Mosquitto from PATH.
    Mqtt,
    /// Topics of the Kafka-compatible broker that the end-to-end tests install.
    Kafka,
}

impl Broker {
    /// The name that `--broker` takes.
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Redis => "redis",
            Self::Mqtt => "mqtt",
            Self::Kafka => "kafka",
        }
    }

    /// Its server's program, which the Debian package of the same name brings; `None` where it has none, or another way.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Kafka => None,
            Self::Redis => Some("redis-server"),
            Self::Mqtt => Some("mosquitto"),
        }
    }
}

/// What is measured: an application on an engine, with its events on a broker.
#[cfg(feature = "bench")]
#[derive(Clone, Copy)]
pub struct Subject {
    engine: EngineKind,
    broker: Broker,
}

#[cfg(feature = "bench")]
impl Subject {
    /// Its name in the table.
    fn name(self) -> String {
        match self.broker {
            Broker::None => self.engine.name().to_owned(),
            broker => format!("{}, {}", self.engine.name(), broker.name()),
        }
    }
}

impl Bench {
    /// Builds everything that is measured or measures, and becomes the load generator.
    pub fn run(mut self) -> Result<()> {
        if self.engines.contains(&EngineKind::Spin) && !is_on_path("spin") {
            say("there is no spin on PATH: its figures are skipped");
            self.engines.retain(|engine| *engine != EngineKind::Spin);
            if self.engines.is_empty() {
                return Ok(());
            }
        }
        for (broker, program) in self
            .brokers
            .iter()
            .filter_map(|broker| Some((broker, broker.program()?)))
        {
            if !is_on_path(program) {
                bail!(
                    "there is no {program} on PATH: install it (`apt-get install {program}`), or leave out `--broker {}`",
                    broker.name()
                );
            }
        }
        components::build_all()?;
        up::build_engine()?;
        say("building the load generator");
        process::run(workspace::cargo().args(["build", "--release", "--package", "xtask", "--features", "bench"]))?;

        let mut load = Command::new(workspace::binary("release", "xtask"));
        load.arg("load");
        for engine in &self.engines {
            load.args(["--engine", engine.name()]);
        }
        for broker in &self.brokers {
            load.args(["--broker", broker.name()]);
        }
        load.args([
            "--seconds",
            &self.seconds.to_string(),
            "--connections",
            &self.connections.to_string(),
        ]);
        if self.long {
            load.arg("--long");
        }
        if self.todos_only {
            load.arg("--todos-only");
        }
        Err(process::replace_by(&mut load))
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
