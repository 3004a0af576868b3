//! Every host call of the todo journey meets every fault, and the promise holds.

use selvedge_testkit::checkers::Violation;
use selvedge_testkit::sweep::{self, FAULTS};
use selvedge_testkit::{World, client};
use serde_json::{Value, json};

use crate::application::promise;
use crate::harness::program;

/// A todo is created and completed, by a client that asks again until it has its answers.
async fn todo_journey(world: &World) {
    let todo: Value = json!({ "title": "Buy groceries", "userId": "u1" });
    let created = client::command(world, "/todos", "create-1", &todo).await;
    let created = created.expect("the command is answered in the end");
    assert_eq!(created.status, 201, "{:?}", created.json());
    let path = format!("{}/complete", created.header("location"));
    let completed = client::command(world, &path, "complete-1", &json!({})).await;
    assert_eq!(completed.expect("the command is answered in the end").status, 200);
}

#[test]
fn every_call_of_the_todo_journey_may_fail_in_every_way() {
    let check = |world: &World| {
        let mut violations = promise(world);
        if world.sql.number("SELECT count(*) FROM journal") != 2 {
            violations.push(Violation(
                "the journal hasn't exactly the two events of the journey".to_owned(),
            ));
        }
        violations
    };
    let report = sweep::sweep(program(), &todo_journey, &check);
    println!(
        "todo journey: {} calls, {} runs, {} kinds of fault",
        report.calls,
        report.runs,
        FAULTS.len()
    );
    assert!(report.calls > 30, "the journey made only {} calls", report.calls);
    assert!(report.broken.is_empty(), "{report}");
}
