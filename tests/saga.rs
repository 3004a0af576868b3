//! An order is paid, shipped and confirmed; or what was done of it is undone, and it is cancelled.

mod bad_orders;
mod compensation;
mod provider;
mod timeouts;

use std::time::Duration;

use selvedge_testkit::World;
use serde_json::{Value, json};

pub use crate::application::money::orders_have_ended;
use crate::application::money_conserved;
use crate::harness::simulate;

/// An order of two books, as a client writes it.
pub fn order(sku: &str, payment_method: &str) -> Value {
    json!({
        "userId": "u1",
        "items": [{ "sku": sku, "quantity": 2, "priceCents": 1_250 }],
        "paymentMethod": payment_method,
    })
}

/// Places an order, and says its id.
pub async fn place(world: &World, sku: &str, payment_method: &str) -> String {
    let placed = world.post("/orders", &order(sku, payment_method)).await;
    assert_eq!(placed.status, 202, "{:?} {:?}", placed.json(), world.output.lines());
    placed.json()["id"].as_str().expect("an order has an id").to_owned()
}

/// An order as its caller sees it.
pub async fn show(world: &World, id: &str) -> Value {
    let shown = world.get(&format!("/orders/{id}")).await;
    assert_eq!(shown.status, 200, "{:?} {:?}", shown.json(), world.output.lines());
    shown.json()
}

/// The statuses of an order, its payment step and its shipping step.
pub async fn statuses(world: &World, id: &str) -> [String; 3] {
    let shown = show(world, id).await;
    let text = |value: &Value| value.as_str().expect("a status").to_owned();
    [
        text(&shown["status"]),
        text(&shown["steps"][0]["status"]),
        text(&shown["steps"][1]["status"]),
    ]
}

/// Waits until an order, its payment step and its shipping step have these statuses.
pub async fn until(world: &World, id: &str, wanted: [&str; 3], deadline: Duration) -> anyhow::Result<()> {
    let reached = world
        .until(&format!("{wanted:?}"), deadline, async || {
            statuses(world, id).await == wanted
        })
        .await;
    assert!(reached.is_ok(), "{reached:?} {:#}", show(world, id).await);
    Ok(())
}

/// Asserts that every order has ended and its money and goods are conserved.
pub fn conserved(world: &World) {
    assert_eq!((orders_have_ended(world), money_conserved(world)), (vec![], vec![]));
}

