//! The example outside the workspace: built like a function, and tested with the sweep and the chaos.

use std::process::Command;

use anyhow::{Context, Result};

use crate::toolchain::{TARGET, Toolchain};
use crate::{process, workspace};

/// Its folder, and its package's name.
const FOLDER: &str = "examples/greetings";
pub const NAME: &str = "greetings";

/// Builds its component to where its spin.toml looks for it.
pub fn build() -> Result<()> {
    let toolchain = Toolchain::find_or_make()?;
    let mut cargo = cargo()?;
    toolchain.apply_to(&mut cargo);
    cargo.args(["build", "--target", TARGET, "--profile", "component", "--target-dir"]);
    process::run(cargo.arg(workspace::root().join("target/functions")))
}

/// The command that runs its tests, in the target folder that everything else is compiled in: wasmtime is there.
pub fn test() -> Result<Command> {
    let mut cargo = cargo()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    cargo
        .args(["test", "--no-fail-fast", "--target-dir"])
        .arg(workspace::root().join(target));
    Ok(cargo)
}

/// Cargo in its folder. It is given the versions of the project, so that what both need is compiled once.
fn cargo() -> Result<Command> {
    let (root, folder) = (workspace::root(), workspace::root().join(FOLDER));
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))
        .with_context(|| format!("{FOLDER} can't be given the project's Cargo.lock"))?;
    let mut cargo = workspace::cargo();
    cargo.current_dir(folder);
    Ok(cargo)
}
