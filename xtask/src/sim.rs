//! `cargo xtask sim`: the shipped components in simulated worlds, searched for a broken promise.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::{components, workspace};

/// Search seeds for a broken promise, or replay one: `--runs N`, `--seed N`.
#[derive(clap::Args)]
pub struct Sim {
    /// Given to the simulator as they are: --seed N, --runs N, --from N, --commands N, --faults N.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

impl Sim {
    /// Becomes the simulator, whose exit code says whether the promise held.
    pub fn run(self) -> Result<()> {
        components::build_all()?;
        say("building the simulator");
        process::run(workspace::cargo().args(["build", "--package", "selvedge-tests", "--bin", "sim"]))?;
        let mut simulator = Command::new(workspace::binary("debug", "sim"));
        simulator.args(self.options);
        Err(process::replace_by(&mut simulator))
    }
}