/// The types of all events, in the order of the journal.
pub fn journal(world: &World) -> Vec<String> {
    let rows = world
        .sql
        .query("SELECT type FROM journal ORDER BY position")
        .expect("a journal");
    let text = |row: Vec<rusqlite::types::Value>| match &row[0] {
        rusqlite::types::Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(text).collect()
}

/// How many events of a type there are.
pub fn told(world: &World, event_type: &str) -> usize {
    journal(world).iter().filter(|told| *told == event_type).count()
}

#[test]
fn an_order_is_paid_shipped_and_confirmed() -> anyhow::Result<()> {
    simulate(async |world| {
        // The order is accepted, and its payment asked for in the same statement.
        let placed = world.post("/orders", &order("book", "tok_visa")).await;
        assert_eq!(placed.status, 202, "{:?}", placed.json());
        let id = placed.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(placed.header("location"), format!("/orders/{id}"));
        assert_eq!(
            (&placed.json()["status"], &placed.json()["totalCents"]),
            (&json!("pending"), &json!(2_500))
        );

        until(
            &world,
            &id,
            ["confirmed", "succeeded", "succeeded"],
            Duration::from_secs(1),
        )
        .await?;
        let events = [
            "orders.order.placed",
            "payments.payment.requested",
            "orders.timer.set",
            "payments.payment.captured",
            "orders.step.succeeded",
            "shipping.shipment.requested",
            "orders.timer.set",
            "shipping.shipment.dispatched",
            "orders.step.succeeded",
            "orders.order.confirmed",
        ];
        assert_eq!(journal(&world), events);

        // payments and shipping tell their part.
        let payment = world.get(&format!("/payments/{id}")).await.json();
        assert_eq!(
            (&payment["status"], &payment["capturedCents"]),
            (&json!("captured"), &json!(2_500))
        );
        let shipment = world.get(&format!("/shipments/{id}")).await.json();
        assert_eq!(shipment["status"], "dispatched");
        conserved(&world);
        Ok(())
    })
}

#[test]
fn the_timeline_says_what_happened_when_and_why() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = place(&world, "unshippable", "tok_visa").await;
        until(
            &world,
            &id,
            ["cancelled", "compensated", "failed"],
            Duration::from_secs(1),
        )
        .await?;
        let shown = show(&world, &id).await;
        assert_eq!(shown["reason"], "shipping failed: unshippable can't be shipped");
        let timeline = shown["timeline"].as_array().expect("a timeline");
        let types: Vec<_> = timeline
            .iter()
            .map(|entry| entry["type"].as_str().expect("a type"))
            .collect();
        let expected = [
            "orders.order.placed",
            "payments.payment.requested",
            "orders.timer.set",
            "orders.step.succeeded",
            "shipping.shipment.requested",
            "orders.timer.set",
            "orders.step.failed",
            "payments.refund.requested",
            "orders.timer.set",
            "orders.step.compensated",
            "orders.order.cancelled",
        ];
        assert_eq!(types, expected);
        assert_eq!(timeline[0]["cause"], Value::Null);
        assert_eq!(timeline[1]["cause"], timeline[0]["id"], "the order itself led to it");
        assert_eq!(timeline[3]["answer"], "payments.payment.captured");
        assert_eq!(
            timeline[4]["cause"], timeline[3]["cause"],
            "the same answer led to both"
        );
        assert_eq!(
            (&timeline[6]["step"], &timeline[6]["answer"]),
            (&json!("shipping"), &json!("shipping.shipment.failed"))
        );
        let times: Vec<_> = timeline
            .iter()
            .map(|entry| entry["at"].as_str().expect("a time"))
            .collect();
        assert!(
            times.is_sorted() && timeline[2]["dueAt"].as_str() > timeline[2]["at"].as_str(),
            "{shown:#}"
        );

        // Every event of the order, wherever it was appended, belongs to the same business transaction.
        let correlations = "SELECT count(DISTINCT extensions ->> 'correlationid') FROM journal";
        assert_eq!(world.sql.number(correlations), 1);
        let uncaused = "SELECT count(*) FROM journal WHERE extensions ->> 'causationid' IS NULL";
        assert_eq!(world.sql.number(uncaused), 3, "only what came with the order itself");
        let payment = world.get(&format!("/payments/{id}")).await.json();
        assert_eq!(
            (&payment["status"], &payment["refundedCents"]),
            (&json!("refunded"), &json!(2_500))
        );
        assert_eq!(world.get(&format!("/shipments/{id}")).await.json()["status"], "failed");
        conserved(&world);
        Ok(())
    })
}

#[test]
fn an_order_whose_payment_is_declined_is_cancelled_and_never_shipped() -> anyhow::Result<()> {
    simulate(async |world| {
        for token in ["tok_chargeDeclined", "tok_of_nobody"] {
            let id = place(&world, "book", token).await;
            until(&world, &id, ["cancelled", "failed", "waiting"], Duration::from_secs(1)).await?;
            assert_eq!(world.get(&format!("/payments/{id}")).await.json()["status"], "declined");
            assert_eq!(world.get(&format!("/shipments/{id}")).await.status, 404);
        }
        assert_eq!(told(&world, "shipping.shipment.requested"), 0);
        conserved(&world);
        Ok(())
    })
}

#[test]
fn many_orders_at_once_on_two_nodes_all_end_as_they_should() -> anyhow::Result<()> {
    simulate(async |world| {
        world.add_node()?;
        let _cron = world.start_cron();
        let kinds = [
            ("book", "tok_visa", "confirmed"),
            ("book", "tok_chargeDeclined", "cancelled"),
            ("unshippable", "tok_visa", "cancelled"),
        ];
        let mut placed = Vec::new();
        for (sku, token, end) in kinds.repeat(20) {
            placed.push((place(&world, sku, token).await, end));
        }
        world
            .until("all have ended", Duration::from_secs(60), async || {
                orders_have_ended(&world).is_empty()
            })
            .await?;
        for (id, end) in &placed {
            assert_eq!(show(&world, id).await["status"], *end);
        }
        assert_eq!(told(&world, "orders.order.confirmed"), 20);
        assert_eq!(told(&world, "payments.payment.refunded"), 20);
        conserved(&world);
        Ok(())
    })
}
