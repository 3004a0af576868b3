//! What the tests share: the application's components, compiled once, and the questions that most tests ask.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::checkers;
use selvedge_testkit::simulation::{Fault, Node, When};
use selvedge_testkit::sweep::Report;
use selvedge_testkit::{Simulation, World, figures};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::application::promise;

/// The project's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the project")
        .to_owned()
}

/// The application, compiled once for all tests of this process.
pub fn program() -> &'static Arc<Program> {
    static PROGRAM: OnceLock<Arc<Program>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let manifest = Manifest::read(&root().join("spin.toml")).expect("spin.toml can be read");
        let cache = root().join("target/component-cache");
        let program = Program::compile(manifest, Some(cache), &|_| {});
        Arc::new(program.expect("the components are built: `cargo xtask build`"))
    })
}

/// Runs `test` in a simulated world of its own.
pub fn simulate<T>(test: impl AsyncFnOnce(World) -> anyhow::Result<T>) -> anyhow::Result<T> {
    Simulation::run(program(), 1, test)
}

/// A copy of the application's files in a folder of its own, for a test that changes them. Its components are the
/// shipped ones.
pub fn application_copy() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for broker in ["", ".redis", ".mqtt", ".kafka"] {
        for file in [format!("spin{broker}.toml"), format!("subscriptions{broker}.toml")] {
            std::fs::copy(root().join(&file), folder.path().join(&file))?;
        }
    }
    std::fs::create_dir(folder.path().join("schemas"))?;
    for schema in std::fs::read_dir(root().join("schemas"))? {
        let schema = schema?;
        std::fs::copy(schema.path(), folder.path().join("schemas").join(schema.file_name()))?;
    }
    std::os::unix::fs::symlink(root().join("target"), folder.path().join("target"))?;
    Ok(folder)
}

/// Replaces a text that is in a file.
pub fn edit(file: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    anyhow::ensure!(
        text.contains(from),
        "{} has no {from:?}: adapt the test",
        file.display()
    );
    Ok(std::fs::write(file, text.replacen(from, to, 1))?)
}

/// A todo as a client writes it.
pub fn todo(title: &str, user: &str) -> Value {
    json!({ "title": title, "userId": user })
}

/// Creates a todo, and says its id.
pub async fn create(world: &World, title: &str, user: &str) -> String {
    let created = world.post("/todos", &todo(title, user)).await;
    assert_eq!(created.status, 201, "{:?} {:?}", created.json(), world.output.lines());
    created.json()["id"].as_str().expect("a todo has an id").to_owned()
}

/// Registers a user with this address, and says the user's id.
pub async fn register(world: &World, email: &str) -> String {
    let registered = world
        .post("/users", &json!({ "email": email, "name": "Ada Lovelace" }))
        .await;
    assert_eq!(registered.status, 201, "{:?}", registered.json());
    registered.json()["id"].as_str().expect("a user has an id").to_owned()
}

/// How many notifications a user has.
pub async fn notifications(world: &World, user: &str) -> usize {
    let answer = world.get(&format!("/notifications?userId={user}")).await;
    answer.json()["notifications"].as_array().map_or(0, Vec::len)
}

/// How many events of a type were counted.
pub async fn counted(world: &World, event_type: &str) -> u64 {
    let answer = world.get(&format!("/analytics/events?type={event_type}")).await;
    answer.json()["total"].as_u64().unwrap_or_default()
}

/// Waits until the user has exactly one notification, and one created todo is counted.
pub async fn until_effects(world: &World, user: &str, deadline: Duration) -> anyhow::Result<()> {
    let both = async || notifications(world, user).await == 1 && counted(world, "todos.task.created").await == 1;
    world
        .until("the todo is a notification and a count", deadline, both)
        .await
}

/// The number of deliveries that still have to be made: events past a cursor, and exceptions that aren't dead.
pub fn outstanding(world: &World) -> i64 {
    world.sql.number("SELECT max(position) FROM journal") * world.sql.number("SELECT count(*) FROM subscriptions")
        - world.sql.number("SELECT sum(cursor) FROM subscriptions")
        + world
            .sql
            .number("SELECT count(*) FROM exceptions WHERE state NOT IN ('dead', 'discarded')")
}

/// Waits until nothing is left to do, and asserts that the promise was kept for all `events` of the journal.
pub async fn until_kept(world: &World, events: i64, deadline: Duration) -> anyhow::Result<()> {
    let rests = async || checkers::at_rest(world).is_empty() && promise(world).is_empty();
    let rested = world.until("everything is done", deadline, rests).await;
    assert!(
        rested.is_ok(),
        "{rested:?} {:#?} {:#?}",
        checkers::at_rest(world),
        promise(world)
    );
    assert_eq!(world.sql.number("SELECT count(*) FROM journal"), events);
    Ok(())
}

/// Waits until this many calls of the node have met a fault.
pub async fn until_met(world: &World, node: &Node, count: usize) -> anyhow::Result<()> {
    let met = async || node.faults.met() >= count;
    world.until("the fault is met", Duration::from_secs(1), met).await
}

/// When the first living node's relay sent deliveries of a subscription, in milliseconds of the wall clock.
pub fn deliveries_ms(world: &World, subscription: &str) -> Vec<u64> {
    let path = format!("/_selvedge/deliver/{subscription}");
    world.node().faults.times_ms("relay", "http.send", &path)
}

/// The bells that todos ring from now on aren't heard: everything is left to the cron.
pub fn lose_bells(world: &World) {
    world.node().faults.hit(
        "todos",
        "http.send",
        "/_selvedge/bell",
        usize::MAX,
        Fault::Fail,
        When::Before,
    );
}

/// Says what a sweep came to, and keeps it for the report on reliability.
pub fn kept(journey: &str, report: &Report) {
    println!("{journey}: {report}");
    let told = [
        ("host calls", report.calls.to_string()),
        ("cases", report.cases.to_string()),
        ("runs", report.runs.to_string()),
        ("runs that broke a promise", report.broken.len().to_string()),
    ];
    figures::keep(&root(), "sweep", journey, &told).expect("the figures can be kept");
}
