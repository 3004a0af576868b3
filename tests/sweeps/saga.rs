//! Orders that end otherwise than by success. (Those that are confirmed, and those whose shipment fails, are in crash_sweep.rs.)

use selvedge_testkit::World;
use selvedge_testkit::checkers::{self, Violation};
use selvedge_testkit::client;
use selvedge_testkit::sweep::Sweep;

use super::{PATIENCE, assert_kept, know_subscriptions};
use crate::application::money_conserved;
use crate::harness::program;
use crate::saga::{order, orders_have_ended};

/// Opens every function that an order meets.
async fn warm_up(world: &World) {
    for path in ["/orders/none", "/payments/none", "/shipments/none", "/analytics/events"] {
        assert_ne!(world.get(path).await.status, 500, "{path}");
    }
    know_subscriptions(world).await;
}

fn count(world: &World, event_type: &str) -> i64 {
    world
        .sql
        .number(&format!("SELECT count(*) FROM journal WHERE type = '{event_type}'"))
}

/// Sweeps an order; `ends` are the types of events of which every run must have some. A fault may cost it more than that, when a
/// step takes longer than it may; never money, goods, or its end.
fn sweep_order(what: &str, (sku, payment): (&str, &str), ends: &[&str], every: usize) {
    let journey = async |world: &World| {
        let placed = client::command(world, "/orders", "order-1", &order(sku, payment)).await;
        assert_eq!(placed.expect("the command is answered in the end").status, 202);
        let ended = async || {
            world.revive();
            orders_have_ended(world).is_empty()
        };
        // Whether it did is asked when the system is at rest.
        _ = world.until("the order has ended", PATIENCE, ended).await;
        let undone = async || {
            world.revive();
            ends.iter().all(|end| count(world, end) > 0)
        };
        _ = world.until("what comes late is undone", PATIENCE, undone).await;
    };
    let check = |world: &World| {
        let mut violations = money_conserved(world);
        violations.extend(orders_have_ended(world));
        violations.extend(checkers::streams_have_no_gaps(world));
        violations.extend(super::no_dead_letters(world));
        let timed_out = count(world, "orders.step.timed_out");
        for end in ends {
            if count(world, end) == 0 && timed_out == 0 {
                violations.push(Violation(format!("there is no {end}")));
            }
        }
        if count(world, "orders.order.placed") != 1 || count(world, "orders.order.cancelled") != 1 {
            violations.push(Violation("the order wasn't placed and cancelled once".to_owned()));
        }
        violations
    };
    let report = Sweep::of(program()).after(warm_up).every(every).run(&journey, &check);
    assert_kept(what, 40, &report);
}

#[test]
fn every_call_of_an_order_whose_payment_is_declined_may_fail_in_every_way() {
    let ends = ["payments.payment.declined"];
    sweep_order("a declined payment", ("book", "tok_chargeDeclined"), &ends, 1);
}

#[test]
fn every_call_of_an_order_whose_refund_is_refused_may_fail_in_every_way() {
    let ends = [
        "shipping.shipment.failed",
        "payments.refund.refused",
        "orders.step.parked",
    ];
    sweep_order("a refused refund", ("unshippable", "tok_refundFail"), &ends, 100);
}

#[test]
fn every_call_of_an_order_whose_payment_times_out_may_fail_in_every_way() {
    // The provider says after 90 s that it captured the money: it is refunded.
    let ends = ["payments.payment.captured", "payments.payment.refunded"];
    sweep_order("a payment that times out", ("book", "tok_timeout"), &ends, 100);
}

#[test]
fn every_call_of_an_order_whose_shipment_times_out_may_fail_in_every_way() {
    // The carrier says after 90 s that it has the goods: they are called back, and the money is refunded.
    let ends = ["shipping.shipment.cancelled", "payments.payment.refunded"];
    sweep_order("a shipment that times out", ("overdue", "tok_visa"), &ends, 100);
}
