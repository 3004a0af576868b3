//! `cargo xtask up`: the whole application on the embedded engine, built first.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::{self, say};
use crate::{components, workspace};

/// Build everything and run the application; nothing needs to be installed.
#[derive(clap::Args)]
pub struct Up {
    /// The application's manifest, from the checkout's folder.
    #[arg(long, value_name = "FILE", default_value = "spin.toml")]
    manifest: PathBuf,
    /// Given to `selvedge up` as they are: --listen ADDRESS, --state-dir FOLDER, --runtime-config-file FILE,
    /// --variable NAME=VALUE, --log all|file|terminal|off, --quiet.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

impl Up {
    /// Becomes the engine, so that signals and the exit code are the engine's own.
    pub fn run(self) -> Result<()> {
        components::build_all()?;
        build_engine()?;
        let mut engine = Command::new(workspace::binary("release", "selvedge"));
        engine
            .arg("up")
            .arg("--from")
            .arg(workspace::root().join(self.manifest))
            .args(self.options);
        Err(process::replace_by(&mut engine))
    }
}

/// Builds the engine's binary as it is meant to be used. From nothing this takes minutes: it contains wasmtime.
pub fn build_engine() -> Result<()> {
    say("building the engine");
    process::run(workspace::cargo().args([
        "build",
        "--release",
        "--package",
        "selvedge-engine",
        "--bin",
        "selvedge",
    ]))
}
