//! Seeded chaos: random clients, random faults, nodes that come and go and a clock that is stepped; everything from one
//! number.
//!
//! First safety, then liveness: while the faults rage nothing is asked but that nobody is told a lie; then they stop, the
//! system comes to rest within a deadline, and the checkers look.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use selvedge_engine::Program;

use crate::checkers::{self, Violation};
use crate::simulation::clock::START_NS;
use crate::simulation::{Fault, Faults, Simulation, When, World};

/// How long, in virtual time, the system may take to come to rest after the faults stopped: longer than any clock step,
/// so that a promise that only waits for the clock isn't taken for a broken one.
const REST_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);

/// How much of everything there is in a run. What a seed decides is decided within these bounds, so that a failing seed
/// can be run again with less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Commands that the clients give, all together.
    pub commands: usize,
    /// Faults that calls meet, on all nodes together.
    pub faults: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            commands: 60,
            faults: 200,
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The run's number.
    pub seed: u64,
    /// What was broken; nothing, one hopes.
    pub violations: Vec<Violation>,
    /// Events that the journal holds in the end.
    pub events: usize,
    /// Faults that were met.
    pub faults: usize,
    /// The hash of every call of every node: the same seed and bounds give the same.
    pub trace_hash: u64,
    /// Every call with its time, node, component and fault, a line each. Empty unless it was asked for.
    pub story: String,
}

/// A client's part in a run: what it does from one number, and what it was told. The returned streams were answered
/// with 201.
pub trait Workload: Sync {
    /// Gives the `number`-th command of the run.
    fn command(&self, world: &World, chance: &mut StdRng, number: usize) -> impl Future<Output = Option<String>>;
}

/// Runs `workload` under the faults of `seed`, then without faults until rest, and asks `check`. `told`: whether the
/// story is kept.
pub fn run(
    program: &Arc<Program>,
    seed: u64,
    bounds: Bounds,
    workload: &impl Workload,
    check: &impl Fn(&World) -> Vec<Violation>,
    told: bool,
) -> Outcome {
    Simulation::run(program, seed, async |world| {
        let mut chance = StdRng::seed_from_u64(seed);
        for _ in 0..chance.random_range(0..3) {
            world.add_node().expect("the application starts");
        }
        let storm = Storm::new(&mut chance, bounds.faults);
        for node in world.nodes() {
            storm.rage(&node.faults, chance.random());
        }
        let cron = world.start_cron();
        let accepted = clients(&world, &storm, &mut chance, bounds.commands, workload).await;

        storm.stop();
        let rested = world.until("the system is at rest", REST_DEADLINE, async || {
            world.revive();
            checkers::at_rest(&world).is_empty()
        });
        let mut violations = Vec::new();
        if rested.await.is_err() {
            let held = checkers::at_rest(&world);
            violations.push(Violation(format!("the system doesn't come to rest: {held:?}")));
        }
        drop(cron);
        violations.extend(checkers::accepted_are_kept(&world, &accepted));
        violations.extend(check(&world));
        let (trace_hash, story) = trace(&world, told);
        let events = usize::try_from(world.sql.number("SELECT count(*) FROM journal")).unwrap_or(0);
        Outcome {
            seed,
            violations,
            events,
            faults: storm.met(),
            trace_hash,
            story,
        }
    })
}

/// Makes a failing run smaller for as long as it fails: fewer commands, then fewer faults.
pub fn shrink(start: Bounds, mut fails: impl FnMut(Bounds) -> bool) -> Bounds {
    let with_commands = |bounds: Bounds, commands| Bounds { commands, ..bounds };
    let with_faults = |bounds: Bounds, faults| Bounds { faults, ..bounds };
    let fewer_commands = halve(start.commands, |commands| fails(with_commands(start, commands)));
    let start = with_commands(start, fewer_commands);
    with_faults(start, halve(start.faults, |faults| fails(with_faults(start, faults))))
}

/// The least number that still fails, looked for in halves: a failure may come and go in between, so it is small rather
/// than least.
fn halve(start: usize, mut fails: impl FnMut(usize) -> bool) -> usize {
    let mut least = start;
    let mut step = start / 2;
    while step > 0 {
        let smaller = least.saturating_sub(step);
        if smaller < least && fails(smaller) {
            least = smaller;
        } else {
            step /= 2;
        }
    }
    least
}

