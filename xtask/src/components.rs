//! `cargo xtask build`: every function as a WebAssembly component, where spin.toml's `source` looks for it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace;

/// Build the functions as WebAssembly components.
#[derive(clap::Args)]
pub struct Build {
    /// Only this function (repeat for more); all of them when none is named.
    #[arg(long = "package", short = 'p', value_name = "NAME")]
    packages: Vec<String>,
    /// Build them with the kernel's mutants in them, for the test that looks whether the simulator finds those.
    #[arg(long, conflicts_with = "packages")]
    mutants: bool,
}

impl Build {
    /// Builds what was asked for and says what came out.
    pub fn run(self) -> Result<()> {
        if self.mutants {
            build_mutants()
        } else if self.packages.is_empty() {
            build_all()
        } else {
            build(&self.packages, &SHIPPED)
        }
    }
}

/// Functions that tests bring, in folders under `tests/`.
const OF_TESTS: [&str; 1] = ["probe"];

/// Builds every function. When nothing changed since the last time this takes a fraction of a second.
pub fn build_all() -> Result<()> {
    build(&all()?, &SHIPPED)
}

/// Builds the functions that the hunt for mutants runs with the kernel's mutants in them, to a folder that nothing is
/// shipped from.
pub fn build_mutants() -> Result<()> {
    build(&HUNTED.map(str::to_owned), &MUTANTS)
}

/// The names of the shipped functions and of those that tests bring: all that can only be linked as a component.
pub fn all() -> Result<Vec<String>> {
    let mut names = functions()?;
    names.extend(OF_TESTS.map(str::to_owned));
    Ok(names)
}

/// The functions that a todo's events and an order's pass, by Kafka too, and the operator's: tests/mutant_hunt.rs hunts in them.
const HUNTED: [&str; 10] = [
    "todos",
    "relay",
    "notifications",
    "analytics",
    "outbox-cron",
    "orders",
    "payments",
    "shipping",
    "admin",
    "kafka-consumer",
];

/// How components are built, and where they land.
struct Variant {
    profile: &'static str,
    folder: &'static str,
    features: &'static [&'static str],
}

/// What spin.toml names.
const SHIPPED: Variant = Variant {
    profile: "component",
    folder: "target/functions",
    features: &[],
};

/// What tests/mutants.rs looks for.
const MUTANTS: Variant = Variant {
    profile: "mutants",
    folder: "target/mutants",
    features: &["--features", "selvedge/mutants"],
};

/// The functions' names: the folders under `functions/`, each of which is one package of that name.
pub fn functions() -> Result<Vec<String>> {
    let folder = workspace::root().join("functions");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        bail!("{} has no packages: there is nothing to build", folder.display());
    }
    names.sort();
    Ok(names)
}

fn build(packages: &[String], variant: &Variant) -> Result<()> {
    let toolchain = Toolchain::find_or_make()?;
    say(format_args!(
        "building {} for {TARGET} with {toolchain}",
        packages.join(", ")
    ));
    let started = Instant::now();
    let mut cargo = workspace::cargo();
    toolchain.apply_to(&mut cargo);
    cargo.args([
        "build",
        "--target",
        TARGET,
        "--profile",
        variant.profile,
        "--target-dir",
        variant.folder,
    ]);
    cargo.args(variant.features);
    for package in packages {
        cargo.args(["--package", package]);
    }
    process::run(&mut cargo)?;
    for package in packages {
        let file = component_of(package, variant);
        let size = std::fs::metadata(workspace::root().join(&file))
            .with_context(|| format!("{package} was built but left no {}: is it a cdylib?", file.display()))?
            .len();
        say(format_args!("{:>7} kB  {}", size / 1000, file.display()));
    }
    say(format_args!(
        "functions built in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Where a function's component lands, from the checkout's folder.
fn component_of(package: &str, variant: &Variant) -> PathBuf {
    let file = package.replace('-', "_") + ".wasm";
    PathBuf::from(variant.folder)
        .join(TARGET)
        .join(variant.profile)
        .join(file)
}
