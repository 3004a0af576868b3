//! `cargo xtask hardship`: the engine and its brokers as processes of their own, killed, starved and stalled.

use anyhow::{Result, bail};

use crate::{components, process, test, workspace};

/// The tests that are hardship, by what their names begin with.
const TESTS: [&str; 5] = [
    "real_process::brokers",
    "real_process::crashes",
    "real_process::stores",
    "real_process::connections",
    "real_process::clock",
];

/// Run the tests on real processes with their figures printed.
#[derive(clap::Args)]
pub struct Hardship {
    /// How often the engine, redis-server and mosquitto are killed under load, each.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Makes the kills come at the same moments again; it is printed by each run.
    #[arg(long)]
    seed: Option<u64>,
}

impl Hardship {
    /// Runs all of them. An error where one failed.
    pub fn run(self) -> Result<()> {
        if self.kills == 0 {
            bail!("--kills 0 proves nothing; use at least 1");
        }
        components::build_all()?;
        test::build_engine(&test::END_TO_END)?;
        let mut cargo = workspace::cargo();
        cargo.env("SELVEDGE_KILLS", self.kills.to_string());
        if let Some(seed) = self.seed {
            cargo.env("SELVEDGE_SEED", seed.to_string());
        }
        cargo
            .arg("test")
            .args(test::END_TO_END)
            .args(["--test", "behaviours", "--", "--nocapture"])
            .args(TESTS);
        process::run(&mut cargo)
    }
}
