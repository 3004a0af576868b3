//! What every test run does: each target for a bounded time, and everything that was once found, again.

use std::time::Duration;

use selvedge_fuzz::campaign::{self, Budget};
use selvedge_fuzz::target::{Execute, Target};
use selvedge_fuzz::{corpus, targets};

/// For how long each target is fuzzed, and with how many inputs: the first of the two ends it.
const BUDGET: Budget = Budget {
    time: Duration::from_secs(2),
    executions: 20_000,
};
/// The same inputs in every run: a test run doesn't fail by chance. New ones are `cargo xtask fuzz`'s to try.
const SEED: u64 = 1;

fn in_the_project() {
    // health and relay read subscriptions.toml from where they run.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the project's folder");
}

fn examples(target: &Target) -> Vec<Vec<u8>> {
    let examples = corpus::read(&corpus::examples_folder(target.name)).expect("the corpus can be read");
    examples.into_iter().map(|(_, input)| input).collect()
}

#[test]
fn every_target_stands_many_inputs() {
    in_the_project();
    println!("cargo xtask fuzz --seed {SEED} makes the same inputs");
    let mut findings = Vec::new();
    for target in targets::ALL {
        let summary = campaign::run(target, &examples(target), SEED, BUDGET);
        println!("{:20} {:>9} executions", target.name, summary.executions);
        assert!(
            summary.executions > 100,
            "{} is too slow: {} executions",
            target.name,
            summary.executions
        );
        for finding in summary.findings {
            let input = String::from_utf8_lossy(&finding.input).into_owned();
            findings.push(format!("{}: {}\n{input:?}", target.name, finding.message));
        }
    }
    assert!(findings.is_empty(), "seed {SEED}\n{}", findings.join("\n"));
}

#[test]
fn what_was_once_found_is_not_found_again() {
    in_the_project();
    let mut count = 0;
    for target in targets::ALL {
        let examples = corpus::read(&corpus::examples_folder(target.name)).expect("the corpus can be read");
        assert!(!examples.is_empty(), "{} has no examples", target.name);
        let findings = corpus::read(&corpus::findings_folder(target.name)).expect("the findings can be read");
        for (name, input) in examples.into_iter().chain(findings) {
            count += 1;
            let outcome = campaign::execute_once(target, &input);
            assert_eq!(outcome, Ok(()), "{}/{name}", target.name);
        }
    }
    assert!(count > 30, "only {count} files were run");
}

/// A target that breaks where three things come together which no example has.
const PLANTED: Target = Target {
    name: "planted",
    words: &["spin", "{\"", "\"}"],
    prepare: || -> Execute {
        Box::new(|input| {
            let text = String::from_utf8_lossy(input);
            assert!(
                !(text.starts_with("{\"") && text.contains("spin") && text.ends_with("\"}")),
                "planted"
            );
        })
    },
};

#[test]
fn a_planted_mistake_is_found_and_the_same_seed_finds_it_again() {
    let budget = Budget {
        time: Duration::from_secs(60),
        executions: 200_000,
    };
    let find = || campaign::run(&PLANTED, &[b"[1, 2]".to_vec()], 7, budget);
    let (first, second) = (find(), find());
    assert_eq!(first.findings.len(), 1, "one place, one finding: {:?}", first.findings);
    assert!(first.findings[0].message.contains("planted"));
    assert_eq!(first.findings, second.findings);
    assert_eq!(first.executions, budget.executions, "a finding doesn't end a campaign");

    let folder = tempfile::tempdir().expect("a folder");
    let name = campaign::write(&first.findings[0], folder.path()).expect("written");
    let written = corpus::read(folder.path()).expect("read");
    assert_eq!(written, [(name, first.findings[0].input.clone())]);
    assert!(
        campaign::execute_once(&PLANTED, &written[0].1).is_err(),
        "the file finds it again"
    );
}
