//! Random clients under random faults: the promise holds, and a seed makes the same run again.

use selvedge_testkit::chaos::{self, Bounds, Outcome};

use crate::application::{Todos, promise_under_pressure};
use crate::commit::commit_seed;
use crate::harness::{program_under_pressure, root};

/// Seeds that CI always runs, besides the one that every commit brings. `cargo xtask sim --runs N` searches further.
const SEEDS: std::ops::Range<u64> = 1..25;

fn run(seed: u64, told: bool) -> Outcome {
    chaos::run(
        program_under_pressure(),
        seed,
        Bounds::default(),
        &Todos,
        &promise_under_pressure,
        told,
    )
}

#[test]
fn the_promise_holds_under_chaos() {
    let mut faults = 0;
    // Each commit tries something that none has tried before it.
    let of_this_commit = commit_seed(&root());
    println!("the commit's seed: {of_this_commit:?}");
    for seed in SEEDS.chain(of_this_commit) {
        let outcome = run(seed, false);
        let violations = &outcome.violations;
        assert!(
            violations.is_empty(),
            "`cargo xtask sim --seed {seed}` tells the story of {violations:#?}"
        );
        assert!(
            outcome.events > 10,
            "seed {seed} appended only {} events",
            outcome.events
        );
        faults += outcome.faults;
    }
    assert!(faults > 100, "all seeds together met only {faults} faults");
}

#[test]
fn a_seed_makes_the_same_run_bit_for_bit() {
    for seed in [3, 8, 14] {
        let (first, second) = (run(seed, true), run(seed, true));
        if let Some((one, other)) = first
            .story
            .lines()
            .zip(second.story.lines())
            .find(|(one, other)| one != other)
        {
            panic!("two runs of seed {seed} part here:\n{one}\n{other}");
        }
        assert_eq!(first.trace_hash, second.trace_hash);
        assert!(
            first.story.lines().count() > 500,
            "the story has {} lines",
            first.story.lines().count()
        );
    }
}
