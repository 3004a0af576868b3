//! Random clients under random faults: the promise holds, and a seed makes the same run again.

use selvedge_testkit::chaos::{Bounds, Outcome};

use std::sync::OnceLock;

use crate::application::{Clients, Programs};
use crate::commit::commit_seed;
use crate::harness::root;

/// Seeds that CI always runs, besides the one that every commit brings. `cargo xtask sim --runs N` searches further.
const SEEDS: std::ops::Range<u64> = 1..25;

fn run(clients: Clients, seed: u64, told: bool) -> Outcome {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| Programs::new(&root(), |_| {}));
    programs.run(clients, seed, Bounds::default(), told)
}

/// Runs the seeds, and says how many faults they met.
fn hold(clients: Clients, seeds: impl Iterator<Item = u64>) -> usize {
    let mut faults = 0;
    for seed in seeds {
        let outcome = run(clients, seed, false);
        let violations = &outcome.violations;
        assert!(
            violations.is_empty(),
            "`cargo xtask sim --clients {clients} --seed {seed}` tells the story of {violations:#?}"
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
    let faults = hold(Clients::Todos, SEEDS.chain(of_this_commit));
    assert!(faults > 100, "all seeds together met only {faults} faults");
}

#[test]
fn the_promise_holds_under_chaos_on_every_route() {
    let faults = hold(Clients::Everything, SEEDS.chain(commit_seed(&root())));
    assert!(faults > 100, "all seeds together met only {faults} faults");
}

#[test]
fn a_seed_makes_the_same_run_bit_for_bit() {
    for clients in [Clients::Todos, Clients::Everything] {
        for seed in [3, 8, 14] {
            let (first, second) = (run(clients, seed, true), run(clients, seed, true));
            let mut both = first.story.lines().zip(second.story.lines());
            if let Some((one, other)) = both.find(|(one, other)| one != other) {
                panic!("two runs of seed {seed} part here:\n{one}\n{other}");
            }
            assert_eq!(first.trace_hash, second.trace_hash);
            let lines = first.story.lines().count();
            assert!(lines > 500, "the story has {lines} lines");
        }
    }
}
