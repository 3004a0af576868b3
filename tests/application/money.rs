//! Money and goods of orders, read from the journal and from nothing that the application says.

use selvedge_testkit::World;
use selvedge_testkit::checkers::Violation;

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

/// Every order has ended, one way or the other.
pub fn orders_have_ended(world: &World) -> Vec<Violation> {
    if !has_journal(world) {
        return Vec::new();
    }
    let open = "SELECT subject FROM journal AS placed WHERE type = 'orders.order.placed' AND NOT EXISTS (
        SELECT 1 FROM journal AS told WHERE told.stream = placed.stream
            AND told.type IN ('orders.order.confirmed', 'orders.order.cancelled'))";
    let rows = world.sql.query(open).expect("the checker's statement is right");
    let violation = |row| Violation(format!("an order hasn't ended: {row:?}"));
    rows.into_iter().map(violation).collect()
}