/// Several clients at once, with weather between them: nodes are lost and started, the clock is stepped.
async fn clients(
    world: &World,
    storm: &Storm,
    chance: &mut StdRng,
    commands: usize,
    workload: &impl Workload,
) -> Vec<String> {
    let at_once = chance.random_range(1..=8);
    let mut accepted = Vec::new();
    let mut number = 0;
    while number < commands {
        let group = at_once.min(commands - number);
        let mut chances: Vec<StdRng> = (0..group).map(|_| StdRng::seed_from_u64(chance.random())).collect();
        let given = chances
            .iter_mut()
            .enumerate()
            .map(|(place, chance)| workload.command(world, chance, number + place));
        accepted.extend(futures::future::join_all(given).await.into_iter().flatten());
        number += group;
        weather(world, storm, chance);
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..200))).await;
    }
    accepted
}

fn weather(world: &World, storm: &Storm, chance: &mut StdRng) {
    if chance.random_ratio(1, 12)
        && let Some(node) = world.nodes().first()
    {
        node.faults.lose();
    }
    if world.nodes().len() < 3 && chance.random_ratio(1, 6) {
        let node = world.add_node().expect("the application starts");
        storm.rage(&node.faults, chance.random());
    }
    if chance.random_ratio(1, 20) {
        world.clock.step_ms(chance.random_range(-3_600_000..3_600_000));
    }
}

/// The faults of a run, met by the calls of all nodes until they stop.
struct Storm(Arc<Mutex<StormState>>);

struct StormState {
    /// One call in this many meets a fault.
    one_in: u32,
    left: usize,
    met: usize,
}

impl Storm {
    fn new(chance: &mut StdRng, left: usize) -> Self {
        let one_in = *[10, 30, 100, 300, 1_000].choose(chance).expect("there are some");
        Self(Arc::new(Mutex::new(StormState { one_in, left, met: 0 })))
    }

    /// Lets the calls of a node meet faults, decided by `seed` and the calls' order.
    fn rage(&self, faults: &Faults, seed: u64) {
        const KINDS: [Fault; 5] = [
            Fault::Trap,
            Fault::Fail,
            Fault::Hang,
            Fault::NodeLost,
            Fault::ClientGone,
        ];
        let mut chance = StdRng::seed_from_u64(seed);
        let state = self.0.clone();
        faults.inject(move |_, _| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.left == 0 || !chance.random_ratio(1, state.one_in) {
                return None;
            }
            state.left -= 1;
            state.met += 1;
            // Traps and errors are the commonest in life, and lost nodes the rarest.
            let weights = [4, 4, 2, 1, 1];
            let kind = KINDS[weighted(&mut chance, &weights)];
            let when = if chance.random() { When::Before } else { When::After };
            Some((kind, when))
        });
    }

    fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left = 0;
    }

    fn met(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).met
    }
}

fn weighted(chance: &mut StdRng, weights: &[u32]) -> usize {
    let mut drawn = chance.random_range(0..weights.iter().sum());
    weights
        .iter()
        .position(|weight| drawn.checked_sub(*weight).map(|rest| drawn = rest).is_none())
        .unwrap_or(0)
}

/// The hash of everything that happened, and its story.
fn trace(world: &World, told: bool) -> (u64, String) {
    let mut hasher = DefaultHasher::new();
    let mut story = String::new();
    for (number, node) in world.all_nodes().iter().enumerate() {
        for call in node.faults.calls() {
            (number, call.at_ms, &call.component, call.function, &call.detail).hash(&mut hasher);
            if told {
                let fault = call
                    .fault
                    .map(|(fault, when)| format!("  ← {fault:?} {when:?}"))
                    .unwrap_or_default();
                let at_ms = call.at_ms - START_NS / 1_000_000;
                // Writing to a String can't fail.
                let _ = writeln!(
                    story,
                    "{at_ms:>9} ms  node {number}  {:<14} {:<20} {:.160}{fault}",
                    call.component,
                    call.function,
                    call.detail.replace('\n', " ")
                );
            }
        }
    }
    (hasher.finish(), story)
}
