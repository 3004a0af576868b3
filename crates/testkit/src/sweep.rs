//! The exhaustive crash sweep: one journey, run again for every host call that it makes and every fault that a call can
//! meet. Then the faults stop, the system runs on, and the checkers look.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_engine::Program;

use crate::checkers::{self, Violation};
use crate::simulation::{Fault, Simulation, When, World};

/// The faults that every call meets.
pub const FAULTS: [(Fault, When); 9] = [
    (Fault::Trap, When::Before),
    (Fault::Trap, When::After),
    (Fault::NodeLost, When::Before),
    (Fault::NodeLost, When::After),
    (Fault::Fail, When::Before),
    (Fault::Fail, When::After),
    (Fault::Hang, When::Before),
    (Fault::Hang, When::After),
    (Fault::ClientGone, When::Before),
];

/// How long, in virtual time, the system may take to come to rest after the faults stopped.
pub const REST_DEADLINE: Duration = Duration::from_secs(900);

/// One run of a sweep: the fault that the call of that number met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The call's number, from 0.
    pub call: usize,
    /// What it met.
    pub fault: Fault,
    /// On which side of its effect.
    pub when: When,
}

/// What a sweep found.
#[derive(Debug)]
pub struct Report {
    /// Host calls of the journey without faults.
    pub calls: usize,
    /// Runs that were made.
    pub runs: usize,
    /// The cases in which a promise was broken.
    pub broken: Vec<(Case, Vec<Violation>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} calls, {} runs, {} broken",
            self.calls,
            self.runs,
            self.broken.len()
        )?;
        for (case, violations) in &self.broken {
            write!(formatter, "\n{case:?}")?;
            for violation in violations {
                write!(formatter, "\n  {violation}")?;
            }
        }
        Ok(())
    }
}

/// Sweeps `journey`, on as many threads as the machine has cores. `check` is asked when the system is at rest again.
///
/// # Panics
/// Where the journey fails without any fault.
pub fn sweep(
    program: &Arc<Program>,
    journey: &(impl AsyncFn(&World) + Sync),
    check: &(impl Fn(&World) -> Vec<Violation> + Sync),
) -> Report {
    let (calls, violations) = run(program, None, journey, check);
    assert!(
        violations.is_empty(),
        "the journey breaks a promise without any fault: {violations:?}"
    );
    let cases: Vec<Case> = (0..calls)
        .flat_map(|call| FAULTS.map(|(fault, when)| Case { call, fault, when }))
        .collect();
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (_, violations) = run(program, Some(*case), journey, check);
                    if !violations.is_empty() {
                        broken
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((*case, violations));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort_by_key(|(case, _)| (case.call, case.fault as u8, case.when as u8));
    Report {
        calls,
        runs: cases.len() + 1,
        broken,
    }
}

/// One run: how many calls the first node made until it was at rest, and what was broken.
fn run(
    program: &Arc<Program>,
    case: Option<Case>,
    journey: &impl AsyncFn(&World),
    check: &impl Fn(&World) -> Vec<Violation>,
) -> (usize, Vec<Violation>) {
    Simulation::run(program, 1, async |world| {
        let _cron = world.start_cron();
        let first = world.node();
        if let Some(Case { call, fault, when }) = case {
            first
                .faults
                .inject(move |_, number| (number == call).then_some((fault, when)));
        }
        journey(&world).await;
        let met = || case.is_none_or(|case| first.faults.count() > case.call);
        // Faults of calls that come after the journey's answer are met while the system comes to rest.
        let rested = world
            .until("the system is at rest", REST_DEADLINE, async || at_rest(&world))
            .await;
        first.faults.clear();
        let mut violations = Vec::new();
        if rested.is_err() {
            violations.push(Violation(format!(
                "the system doesn't come to rest: {:?}",
                checkers::at_rest(&world)
            )));
        }
        if !met() {
            // The fault of an earlier call changed the run so that this one isn't made: nothing was tried.
            return (first.faults.count(), violations);
        }
        violations.extend(check(&world));
        (first.faults.count(), violations)
    })
}

/// At rest, on a node that lives: a lost one is restarted on the way.
fn at_rest(world: &World) -> bool {
    world.revive();
    checkers::at_rest(world).is_empty()
}
