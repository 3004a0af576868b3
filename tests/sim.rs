//! `cargo xtask sim`: searches seeds for a broken promise, replays one, and makes it small.

mod application;
mod commit;
mod mutant_hunt;
mod report;
mod todo_journey;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Hunts one of the kernel's mutants.
    #[arg(long, conflicts_with_all = ["seed", "runs"], value_name = "NAME")]
    mutant: Option<String>,
    /// Searches until so many journeys were made: accepted commands, each with all that follows from it.
    #[arg(long, conflicts_with_all = ["seed", "runs"], value_name = "NUMBER")]
    journeys: Option<usize>,
    /// Searches, sweeps, hunts the mutants, and writes what came of it to docs/reliability.md and the testkit's README.
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
        return hunt(root, options.mutant.as_deref());
    }
    let program = application::under_pressure(root, |_| {})?;
    let bounds = Bounds {
        commands: options.commands,
        faults: options.faults,
    };
    if let Some(seed) = options.seed {
        return Ok(replay(&program, seed, bounds));
    }
    let from = match options.commit {
        true => commit::commit_seed(root).unwrap_or(options.from),
        false => options.from,
    };
    let (runs, journeys) = match options.journeys {
        Some(journeys) => (u64::MAX - from, journeys),
        None => (options.runs, usize::MAX),
    };
    let found = search(&program, from, runs, journeys, bounds);
    println!("{found}");
    if options.report {
        return report::write(root, &program, &found);
    }
    Ok(ExitCode::from(u8::from(!found.broken.is_empty())))
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

fn hunt(root: &Path, only: Option<&str>) -> anyhow::Result<ExitCode> {
    // A journey that panics is one of the ways in which a mutant is found.
    std::panic::set_hook(Box::new(|_| {}));
    let hunted = mutant_hunt::hunt_all(root, only)?;
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

/// What a search came to.
#[derive(Default)]
struct Search {
    from: u64,
    runs: usize,
    journeys: usize,
    events: usize,
    calls: usize,
    faults: usize,
    seconds: f64,
    threads: usize,
    broken: Vec<u64>,
}

impl fmt::Display for Search {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} runs from seed {}: {} journeys, {} events, {} host calls, {} faults, {:.1} s on {} threads, {:.0} journeys per second",
            self.runs,
            self.from,
            self.journeys,
            self.events,
            self.calls,
            self.faults,
            self.seconds,
            self.threads,
            self.journeys as f64 / self.seconds
        )?;
        match self.broken.first() {
            None => write!(formatter, "the promise holds in all of them"),
            Some(first) => write!(
                formatter,
                "broken seeds: {:?}; `cargo xtask sim --seed {first}` tells the story",
                self.broken
            ),
        }
    }
}

/// Runs many seeds on all cores, until there were so many runs or journeys. A failure ends nothing, so that the count of
/// failures means something.
fn search(program: &Arc<Program>, from: u64, runs: u64, journeys: usize, bounds: Bounds) -> Search {
    let begin = Instant::now();
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = Mutex::new(Search {
        from,
        threads,
        ..Search::default()
    });
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while lock().journeys < journeys {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + runs {
                        break;
                    }
                    let outcome = run(program, seed, bounds, false);
                    let mut found = lock();
                    found.runs += 1;
                    found.journeys += outcome.journeys;
                    found.events += outcome.events;
                    found.calls += outcome.calls;
                    found.faults += outcome.faults;
                    if !outcome.violations.is_empty() {
                        println!("seed {seed} is broken: {:#?}", outcome.violations);
                        found.broken.push(seed);
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.broken.sort_unstable();
    found.seconds = begin.elapsed().as_secs_f64();
    found
}
