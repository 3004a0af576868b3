//! `cargo xtask fuzz`: mutated examples through every parser, codec and route, guided by coverage.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::workspace;

/// Fuzz every parser, codec and route: `--seconds N` or `--executions N` per target, `--target X`, `--seed N`.
#[derive(clap::Args)]
pub struct Fuzz {
    /// Given to the fuzzer as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

impl Fuzz {
    /// Becomes the fuzzer, whose exit code says whether it found anything.
    pub fn run(self) -> Result<()> {
        say("building the fuzzer, with the project's own code counting what it runs");
        let mut cargo = workspace::cargo();
        // Only the workspace's own packages go through the wrapper: the dependencies are those of every other build. The tests'
        // package is named so that cargo chooses the same features for them.
        cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace::root().join("fuzz/instrument"));
        cargo.args([
            "build",
            "--package",
            "selvedge-fuzz",
            "--package",
            "selvedge-tests",
            "--bin",
            "fuzz",
        ]);
        process::run(&mut cargo)?;
        // health and relay read subscriptions.toml from where they run.
        let mut fuzzer = Command::new(workspace::binary("debug", "fuzz"));
        fuzzer.current_dir(workspace::root()).args(self.options);
        Err(process::replace_by(&mut fuzzer))
    }
}
