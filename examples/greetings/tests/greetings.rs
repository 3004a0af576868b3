//! The function as it is shipped, in a simulated world: every call may fail in every way, and random clients greet under
//! random faults.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rand::rngs::StdRng;
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::chaos::{self, Bounds, Storm, Workload};
use selvedge_testkit::checkers::{self, Effects, Violation};
use selvedge_testkit::{World, client, sweep};
use serde_json::json;

/// Where the subscription has its effects.
const EFFECTS: [Effects; 1] = [Effects {
    subscription: "greetings",
    hears: "greetings.greeting.*",
    publisher: None,
    count: "SELECT count(*) FROM greetings WHERE event_id = ?1 AND source = ?2",
}];

fn program() -> &'static Arc<Program> {
    static PROGRAM: OnceLock<Arc<Program>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let manifest = Manifest::read(Path::new("spin.toml")).expect("spin.toml can be read");
        let program = Program::compile(manifest, Some("../../target/component-cache".into()), &|_| {});
        Arc::new(program.expect("the components are built"))
    })
}

// [readme]
struct Greeters;

impl Workload for Greeters {
    async fn command(&self, world: &World, _: &Storm, _: &mut StdRng, number: usize) -> Option<String> {
        let greeting = json!({ "name": format!("Ada the {number}.") });
        let answer = client::command(world, "/greetings", &format!("greet-{number}"), &greeting).await?;
        Some(answer.json()["id"].as_str()?.to_owned())
    }
}

fn promise(world: &World) -> Vec<Violation> {
    checkers::exactly_once(world, &EFFECTS)
}

#[test]
fn every_call_of_a_greeting_may_fail_in_every_way() {
    let greet = async |world: &World| drop(client::command(world, "/greetings", "greet", &json!({ "name": "Ada" })).await);
    let report = sweep::sweep(program(), &greet, &promise);
    assert!(report.broken.is_empty(), "{report}");
}

#[test]
fn greetings_survive_the_chaos() {
    for seed in 1..17 {
        let outcome = chaos::run(program(), seed, Bounds::default(), &Greeters, &promise, false);
        assert!(outcome.violations.is_empty() && outcome.events >= outcome.journeys, "seed {seed}: {outcome:#?}");
    }
}
// [/readme]

#[test]
fn the_sweep_tried_something_and_the_chaos_accepted_something() {
    let greet = async |world: &World| drop(client::command(world, "/greetings", "greet", &json!({ "name": "Ada" })).await);
    let report = sweep::sweep_until(program(), &greet, &promise, 1);
    assert!(report.calls > 15 && report.runs > 150, "{report}");
    let calm = chaos::run(program(), 8, Bounds::default(), &Greeters, &promise, false);
    assert_eq!((calm.journeys, calm.events), (60, 60), "{calm:#?}");
}

#[test]
fn the_readme_shows_these_lines() {
    let source = include_str!("greetings.rs");
    let (_, shown) = source.split_once("// [readme]\n").expect("it begins");
    let (shown, _) = shown.split_once("// [/readme]\n").expect("it ends");
    let readme = std::fs::read_to_string("../../crates/testkit/README.md").expect("the testkit has a README");
    assert!(readme.contains(shown), "crates/testkit/README.md shows something else than:\n{shown}");
}
