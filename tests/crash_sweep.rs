//! Every host call of the todo journey meets every fault, and the promise holds.

use std::time::Duration;

use selvedge_testkit::checkers::{self, Violation};
use selvedge_testkit::sweep::{self, FAULTS};
use selvedge_testkit::{World, client};
use serde_json::{Value, json};

use crate::application::{money_conserved, promise};
use crate::harness::program;
use crate::saga::orders_have_ended;

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

/// An order is placed by a client that asks again until it has its answer, and ends.
async fn order_journey(world: &World, sku: &str) {
    let order = json!({
        "userId": "u1",
        "items": [{ "sku": sku, "quantity": 2, "priceCents": 1_250 }],
        "paymentMethod": "tok_visa",
    });
    let placed = client::command(world, "/orders", "order-1", &order).await;
    assert_eq!(placed.expect("the command is answered in the end").status, 202);
    let ended = async || {
        world.revive();
        orders_have_ended(world).is_empty()
    };
    // Whether it did is asked when the system is at rest.
    _ = world
        .until("the order has ended", Duration::from_secs(600), ended)
        .await;
}

/// Sweeps the journey of an order. A fault may cost it its confirmation, when a step takes longer than it may; never money,
/// goods, or its end.
fn sweep_order(sku: &'static str, events: i64) {
    let check = |world: &World| {
        let mut violations = money_conserved(world);
        violations.extend(orders_have_ended(world));
        violations.extend(checkers::streams_have_no_gaps(world));
        let placed = world
            .sql
            .number("SELECT count(*) FROM journal WHERE type = 'orders.order.placed'");
        let dead = world
            .sql
            .number("SELECT count(*) FROM exceptions WHERE state = 'dead' AND subscription <> 'analytics'");
        let timed_out = world
            .sql
            .number("SELECT count(*) FROM journal WHERE type = 'orders.step.timed_out'");
        let count = world.sql.number("SELECT count(*) FROM journal");
        if placed != 1 || dead != 0 || (timed_out == 0 && count != events) {
            let text = format!("{placed} orders, {dead} dead letters, {timed_out} timeouts, {count} events");
            violations.push(Violation(text));
        }
        violations
    };
    let report = sweep::sweep(
        program(),
        &async |world: &World| order_journey(world, sku).await,
        &check,
    );
    println!("order of {sku}: {} calls, {} runs", report.calls, report.runs);
    assert!(report.calls > 60, "the journey made only {} calls", report.calls);
    assert!(report.broken.is_empty(), "{report}");
}

#[test]
fn every_call_of_an_order_may_fail_in_every_way() {
    sweep_order("book", 10);
}

#[test]
fn every_call_of_an_order_that_is_undone_may_fail_in_every_way() {
    // Its steps, the failure, the refund with its timer, and the end.
    sweep_order("unshippable", 14);
}
