//! Every host call of the todo journey meets every fault, and the promise holds.

use selvedge_testkit::checkers::{self, Effects, Violation};
use selvedge_testkit::sweep::{self, FAULTS};
use selvedge_testkit::{World, client};
use serde_json::json;

use crate::harness::program;

/// Where the application's subscriptions have their effects.
const EFFECTS: [Effects; 2] = [
    Effects {
        subscription: "notifications",
        hears: "todos.task.*",
        count: "SELECT count(*) FROM notifications WHERE event_id = ?1 AND source = ?2",
    },
    Effects {
        subscription: "analytics",
        hears: "*.*.*",
        count: "SELECT count(*) FROM analytics_counted WHERE event_id = ?1 AND source = ?2",
    },
];

/// A todo is created and completed, by a client that asks again until it has its answers.
async fn todo_journey(world: &World) {
    let created = client::command(world, "/todos", "create-1", &json!({ "title": "Buy groceries", "userId": "u1" })).await;
    let created = created.expect("the command is answered in the end");
    assert_eq!(created.status, 201, "{:?}", created.json());
    let path = format!("{}/complete", created.header("location"));
    let completed = client::command(world, &path, "complete-1", &json!({})).await;
    assert_eq!(completed.expect("the command is answered in the end").status, 200);
}

fn promise(world: &World) -> Vec<Violation> {
    let mut violations = checkers::exactly_once(world, &EFFECTS);
    violations.extend(checkers::counts_equal_fold(world));
    violations.extend(checkers::streams_have_no_gaps(world));
    if world.sql.number("SELECT count(*) FROM journal") != 2 {
        violations.push(Violation("the journal hasn't exactly the two events of the journey".to_owned()));
    }
    violations
}

#[test]
fn every_call_of_the_todo_journey_may_fail_in_every_way() {
    let report = sweep::sweep(program(), &todo_journey, &promise);
    println!("todo journey: {} calls, {} runs, {} kinds of fault", report.calls, report.runs, FAULTS.len());
    assert!(report.calls > 30, "the journey made only {} calls", report.calls);
    assert!(report.broken.is_empty(), "{report}");
}
