//! Orders: some are fulfilled, some fail on the way, some are nonsense.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::client::Client;

/// Who pays how, and what is bought. The last ones need a cron: they wait for a timer or a retry.
const METHODS: [&str; 6] = [
    "tok_visa",
    "tok_visa",
    "tok_chargeDeclined",
    "tok_nonsense",
    "tok_timeout",
    "tok_refundFail",
];
const SKUS: [&str; 4] = ["book", "book", "unshippable", "overdue"];

fn order(method: &str, sku: &str, mark: &str) -> Value {
    json!({
        "userId": format!("u1 {mark}"),
        "items": [{ "sku": sku, "quantity": 2, "priceCents": 1_250 }, { "sku": "gift", "quantity": 1, "priceCents": 0 }],
        "paymentMethod": method,
    })
}

pub async fn place(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    if chance.random_ratio(1, 6) {
        nonsense(client, chance).await;
        return None;
    }
    let (methods, skus) = if client.is_calm { (4, 3) } else { (6, 4) };
    let (method, sku) = (METHODS[..methods].choose(chance)?, SKUS[..skus].choose(chance)?);
    let mark = client.mark();
    let placed = client
        .command("/orders", &format!("order-{mark}"), &order(method, sku, &mark))
        .await?;
    client.expect("an order", &placed.answer, &[202]);
    let id = placed.answer.json()["id"].as_str()?.to_owned();
    client.told().orders.push(id.clone());
    Some(format!("orders.order/{id}"))
}

async fn nonsense(client: &Client<'_>, chance: &mut StdRng) {
    let mark = client.mark();
    let mut order = order("tok_visa", "book", &mark);
    match chance.random_range(0..5) {
        0 => order["items"] = json!([]),
        1 => order["items"][0]["quantity"] = json!(0),
        2 => order["items"][0]["priceCents"] = json!(i64::MAX),
        3 => order["items"][0]["priceCents"] = json!(12.5),
        _ => order["paymentMethod"] = json!("\u{0}"),
    }
    if let Some(refused) = client.command("/orders", &format!("nonsense-{mark}"), &order).await {
        client.expect("nonsense ordered", &refused.answer, &[422]);
        client.told().refused.push(mark);
    }
}

/// When all is over an order is confirmed: no breaker is left open, and nobody holds a lease.
pub async fn works(client: &Client<'_>) {
    let Some(placed) = client
        .command("/orders", "last-order", &order("tok_visa", "book", "last"))
        .await
    else {
        return client.broken("in the end no order can be placed".to_owned());
    };
    client.expect("the last order", &placed.answer, &[202]);
    let path = format!("/orders/{}", placed.answer.json()["id"].as_str().unwrap_or_default());
    let confirmed = async || client.get(&path).await["status"] == "confirmed";
    let within = Duration::from_secs(60);
    if client
        .world
        .until("the last order is confirmed", within, confirmed)
        .await
        .is_err()
    {
        client.broken(format!("in the end no order is confirmed: {}", client.get(&path).await));
    }
}
