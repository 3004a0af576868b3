//! The simulator is tested too: mistakes that the kernel can be told to make are each found by it, and a component that
//! is shipped can't be told to make any.

use selvedge_testkit::chaos::Bounds;

use crate::application::{Clients, Setting};
use crate::harness::root;
use crate::mutant_hunt::{self, MUTANTS};

#[test]
fn every_mutant_is_found() {
    let hunted = mutant_hunt::hunt_all(&root(), None);
    assert_eq!(hunted.len(), MUTANTS.len());
    let missed: Vec<_> = hunted
        .iter()
        .filter(|(.., found)| found.is_none())
        .map(|(mutant, ..)| mutant)
        .collect();
    assert!(missed.is_empty(), "the simulator doesn't find {missed:?}");
}

#[test]
fn the_same_build_without_a_mutant_keeps_its_promise() {
    let programs = mutant_hunt::programs(&root(), "");
    for (clients, seeds) in [(Clients::Todos, 2..10), (Clients::Everything, 2..8)] {
        for seed in seeds {
            let outcome = programs.run(Setting::without_broker(clients), seed, Bounds::default(), false);
            assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
            assert!(
                outcome.events > 10,
                "seed {seed} appended only {} events",
                outcome.events
            );
        }
    }
}

#[test]
fn no_shipped_component_has_a_mutant_in_it() {
    let has = |folder: &str, component: &str| {
        let file = root()
            .join("target")
            .join(folder)
            .join(component)
            .with_extension("wasm");
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        bytes
            .windows(b"SELVEDGE_MUTANT".len())
            .any(|window| window == b"SELVEDGE_MUTANT")
    };
    for component in mutant_hunt::HUNTED {
        assert!(
            has("mutants/wasm32-wasip2/mutants", component),
            "{component} is no mutant"
        );
        assert!(
            !has("functions/wasm32-wasip2/component", component),
            "{component} is a mutant"
        );
    }
}
