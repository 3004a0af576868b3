//! Seeded chaos: random clients, random faults, nodes that come and go, message brokers that are lossy and restart, and a clock
//! that is stepped; everything from one number.
//!
//! First safety, then liveness: while the faults rage nothing is asked but that nobody is told a lie; then they stop, the
//! system comes to rest within a deadline, and the checkers look. Every eighth seed is calm: no faults, and no cron
//! either, so that the bells alone must bring everything.

mod brokers;
mod rest;
mod shrink;
mod storm;

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use selvedge_engine::Program;

use crate::checkers::{self, Violation};
use crate::simulation::clock::START_NS;
use crate::simulation::{Simulation, World};

use brokers::Brokers;
use rest::{CALM_DEADLINE, REST_DEADLINE, rest, settle_down};

pub use shrink::shrink;
pub use storm::{Storm, Unreliable};

/// One seed in so many is calm.
const CALM_EVERY: u64 = 8;

/// How much of everything there is in a run. What a seed decides is decided within these bounds, so that a failing seed
/// can be run again with less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Commands that the clients give, all together.
    pub commands: usize,
    /// Faults that calls and messages meet, on all nodes together.
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
    /// Commands that were accepted, each of which began a journey.
    pub journeys: usize,
    /// Events that the journal holds in the end.
    pub events: usize,
    /// Calls of components to their host.
    pub calls: usize,
    /// Faults that were met.
    pub faults: usize,
    /// The hash of every call of every node: the same seed and bounds give the same.
    pub trace_hash: u64,
    /// What the brokers did to messages, and every call with its time, node, component and fault, a line each. Empty unless it
    /// was asked for.
    pub story: String,
}

/// Whether nothing goes wrong in the run of this seed.
pub fn is_calm(seed: u64) -> bool {
    seed.is_multiple_of(CALM_EVERY)
}

/// A client's part in a run: what it does from one number, and what it was told.
pub trait Workload: Sync {
    /// Sets up what the world has outside the application, before the first command. Peers that are to fail ask the storm
    /// whether it rages.
    fn set_up(&self, _world: &World, _storm: &Storm, _seed: u64) {}

    /// Gives the `number`-th command of the run. What is returned is the stream, or its end, that the answer says was begun.
    fn command(
        &self,
        world: &World,
        storm: &Storm,
        chance: &mut StdRng,
        number: usize,
    ) -> impl Future<Output = Option<String>>;

    /// The faults are over: what someone has to do so that the world can come to rest.
    fn tidy_up(&self, _world: &World, _storm: &Storm) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// The world is at rest: whether everything works again. The world comes to rest once more before it is checked.
    fn try_again(&self, _world: &World, _storm: &Storm) -> impl Future<Output = Vec<Violation>> {
        std::future::ready(Vec::new())
    }
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
        let storm = if is_calm(seed) {
            Storm::calm()
        } else {
            Storm::new(&mut chance, bounds.faults)
        };
        let slowest_ms = *[0, 0, 3, 30].choose(&mut chance).expect("there are some");
        let mut places = Places {
            world: &world,
            storm: &storm,
            brokers: Brokers::new(&world, &storm, seed),
            slowest_ms,
            told,
        };
        for node in world.nodes() {
            places.prepare(&node, chance.random());
        }
        workload.set_up(&world, &storm, chance.random());
        let misses = storm.missed_ticks(&mut chance);
        let cron = (!storm.is_calm()).then(|| world.start_cron_that_misses(misses));
        let mut violations = Vec::new();
        let accepted = places
            .clients(&mut chance, bounds.commands, workload, &mut violations)
            .await;
        storm.stop();
        places.brokers.calm();
        workload.tidy_up(&world, &storm).await;
        violations.extend(settle_down(&world, cron).await);
        if violations.is_empty() {
            // What has its time, and was never the bells' affair, comes now in calm runs too.
            let _cron = world.start_cron_that_misses(storm::sparse_ticks());
            violations.extend(rest(&world, REST_DEADLINE, true).await);
            violations.extend(workload.try_again(&world, &storm).await);
            violations.extend(rest(&world, REST_DEADLINE, true).await);
        }
        violations.extend(checkers::accepted_are_kept(&world, &accepted));
        violations.extend(check(&world));
        let (trace_hash, story) = trace(&world, &places.brokers, told);
        Outcome {
            seed,
            violations,
            journeys: accepted.len(),
            events: usize::try_from(world.sql.number("SELECT count(*) FROM journal")).unwrap_or(0),
            calls: world.all_nodes().iter().map(|node| node.faults.count()).sum(),
            faults: storm.met(),
            trace_hash,
            story,
        }
    })
}

/// Where a run takes place.
struct Places<'r> {
    world: &'r World,
    storm: &'r Storm,
    brokers: Brokers<'r>,
    /// How long any call may take without being late, in milliseconds.
    slowest_ms: u64,
    told: bool,
}

impl Places<'_> {
    fn prepare(&self, node: &crate::simulation::Node, seed: u64) {
        if !self.told {
            node.faults.forget_calls();
        }
        if self.slowest_ms > 0 {
            let (mut chance, slowest_ms) = (StdRng::seed_from_u64(seed), self.slowest_ms);
            node.faults.slow_down(move || chance.random_range(0..=slowest_ms));
        }
        self.storm.rage(&node.faults, seed);
    }

    /// Several clients at once, with weather between them: nodes are lost and started, brokers restart, the clock is stepped.
    async fn clients(
        &mut self,
        chance: &mut StdRng,
        commands: usize,
        workload: &impl Workload,
        violations: &mut Vec<Violation>,
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
                .map(|(place, chance)| workload.command(self.world, self.storm, chance, number + place));
            accepted.extend(futures::future::join_all(given).await.into_iter().flatten());
            number += group;
            if self.storm.is_calm() {
                // Each of these moments shows whether a wake-up was lost, before the next command makes up for it.
                violations.extend(rest(self.world, CALM_DEADLINE, false).await);
                if !violations.is_empty() {
                    break;
                }
            } else {
                self.weather(chance);
                tokio::time::sleep(Duration::from_millis(chance.random_range(0..200))).await;
            }
        }
        accepted
    }

    fn weather(&mut self, chance: &mut StdRng) {
        if chance.random_ratio(1, 12)
            && let Some(node) = self.world.nodes().first()
        {
            node.faults.lose();
        }
        if self.world.nodes().len() < 3 && chance.random_ratio(1, 6) {
            let node = self.world.add_node().expect("the application starts");
            self.prepare(&node, chance.random());
        }
        if chance.random_ratio(1, 20) {
            self.world.clock.step_ms(chance.random_range(-3_600_000..3_600_000));
        }
        self.brokers.weather();
    }
}

/// A time of the wall clock, counted from where every run begins. The clock may have been set back to before that.
fn since_start_ms(at_ms: u64) -> i128 {
    i128::from(at_ms) - i128::from(START_NS / 1_000_000)
}

/// The hash of everything that happened, and its story.
fn trace(world: &World, brokers: &Brokers<'_>, told: bool) -> (u64, String) {
    let mut hasher = DefaultHasher::new();
    let mut story = if told { brokers.story() } else { String::new() };
    for (number, node) in world.all_nodes().iter().enumerate() {
        (number, node.faults.trace_hash()).hash(&mut hasher);
        for call in node.faults.calls().iter().filter(|_| told) {
            let fault = call
                .fault
                .map(|(fault, when)| format!("  ← {fault:?} {when:?}"))
                .unwrap_or_default();
            let at_ms = since_start_ms(call.at_ms);
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
    (hasher.finish(), story)
}
