//! Every host call of the todo journey meets every fault, and the promise holds.

use selvedge_testkit::sweep::{self, COPIES, FAULTS};

use crate::harness::program;
use crate::todo_journey::{only_its_events, todo_journey};

#[test]
fn every_call_of_the_todo_journey_may_fail_in_every_way() {
    let report = sweep::sweep(program(), &todo_journey, &only_its_events);
    println!(
        "todo journey: {} calls, {} runs, {} kinds of fault",
        report.calls,
        report.runs,
        FAULTS.len() + COPIES.len()
    );
    assert!(report.calls > 30, "the journey made only {} calls", report.calls);
    assert!(report.broken.is_empty(), "{report}");
}
