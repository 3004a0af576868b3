//! The exhaustive crash sweep: one journey, run again for every host call that it makes and every fault that a call can
//! meet. Then the faults stop, the system runs on, and the checkers look.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_engine::Program;

use crate::checkers::{self, Violation};
use crate::simulation::{Fault, Simulation, When, World};

/// Longer than any lease, and than any client waits.
const LATE_MS: u64 = 20_000;

/// The faults that every call meets.
pub const FAULTS: [(Fault, When); 11] = [
    (Fault::Trap, When::Before),
    (Fault::Trap, When::After),
    (Fault::NodeLost, When::Before),
    (Fault::NodeLost, When::After),
    (Fault::Fail, When::Before),
    (Fault::Fail, When::After),
    (Fault::Hang, When::Before),
    (Fault::Hang, When::After),
    (Fault::ClientGone, When::Before),
    (Fault::Late { by_ms: LATE_MS }, When::Before),
    (Fault::Late { by_ms: LATE_MS }, When::After),
];

/// What every HTTP request between components, and to the outside, meets besides: a copy that comes at once, and one that
/// comes when nobody thinks of it any more.
pub const COPIES: [Fault; 2] = [Fault::Copied { after_ms: 0 }, Fault::Copied { after_ms: LATE_MS }];

/// How long a run goes on after it came to rest, so that everything that was late or copied arrives.
const AFTERMATH: Duration = Duration::from_millis(LATE_MS + 1_000);

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

/// Sweeps `journey`, on as many threads as the machine has cores. `check` is asked when the system is at rest again. A
/// journey that panics is a broken promise as well.
///
/// # Panics
/// Where the journey fails without any fault.
pub fn sweep(
    program: &Arc<Program>,
    journey: &(impl AsyncFn(&World) + Sync),
    check: &(impl Fn(&World) -> Vec<Violation> + Sync),
) -> Report {
    sweep_until(program, journey, check, usize::MAX)
}

/// The same, but ended once `enough` cases have broken a promise: for a test that wants to know only whether one does.
///
/// # Panics
/// Where the journey fails without any fault.
pub fn sweep_until(
    program: &Arc<Program>,
    journey: &(impl AsyncFn(&World) + Sync),
    check: &(impl Fn(&World) -> Vec<Violation> + Sync),
    enough: usize,
) -> Report {
    let (functions, violations) = run(program, None, journey, check);
    assert!(
        violations.is_empty(),
        "the journey breaks a promise without any fault: {violations:?}"
    );
    let cases = cases(&functions);
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while lock(&broken).len() < enough
                    && let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let violations = violations_of(|| run(program, Some(*case), journey, check).1);
                    if !violations.is_empty() {
                        lock(&broken).push((*case, violations));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort_by_key(|(case, _)| (case.call, case.fault, case.when));
    Report {
        calls: functions.len(),
        runs: next.into_inner().min(cases.len()) + 1,
        broken,
    }
}

/// What every call meets, one after the other. Only a request can be copied.
fn cases(functions: &[&str]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, function) in functions.iter().enumerate() {
        cases.extend(FAULTS.map(|(fault, when)| Case { call, fault, when }));
        if *function == "http.send" {
            cases.extend(COPIES.map(|fault| Case {
                call,
                fault,
                when: When::Before,
            }));
        }
    }
    cases
}

/// What a run finds; that it panics is a find.
fn violations_of(run: impl FnOnce() -> Vec<Violation>) -> Vec<Violation> {
    // Nothing of the run's world outlives it.
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("with no words");
        vec![Violation(format!("the journey panicked: {text}"))]
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run: the functions that the first node's calls were for until it was at rest, and what was broken.
fn run(
    program: &Arc<Program>,
    case: Option<Case>,
    journey: &impl AsyncFn(&World),
    check: &impl Fn(&World) -> Vec<Violation>,
) -> (Vec<&'static str>, Vec<Violation>) {
    Simulation::run(program, 1, async |world| {
        let cron = world.start_cron();
        let first = world.node();
        if let Some(Case { call, fault, when }) = case {
            first
                .faults
                .inject(move |_, number| (number == call).then_some((fault, when)));
        }
        journey(&world).await;
        // Faults of calls that come after the journey's answer are met while the system comes to rest.
        let mut violations = rest(&world).await;
        let functions = first.faults.calls().iter().map(|call| call.function).collect();
        first.faults.clear();
        if case.is_some_and(|case| first.faults.count() <= case.call) {
            // The fault of an earlier call changed the run so that this one isn't made: nothing was tried.
            return (functions, violations);
        }
        if matches!(
            case.map(|case| case.fault),
            Some(Fault::Late { .. } | Fault::Copied { .. } | Fault::Hang)
        ) {
            // What is under way still arrives when everything seems done.
            drop(cron);
            tokio::time::sleep(AFTERMATH).await;
            let _cron = world.start_cron();
            violations.extend(rest(&world).await);
        }
        violations.extend(check(&world));
        (functions, violations)
    })
}

/// Waits until the system is at rest, on a node that lives: a lost one is restarted on the way.
async fn rest(world: &World) -> Vec<Violation> {
    let at_rest = async || {
        world.revive();
        checkers::is_at_rest(world)
    };
    match world.until("the system is at rest", REST_DEADLINE, at_rest).await {
        Ok(()) => Vec::new(),
        Err(_) => {
            let held = checkers::at_rest(world);
            vec![Violation(format!("the system doesn't come to rest: {held:?}"))]
        }
    }
}
