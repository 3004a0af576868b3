//! The exhaustive crash sweep: one journey, run again for every host call that it makes and every fault that a call can
//! meet. Then the faults stop, the system runs on, and the checkers look.
//!
//! A sweep that is too large for every day runs a part of its cases, unless the environment variable `SELVEDGE_SWEEP` is `all`, as
//! `cargo xtask sim --sweep` has it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_engine::Program;

use crate::checkers::{self, Violation};
use crate::simulation::{Fate, Fault, Recorded, Simulation, Snapshot, When, World};

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

/// What every message that is published to a broker meets besides, on its way to those who listen.
pub const MESSAGES: [Fault; 4] = [
    Fault::Message(Fate::Lost),
    Fault::Message(Fate::Doubled { after_ms: 0 }),
    Fault::Message(Fate::Doubled { after_ms: LATE_MS }),
    Fault::Message(Fate::Late { by_ms: LATE_MS }),
];

/// What every call meets in a journey by way of a message broker, and after its effect those that are made of the broker.
pub const RESTART: Fault = Fault::BrokersRestarted { after_ms: 3_000 };

/// How long a run goes on after it came to rest, so that everything that was late or copied arrives.
const AFTERMATH: Duration = Duration::from_millis(LATE_MS + 1_000);

/// The seed of each run, and another for what comes before all of them.
const SEED: u64 = 1;
const PREPARATION_SEED: u64 = 2;

/// The environment variable that asks for whole sweeps.
const WHOLE_VARIABLE: &str = "SELVEDGE_SWEEP";

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
    /// Cases that there are.
    pub cases: usize,
    /// Runs that were made.
    pub runs: usize,
    /// The cases in which a promise was broken.
    pub broken: Vec<(Case, Vec<Violation>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} calls, {} cases, {} runs, {} broken",
            self.calls,
            self.cases,
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
    Sweep::of(program).run(journey, check)
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
    Sweep {
        enough,
        ..Sweep::of(program)
    }
    .run(journey, check)
}

/// A sweep that is to be run.
pub struct Sweep<'s> {
    program: &'s Arc<Program>,
    begin: Option<Snapshot>,
    every: usize,
    enough: usize,
}

impl<'s> Sweep<'s> {
    /// A sweep of all cases, in worlds whose stores are empty.
    pub fn of(program: &'s Arc<Program>) -> Self {
        Self {
            program,
            begin: None,
            every: 1,
            enough: usize::MAX,
        }
    }

    /// Begins each run with what the stores hold after this, which meets no fault: it is done once.
    ///
    /// # Panics
    /// Where the system doesn't come to rest after it.
    #[must_use]
    pub fn after(self, prepare: impl AsyncFnOnce(&World)) -> Self {
        let begin = Simulation::run(self.program, PREPARATION_SEED, async |world| {
            let _cron = world.start_cron();
            prepare(&world).await;
            let violations = rest(&world).await;
            assert!(violations.is_empty(), "what the journey begins with: {violations:?}");
            world.snapshot().expect("SQLite can be copied")
        });
        Self {
            begin: Some(begin),
            ..self
        }
    }

    /// Runs only one case in `every`, unless the environment asks for all. A call has eleven cases or twelve, and some more: a
    /// number that shares no factor with them goes through all kinds of fault by turns.
    #[must_use]
    pub fn every(self, every: usize) -> Self {
        let is_whole = std::env::var(WHOLE_VARIABLE).is_ok_and(|value| value == "all");
        Self {
            every: if is_whole { 1 } else { every },
            ..self
        }
    }

    /// Runs it: see [`sweep`].
    ///
    /// # Panics
    /// Where the journey fails without any fault.
    pub fn run(
        &self,
        journey: &(impl AsyncFn(&World) + Sync),
        check: &(impl Fn(&World) -> Vec<Violation> + Sync),
    ) -> Report {
        let run = |case| run(self.program, self.begin.as_ref(), case, journey, check);
        let (calls, violations) = run(None);
        assert!(
            violations.is_empty(),
            "the journey breaks a promise without any fault: {violations:?}"
        );
        let all = cases(&calls);
        let chosen: Vec<_> = all.iter().copied().step_by(self.every).collect();
        let next = AtomicUsize::new(0);
        let broken = Mutex::new(Vec::new());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while lock(&broken).len() < self.enough
                        && let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let violations = violations_of(|| run(Some(*case)).1);
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
            calls: calls.len(),
            cases: all.len(),
            runs: next.into_inner().min(chosen.len()) + 1,
            broken,
        }
    }

    /// One case alone: what it breaks, and every call of the first node, for a test that is named after it, or for somebody who
    /// wants to know what happened.
    pub fn case(
        &self,
        case: Case,
        journey: &impl AsyncFn(&World),
        check: &impl Fn(&World) -> Vec<Violation>,
    ) -> (Vec<Recorded>, Vec<Violation>) {
        run(self.program, self.begin.as_ref(), Some(case), journey, check)
    }
}

/// What every call meets, one after the other. Only a request can be copied, and only a message be lost.
fn cases(calls: &[Recorded]) -> Vec<Case> {
    let brokers = ["redis.", "mqtt.", "tcp."];
    let is_of_broker = |call: &Recorded| brokers.iter().any(|broker| call.function.starts_with(broker));
    let is_by_broker = calls.iter().any(is_of_broker);
    let mut cases = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let mut meets = |fault, when| {
            cases.push(Case {
                call: number,
                fault,
                when,
            });
        };
        FAULTS.iter().for_each(|(fault, when)| meets(*fault, *when));
        if call.function == "http.send" {
            COPIES.iter().for_each(|fault| meets(*fault, When::Before));
        }
        if call.function == "mqtt.publish" || (call.function == "redis.execute" && call.detail == "PUBLISH") {
            MESSAGES.iter().for_each(|fault| meets(*fault, When::Before));
        }
        if is_by_broker {
            meets(RESTART, When::Before);
        }
        if is_of_broker(call) {
            meets(RESTART, When::After);
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

/// One run: the first node's calls until it was at rest, and what was broken.
fn run(
    program: &Arc<Program>,
    begin: Option<&Snapshot>,
    case: Option<Case>,
    journey: &impl AsyncFn(&World),
    check: &impl Fn(&World) -> Vec<Violation>,
) -> (Vec<Recorded>, Vec<Violation>) {
    Simulation::run_from(program, SEED, begin, async |world| {
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
        let calls = first.faults.calls();
        first.faults.clear();
        if case.is_some_and(|case| first.faults.count() <= case.call) {
            // The fault of an earlier call changed the run so that this one isn't made: nothing was tried.
            return (calls, violations);
        }
        if case.is_some_and(|case| has_aftermath(case.fault)) {
            // What is under way still arrives when everything seems done.
            drop(cron);
            tokio::time::sleep(AFTERMATH).await;
            let _cron = world.start_cron();
            violations.extend(rest(&world).await);
        }
        violations.extend(check(&world));
        (calls, violations)
    })
}

/// Whether something may still be under way when the system has come to rest.
fn has_aftermath(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Late { .. } | Fault::Copied { .. } | Fault::Hang | Fault::Message(_)
    )
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
