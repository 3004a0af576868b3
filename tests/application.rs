//! What the sweeps and the chaos know of this application: its promise, and a workload over its public routes.

use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use selvedge_testkit::chaos::Workload;
use selvedge_testkit::checkers::{self, Effects, Violation};
use selvedge_testkit::{World, client};
use serde_json::json;

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

/// What the application promises of every run.
pub fn promise(world: &World) -> Vec<Violation> {
    let mut violations = checkers::exactly_once(world, &EFFECTS);
    violations.extend(checkers::counts_equal_fold(world));
    violations.extend(checkers::streams_have_no_gaps(world));
    violations.extend(money_conserved(world));
    violations
}

/// Of every order that has ended: captured − refunded = confirmed, and what was dispatched and not called back is what
/// was confirmed. A compensation that is parked is an operator's affair, and is said to be.
pub fn money_conserved(world: &World) -> Vec<Violation> {
    if !has_journal(world) {
        return Vec::new();
    }
    let count = |event_type: &str| {
        format!(
            "(SELECT count(*) FROM journal AS told WHERE told.type = '{event_type}' AND told.subject = placed.subject)"
        )
    };
    let sum = |event_type: &str| {
        format!(
            "(SELECT coalesce(sum(told.data ->> 'amountCents'), 0) FROM journal AS told
              WHERE told.type = '{event_type}' AND told.subject = placed.subject)"
        )
    };
    let (confirmed, cancelled) = (count("orders.order.confirmed"), count("orders.order.cancelled"));
    let (captured, refunded) = (sum("payments.payment.captured"), sum("payments.payment.refunded"));
    let (dispatched, called_back) = (
        count("shipping.shipment.dispatched"),
        count("shipping.shipment.cancelled"),
    );
    // The last word on each step: parked, or something later.
    let parked =
        "(SELECT count(*) FROM journal AS told WHERE told.type = 'orders.step.parked' AND told.subject = placed.subject
        AND NOT EXISTS (SELECT 1 FROM journal AS later WHERE later.stream = told.stream AND later.version > told.version
            AND later.type = 'orders.step.compensated' AND later.data ->> 'step' = told.data ->> 'step'))";
    let broken = format!(
        "SELECT * FROM (SELECT subject, {confirmed} AS confirmed, {cancelled} AS cancelled, data ->> 'totalCents' AS total,
             {captured} AS captured, {refunded} AS refunded, {dispatched} AS dispatched, {called_back} AS called_back,
             {parked} AS parked
         FROM journal AS placed WHERE type = 'orders.order.placed')
         WHERE confirmed + cancelled > 1
             OR confirmed + cancelled = 1 AND parked = 0
                 AND (captured - refunded <> confirmed * total OR dispatched - called_back <> confirmed)"
    );
    let rows = world.sql.query(&broken).expect("the checker's statement is right");
    let violation = |row| {
        let columns = "subject, confirmed, cancelled, total, captured, refunded, dispatched, called back, parked";
        Violation(format!(
            "an order's money or goods aren't conserved ({columns}): {row:?}"
        ))
    };
    rows.into_iter().map(violation).collect()
}

/// Whether anyone has met the database yet.
fn has_journal(world: &World) -> bool {
    world
        .sql
        .number("SELECT count(*) FROM sqlite_master WHERE name = 'journal'")
        == 1
}

/// Todos are created, completed, changed and deleted, and now and then somebody sends rubbish.
pub struct Todos;

impl Workload for Todos {
    async fn command(&self, world: &World, chance: &mut StdRng, number: usize) -> Option<String> {
        if chance.random_ratio(1, 8) {
            return rubbish(world, chance).await;
        }
        let user = format!("u{}", chance.random_range(0..5));
        let todo = json!({ "title": format!("todo {number}"), "userId": user });
        let created = client::command(world, "/todos", &format!("create-{number}"), &todo).await?;
        if created.status != 201 {
            return None;
        }
        let path = created.header("location").to_owned();
        if chance.random_ratio(1, 3) {
            client::command(
                world,
                &format!("{path}/complete"),
                &format!("complete-{number}"),
                &json!({}),
            )
            .await;
        }
        // The stream ends in the todo's id, which is its path's end.
        path.rsplit('/').next().map(str::to_owned)
    }
}

/// A request that is refused, whatever happens: it must change nothing.
async fn rubbish(world: &World, chance: &mut StdRng) -> Option<String> {
    let bodies: [&[u8]; 6] = [
        b"",
        b"{",
        b"[]",
        b"{\"title\": 5, \"userId\": \"u1\"}",
        b"{\"title\": \"\", \"userId\": \"\"}",
        b"\xff\xfe",
    ];
    let body = bodies.choose(chance)?.to_vec();
    let path = [
        "/todos",
        "/todos/nobody/complete",
        "/nowhere",
        "/relay/drain",
        "/analytics/events",
    ]
    .choose(chance)?;
    world.revive();
    let headers = [
        ("content-type", "application/json"),
        ("spin-path-info", "/_selvedge/bell"),
    ];
    // Faults may leave it without an answer.
    client::once(world, Method::POST, path, &headers, body).await;
    None
}
