//! `cargo xtask sim`: searches seeds for a broken promise, replays one, and makes it small.

mod application;
mod mutant_hunt;
mod todo_journey;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use selvedge_engine::Program;
use selvedge_testkit::chaos::{self, Bounds, Outcome};

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
    /// Searches this many seeds.
    #[arg(long, default_value_t = 1_000)]
    runs: u64,
    /// The first seed of a search.
    #[arg(long, default_value_t = 1)]
    from: u64,
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
    if options.mutants {
        return hunt(root);
    }
    let program = application::under_pressure(root, |_| {})?;
    let bounds = Bounds {
        commands: options.commands,
        faults: options.faults,
    };
    Ok(match options.seed {
        Some(seed) => replay(&program, seed, bounds),
        None => search(&program, options.from, options.runs, bounds),
    })
}

fn run(program: &Arc<Program>, seed: u64, bounds: Bounds, told: bool) -> Outcome {
    chaos::run(
        program,
        seed,
        bounds,
        &application::Todos,
        &application::promise_under_pressure,
        told,
    )
}

fn hunt(root: &Path) -> anyhow::Result<ExitCode> {
    let hunted = mutant_hunt::hunt_all(root)?;
    let missed = hunted.iter().filter(|(.., found)| found.is_none()).count();
    println!("{} mutants, {missed} not found", hunted.len());
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Tells the story of one seed; a failing one is made small first.
fn replay(program: &Arc<Program>, seed: u64, bounds: Bounds) -> ExitCode {
    let fails = |bounds| !run(program, seed, bounds, false).violations.is_empty();
    let bounds = if fails(bounds) {
        chaos::shrink(bounds, fails)
    } else {
        bounds
    };
    let outcome = run(program, seed, bounds, true);
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
        "again: cargo xtask sim --seed {seed} --commands {} --faults {}",
        bounds.commands, bounds.faults
    );
    ExitCode::FAILURE
}

/// Runs many seeds on all cores; stops none early, so that the count of failures means something.
fn search(program: &Arc<Program>, from: u64, runs: u64, bounds: Bounds) -> ExitCode {
    let begin = Instant::now();
    let (next, events, faults) = (AtomicU64::new(from), AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + runs {
                        break;
                    }
                    let outcome = run(program, seed, bounds, false);
                    events.fetch_add(outcome.events, Ordering::Relaxed);
                    faults.fetch_add(outcome.faults, Ordering::Relaxed);
                    if !outcome.violations.is_empty() {
                        println!("seed {seed} is broken: {:#?}", outcome.violations);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = begin.elapsed().as_secs_f64();
    let events = events.into_inner();
    println!(
        "{runs} runs from seed {from}: {events} events, {} faults, {seconds:.1} s, {:.0} events per second",
        faults.into_inner(),
        events as f64 / seconds
    );
    if failed.is_empty() {
        println!("the promise holds in all of them");
        return ExitCode::SUCCESS;
    }
    println!(
        "broken seeds: {failed:?}; `cargo xtask sim --seed {}` tells the story",
        failed[0]
    );
    ExitCode::FAILURE
}
