//! `cargo xtask sim`: the shipped components in simulated worlds, searched for a broken promise.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::{components, test, workspace};

/// The environment variable that asks for whole sweeps; `crates/testkit/src/sweep.rs` heeds it.
const WHOLE: (&str, &str) = ("SELVEDGE_SWEEP", "all");

/// Search seeds for a broken promise, or replay one: `--runs N`, `--seed N`. Or sweep: `--sweep`.
#[derive(clap::Args)]
pub struct Sim {
    /// Builds the simulator with all optimisations first: for long searches.
    #[arg(long)]
    release: bool,
    /// Runs every sweep whole, instead of a part of those that are too large for every day.
    #[arg(long, conflicts_with_all = ["release", "options"])]
    sweep: bool,
    /// Given to the simulator as they are: --seed N, --runs N, --journeys N, --from N, --clients todos|everything,
    /// --broker none|redis|mqtt|kafka, --commands N, --faults N, --mutants, --mutant NAME, --report.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

impl Sim {
    /// Becomes the simulator, whose exit code says whether the promise held.
    pub fn run(self) -> Result<()> {
        components::build_all()?;
        if self.sweep {
            return sweep();
        }
        // Only these ask for them, and they take a minute at first.
        let hunts = |option: &OsString| {
            option
                .to_str()
                .is_some_and(|text| text.starts_with("--mutant") || text == "--report")
        };
        if self.options.iter().any(hunts) {
            components::build_mutants()?;
        }
        say("building the simulator");
        let (profile, folder) = if self.release {
            ("release", "release")
        } else {
            ("dev", "debug")
        };
        let build = [
            "build",
            "--package",
            "selvedge-tests",
            "--bin",
            "sim",
            "--profile",
            profile,
        ];
        process::run(workspace::cargo().args(build))?;
        let mut simulator = Command::new(workspace::binary(folder, "sim"));
        simulator.args(self.options);
        Err(process::replace_by(&mut simulator))
    }
}

/// Runs every sweep whole, and leaves the figures for the report. An error where one broke a promise.
fn sweep() -> Result<()> {
    test::build_engine(&test::END_TO_END)?;
    say("the sweeps");
    let mut tests = workspace::cargo();
    let (name, value) = WHOLE;
    tests
        .env(name, value)
        .arg("test")
        .args(test::END_TO_END)
        .args(["--test", "behaviours", "--", "sweep", "rebuild"]);
    process::run(&mut tests)
}
