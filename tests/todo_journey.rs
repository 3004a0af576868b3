//! The journey that every sweep begins with.

use selvedge_testkit::checkers::Violation;
use selvedge_testkit::{World, client};
use serde_json::{Value, json};

use crate::application::promise;

/// A todo is created and completed, by a client that asks again until it has its answers.
pub async fn todo_journey(world: &World) {
    let todo: Value = json!({ "title": "Buy groceries", "userId": "u1" });
    let created = client::command(world, "/todos", "create-1", &todo).await;
    let created = created.expect("the command is answered in the end");
    assert_eq!(created.status, 201, "{:?}", created.json());
    let path = format!("{}/complete", created.header("location"));
    let completed = client::command(world, &path, "complete-1", &json!({})).await;
    assert_eq!(completed.expect("the command is answered in the end").status, 200);
}

/// The promise, and that the journey left its two events and no others.
pub fn only_its_events(world: &World) -> Vec<Violation> {
    let mut violations = promise(world);
    if world.sql.number("SELECT count(*) FROM journal") != 2 {
        violations.push(Violation(
            "the journal hasn't exactly the two events of the journey".to_owned(),
        ));
    }
    violations
}
