//! `cargo xtask sim`: searches seeds for a broken promise, replays one, and makes it small.

mod application;
mod commit;
mod mutant_hunt;
mod report;
mod search;
mod todo_journey;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use selvedge_testkit::chaos::{self, Bounds};

use crate::application::{Broker, Clients, Programs, Setting};

/// A run makes and forgets worlds, instances and connections all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the application's components in simulated worlds, under faults that a seed decides.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Options {
    /// Replays one seed and tells its story.
    #[arg(long, conflicts_with = "runs")]
    seed: Option<u64>,
    /// Hunts the kernel's mutants and says what finds each.
    #[arg(long, conflicts_with_all = ["seed", "runs"])]
    mutants: bool,
    /// Hunts one of the kernel's mutants.
    #[arg(long, conflicts_with_all = ["seed", "runs"], value_name = "NAME")]
    mutant: Option<String>,
    /// Searches until so many journeys were made: accepted commands, each with all that follows from it.
    #[arg(long, conflicts_with_all = ["seed", "runs"], value_name = "NUMBER")]
    journeys: Option<usize>,
    /// Searches with the clients of todos and with those of every route, without a broker and by each, hunts the mutants, and writes what came of it to
    /// docs/reliability.md and the testkit's README, along with what other long runs have left behind.
    #[arg(long, conflicts_with = "seed")]
    report: bool,
    /// Searches this many seeds.
    #[arg(long, default_value_t = 1_000)]
    runs: u64,
    /// The first seed of a search.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Searches from the commit's own seed on, where there is git.
    #[arg(long, conflicts_with_all = ["seed", "from"])]
    commit: bool,
    /// Who gives the commands.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Clients::Everything)]
    clients: Clients,
    /// By which message broker notifications and analytics get their events.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Broker::None)]
    broker: Broker,
    /// Commands in a run.
    #[arg(long, default_value_t = Bounds::default().commands)]
    commands: usize,
    /// Faults in a run, at most.
    #[arg(long, default_value_t = Bounds::default().faults)]
    faults: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("tests/ lies in the project")?;
    if options.mutants || options.mutant.is_some() {
        return Ok(hunt(root, options.mutant.as_deref()));
    }
    let programs = Programs::new(root, |_| {});
    let bounds = Bounds {
        commands: options.commands,
        faults: options.faults,
    };
    let setting = Setting {
        clients: options.clients,
        broker: options.broker,
    };
    if let Some(seed) = options.seed {
        return Ok(replay(&programs, setting, seed, bounds));
    }
    let from = match options.commit {
        true => commit::commit_seed(root).unwrap_or(options.from),
        false => options.from,
    };
    let extent = match options.journeys {
        Some(journeys) => search::Extent::Journeys(journeys),
        None => search::Extent::Runs(options.runs),
    };
    if options.report {
        return report::write(root, &programs, from, extent, bounds);
    }
    let found = search::search(&programs, setting, from, extent, bounds);
    println!("{found}");
    Ok(ExitCode::from(u8::from(!found.broken.is_empty())))
}

fn hunt(root: &Path, only: Option<&str>) -> ExitCode {
    // A journey that panics is one of the ways in which a mutant is found.
    std::panic::set_hook(Box::new(|_| {}));
    let hunted = mutant_hunt::hunt_all(root, only);
    let missed = hunted.iter().filter(|(.., found)| found.is_none()).count();
    println!("{} mutants, {missed} not found", hunted.len());
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Tells the story of one seed; a failing one is made small first.
fn replay(programs: &Programs, setting: Setting, seed: u64, bounds: Bounds) -> ExitCode {
    let fails = |bounds| !programs.run(setting, seed, bounds, false).violations.is_empty();
    let bounds = if fails(bounds) {
        chaos::shrink(bounds, fails)
    } else {
        bounds
    };
    let outcome = programs.run(setting, seed, bounds, true);
    print!("{}", outcome.story);
    println!(
        "seed {seed}: {} commands, {} events, {} faults, trace {:016x}",
        bounds.commands, outcome.events, outcome.faults, outcome.trace_hash
    );
    if outcome.violations.is_empty() {
        println!("the promise holds");
        return ExitCode::SUCCESS;
    }
    for violation in &outcome.violations {
        println!("broken: {violation}");
    }
    println!(
        "again: cargo xtask sim {setting} --seed {seed} --commands {} --faults {}",
        bounds.commands, bounds.faults
    );
    ExitCode::FAILURE
}
