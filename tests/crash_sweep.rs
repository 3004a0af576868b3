//! Every host call of a journey meets every fault, and the promise holds: a todo, an order that is confirmed, and one that
//! is undone.

use std::time::Duration;

use selvedge_testkit::checkers::{self, Violation};
use selvedge_testkit::sweep;
use selvedge_testkit::{World, client};
use serde_json::json;

use crate::application::money_conserved;
use crate::harness::{kept, program};
use crate::saga::orders_have_ended;
use crate::todo_journey::{only_its_events, todo_journey};

#[test]
fn every_call_of_the_todo_journey_may_fail_in_every_way() {
    let report = sweep::sweep(program(), &todo_journey, &only_its_events);
    kept("a todo", &report);
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
    kept(&format!("an order of {sku}"), &report);
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
