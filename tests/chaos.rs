//! Random clients under random faults: the promise holds, and a seed makes the same run again.

use selvedge_testkit::chaos::{Bounds, Outcome};

use std::sync::OnceLock;

use crate::application::{Broker, Clients, Programs, Setting};
use crate::commit::commit_seed;
use crate::harness::root;

/// Seeds that CI always runs, besides the one that every commit brings. `cargo xtask sim --runs N` searches further.
const SEEDS: std::ops::Range<u64> = 1..25;
/// Those that it runs by way of each broker, a calm one among them.
const SEEDS_BY_BROKER: std::ops::Range<u64> = 1..10;

fn run(setting: Setting, seed: u64, told: bool) -> Outcome {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| Programs::new(&root(), |_| {}));
    programs.run(setting, seed, Bounds::default(), told)
}

/// Runs the seeds, and says how many faults they met.
fn hold(setting: Setting, seeds: impl Iterator<Item = u64>) -> usize {
    let mut faults = 0;
    for seed in seeds {
        let outcome = run(setting, seed, false);
        let violations = &outcome.violations;
        assert!(
            violations.is_empty(),
            "`cargo xtask sim {setting} --seed {seed}` tells the story of {violations:#?}"
        );
        assert!(
            outcome.events > 10,
            "seed {seed} appended only {} events",
            outcome.events
        );
        faults += outcome.faults;
    }
    faults
}

#[test]
fn the_promise_holds_under_chaos() {
    // Each commit tries something that none has tried before it.
    let of_this_commit = commit_seed(&root());
    println!("the commit's seed: {of_this_commit:?}");
    let faults = hold(Setting::without_broker(Clients::Todos), SEEDS.chain(of_this_commit));
    assert!(faults > 100, "all seeds together met only {faults} faults");
}

#[test]
fn the_promise_holds_under_chaos_on_every_route() {
    let setting = Setting::without_broker(Clients::Everything);
    let faults = hold(setting, SEEDS.chain(commit_seed(&root())));
    assert!(faults > 100, "all seeds together met only {faults} faults");
}

/// Both kinds of clients, while the broker loses, doubles and delays messages and restarts.
fn hold_by(broker: Broker) {
    for clients in [Clients::Todos, Clients::Everything] {
        let seeds = SEEDS_BY_BROKER.chain(commit_seed(&root()));
        let faults = hold(Setting { clients, broker }, seeds);
        assert!(faults > 50, "all seeds together met only {faults} faults");
    }
}

#[test]
fn the_promise_holds_under_chaos_by_redis() {
    hold_by(Broker::Redis);
}

#[test]
fn the_promise_holds_under_chaos_by_mqtt() {
    hold_by(Broker::Mqtt);
}

#[test]
fn the_promise_holds_under_chaos_by_kafka() {
    hold_by(Broker::Kafka);
}

#[test]
fn a_seed_makes_the_same_run_bit_for_bit() {
    for broker in Broker::ALL {
        for clients in [Clients::Todos, Clients::Everything] {
            let stories = [3, 8, 14].map(|seed| story(Setting { clients, broker }, seed));
            let is_told = |story: &String| story.contains("  brokers message ");
            assert_eq!(
                stories.iter().any(is_told),
                matches!(broker, Broker::Redis | Broker::Mqtt),
                "{broker}: what became of messages"
            );
        }
    }
}

/// The story of two runs that are the same.
fn story(setting: Setting, seed: u64) -> String {
    let (first, second) = (run(setting, seed, true), run(setting, seed, true));
    let mut both = first.story.lines().zip(second.story.lines());
    if let Some((one, other)) = both.find(|(one, other)| one != other) {
        panic!("two runs of seed {seed} with {setting} part here:\n{one}\n{other}");
    }
    assert_eq!(first.trace_hash, second.trace_hash);
    let lines = first.story.lines().count();
    assert!(lines > 500, "the story has {lines} lines");
    first.story
}
