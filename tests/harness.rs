//! What the tests share: the application's components, compiled once, and the questions that most tests ask.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::{Simulation, World};
use serde_json::{Value, json};

/// The project's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project").to_owned()
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
pub fn simulate(test: impl AsyncFnOnce(World) -> anyhow::Result<()>) -> anyhow::Result<()> {
    Simulation::run(program(), 1, test)
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
    world.until("the todo is a notification and a count", deadline, both).await
}

/// The number of deliveries that still have to be made: events past a cursor, and exceptions that aren't dead.
pub fn outstanding(world: &World) -> i64 {
    world.sql.number("SELECT max(position) FROM journal") * world.sql.number("SELECT count(*) FROM subscriptions")
        - world.sql.number("SELECT sum(cursor) FROM subscriptions")
        + world.sql.number("SELECT count(*) FROM exceptions WHERE state <> 'dead'")
}
