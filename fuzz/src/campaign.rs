//! One run of one target: mutated examples until time or the number of executions is up.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng, seq::IndexedRandom};

use crate::coverage::Coverage;
use crate::mutation;
use crate::target::Target;

/// Processor time that is a finding when one execution takes more: every input is a few kilobytes.
pub const EXECUTION_TIME_MAX: Duration = Duration::from_secs(2);
/// Inputs that are kept because they reached something new.
const KEPT_MAX: usize = 5_000;
/// Different findings after which a target is left alone.
const FINDINGS_MAX: usize = 20;
/// Executions between two looks at the clock.
const EXECUTIONS_PER_LOOK: u64 = 64;

/// When to stop: with whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// For how long, in processor time: on a busy machine it takes longer, and does as much.
    pub time: Duration,
    /// After how many executions.
    pub executions: u64,
}

/// An input that broke a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What the target said, with where.
    pub message: String,
}

/// What a campaign did.
#[derive(Debug)]
pub struct Summary {
    /// Inputs that were run.
    pub executions: u64,
    /// The processor time that it took.
    pub time: Duration,
    /// Edges of the project's code that were reached; none where the build doesn't count them.
    pub edges: usize,
    /// Inputs that were kept because they reached something new.
    pub kept: usize,
    /// One per place that panicked.
    pub findings: Vec<Finding>,
}

/// Runs a target on its examples and on what mutations make of them. The same seed makes the same inputs, as long as the
/// budget's executions end it.
pub fn run(target: &Target, examples: &[Vec<u8>], seed: u64, budget: Budget) -> Summary {
    let mut random = StdRng::seed_from_u64(seed);
    let mut runner = Runner::new(target);
    let mut coverage = Coverage::new();
    let mut pool = examples.to_vec();
    if pool.is_empty() {
        pool.push(Vec::new());
    }
    let mut summary = Summary {
        executions: 0,
        time: Duration::ZERO,
        edges: 0,
        kept: 0,
        findings: Vec::new(),
    };
    let mut places = BTreeSet::new();
    let begin = processor_time();
    while summary.executions < budget.executions && summary.findings.len() < FINDINGS_MAX {
        if summary.executions.is_multiple_of(EXECUTIONS_PER_LOOK) && processor_time() - begin >= budget.time {
            break;
        }
        // The examples themselves come first.
        let example = usize::try_from(summary.executions)
            .ok()
            .and_then(|index| examples.get(index));
        let input = example
            .cloned()
            .unwrap_or_else(|| next(&mut random, &pool, target.words));
        summary.executions += 1;
        coverage.begin();
        let outcome = runner.execute(&input);
        let is_new = coverage.end();
        match outcome {
            Ok(()) if is_new && example.is_none() && pool.len() < KEPT_MAX => {
                summary.kept += 1;
                pool.push(input);
            }
            Ok(()) => {}
            Err((place, message)) => {
                if places.insert(place) {
                    summary.findings.push(Finding { input, message });
                }
            }
        }
    }
    summary.time = processor_time() - begin;
    summary.edges = coverage.edges();
    summary
}

/// A mutation of something in the pool; what was found lately is taken more often.
fn next(random: &mut StdRng, pool: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let recent = &pool[pool.len() - pool.len().div_ceil(4)..];
    let from = if random.random_range(0..2) == 0 { recent } else { pool };
    let input = from.choose(random).expect("the pool has inputs");
    let other = pool.choose(random).expect("the pool has inputs");
    mutation::mutate(random, input, other, words)
}

/// Runs one input on its own; what it says when it is a finding.
pub fn execute_once(target: &Target, input: &[u8]) -> Result<(), String> {
    Runner::new(target).execute(input).map_err(|(_, message)| message)
}

/// Writes a finding where the tests look for it, and says the file's name.
///
/// # Errors
/// Where it can't be written.
pub fn write(finding: &Finding, folder: &Path) -> std::io::Result<String> {
    std::fs::create_dir_all(folder)?;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in &finding.input {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let name = format!("{hash:016x}");
    std::fs::write(folder.join(&name), &finding.input)?;
    Ok(name)
}

/// What this thread has used of the processor.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` and touches nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

thread_local! {
    /// The place and the text of the last panic on this thread.
    static PANICKED: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// A target that is ready, and made ready again after a panic.
struct Runner<'t> {
    target: &'t Target,
    execute: crate::target::Execute,
}

impl<'t> Runner<'t> {
    fn new(target: &'t Target) -> Self {
        static QUIET: std::sync::Once = std::sync::Once::new();
        QUIET.call_once(|| {
            let default = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let is_ours = PANICKED.with_borrow_mut(|panicked| {
                    let is_ours = panicked.is_some();
                    if is_ours {
                        *panicked = Some((place, info.to_string()));
                    }
                    is_ours
                });
                if !is_ours {
                    default(info);
                }
            }));
        });
        Self {
            target,
            execute: (target.prepare)(),
        }
    }

    /// `Err`: where it panicked or that it took too long, and the whole message.
    fn execute(&mut self, input: &[u8]) -> Result<(), (String, String)> {
        let begin = processor_time();
        PANICKED.set(Some(Default::default()));
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (self.execute)(input)));
        let panicked = PANICKED.take();
        if outcome.is_err() {
            self.execute = (self.target.prepare)();
            return Err(panicked.unwrap_or_default());
        }
        let time = processor_time() - begin;
        if time > EXECUTION_TIME_MAX {
            return Err(("time".to_owned(), format!("it took {time:?}")));
        }
        Ok(())
    }
}
