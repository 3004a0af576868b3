//! A search for a seed that breaks a promise, on all cores.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use selvedge_testkit::chaos::Bounds;

use crate::application::{Programs, Setting};

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// So many seeds.
    Runs(u64),
    /// Until so many journeys were made.
    Journeys(usize),
}

/// What a search came to.
pub struct Search {
    pub setting: Setting,
    pub from: u64,
    pub runs: usize,
    pub journeys: usize,
    pub events: usize,
    pub calls: usize,
    pub faults: usize,
    pub seconds: f64,
    pub threads: usize,
    pub broken: Vec<u64>,
}

impl Search {
    /// How many journeys were made in a second.
    pub fn rate(&self) -> f64 {
        self.journeys as f64 / self.seconds
    }
}

impl fmt::Display for Search {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} runs from seed {} with {}: {} journeys, {} events, {} host calls, {} faults, {:.1} s on {} \
             threads, {:.0} journeys per second",
            self.runs,
            self.from,
            self.setting,
            self.journeys,
            self.events,
            self.calls,
            self.faults,
            self.seconds,
            self.threads,
            self.rate()
        )?;
        match self.broken.first() {
            None => write!(formatter, "the promise holds in all of them"),
            Some(first) => write!(
                formatter,
                "broken seeds: {:?}; `cargo xtask sim {} --seed {first}` tells the story",
                self.broken, self.setting
            ),
        }
    }
}

/// Runs many seeds. A failure ends nothing, so that the count of failures means something.
pub fn search(programs: &Programs, setting: Setting, from: u64, extent: Extent, bounds: Bounds) -> Search {
    let begin = Instant::now();
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = Mutex::new(Search {
        setting,
        from,
        runs: 0,
        journeys: 0,
        events: 0,
        calls: 0,
        faults: 0,
        seconds: 0.0,
        threads,
        broken: Vec::new(),
    });
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    let goes_on = |seed: u64| match extent {
        Extent::Runs(runs) => seed - from < runs,
        Extent::Journeys(journeys) => lock().journeys < journeys,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(seed) {
                        break;
                    }
                    let run = AssertUnwindSafe(|| programs.run(setting, seed, bounds, false));
                    // Nothing of the run's world outlives it.
                    let Ok(outcome) = std::panic::catch_unwind(run) else {
                        println!("seed {seed} panicked");
                        lock().broken.push(seed);
                        continue;
                    };
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
