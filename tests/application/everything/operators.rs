//! Operators, and those who would like to be: subscriptions are paused and resumed, dead letters redriven and discarded,
//! replays begun and cancelled.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::client::Client;
use crate::application::{ADMIN_TOKEN, ANSWERS, EFFECTS};

/// How often an operator tries to have a paused subscription go on.
const RESUMES: usize = 20;

fn subscriptions() -> Vec<&'static str> {
    let effects = EFFECTS.iter().chain(&ANSWERS);
    effects.map(|effect| effect.subscription).chain(["orders"]).collect()
}

async fn ask(client: &Client<'_>, method: Method, path: &str, body: &Value) -> Option<Value> {
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let body = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    let answer = client.once(method, path, &headers, body).await?;
    answer.status.is_success().then(|| answer.json())
}

pub async fn operate(client: &Client<'_>, chance: &mut StdRng) {
    let names = subscriptions();
    let name = *names.choose(chance).expect("there are some");
    match chance.random_range(0..10) {
        0 => intrude(client, chance).await,
        1 => look(client).await,
        2 => {
            client.told().paused = true;
            ask(
                client,
                Method::POST,
                &format!("/admin/subscriptions/{name}/pause"),
                &Value::Null,
            )
            .await;
            tokio::time::sleep(Duration::from_millis(chance.random_range(0..5_000))).await;
            ask(
                client,
                Method::POST,
                &format!("/admin/subscriptions/{name}/resume"),
                &Value::Null,
            )
            .await;
        }
        // Everything else is done by the relay in its own time, for which it needs the cron.
        _ if client.is_calm => look(client).await,
        3 | 4 => redrive_all(client).await,
        5 => decide(client, chance).await,
        6 => {
            let replay = json!({ "subscription": name, "fromPosition": 1 });
            ask(client, Method::POST, "/admin/replay", &replay).await;
        }
        7 | 8 => {
            let name = EFFECTS.choose(chance).expect("there are some").subscription;
            let replay = json!({ "subscription": name, "mode": "rebuild" });
            ask(client, Method::POST, "/admin/replay", &replay).await;
        }
        _ => {
            let order = client.told().orders.choose(chance).cloned();
            if let Some(order) = order {
                ask(client, Method::POST, &format!("/orders/{order}/resume"), &Value::Null).await;
            }
            cancel_one(client, chance).await;
        }
    }
}

/// Who has no token, or another one, sees nothing and does nothing.
async fn intrude(client: &Client<'_>, chance: &mut StdRng) {
    let (method, path) = [
        (Method::GET, "/admin/subscriptions"),
        (Method::POST, "/admin/subscriptions/analytics/pause"),
        (Method::POST, "/admin/dead-letters/discard"),
        (Method::POST, "/admin/replay"),
    ]
    .choose(chance)
    .cloned()
    .expect("there are some");
    let wrong = [("authorization", "Bearer correct-horse")];
    let headers: &[(&str, &str)] = if chance.random() { &wrong } else { &[] };
    if let Some(answer) = client
        .once(method, path, headers, r#"{"filter":{},"reason":"x"}"#)
        .await
        && !answer.status.is_server_error()
    {
        client.expect("an intruder", &answer, &[401, 403]);
    }
}

async fn look(client: &Client<'_>) {
    for path in [
        "/admin/subscriptions",
        "/admin/breakers",
        "/admin/dead-letters?limit=2",
        "/admin/replay",
    ] {
        ask(client, Method::GET, path, &Value::Null).await;
    }
}

/// Some dead letters are discarded, one is redriven by its id.
async fn decide(client: &Client<'_>, chance: &mut StdRng) {
    let Some(page) = ask(client, Method::GET, "/admin/dead-letters?limit=5", &Value::Null).await else {
        return;
    };
    let letters = page["deadLetters"].as_array().cloned().unwrap_or_default();
    let Some(id) = letters.choose(chance).map(|letter| letter["id"].clone()) else {
        return;
    };
    ask(
        client,
        Method::GET,
        &format!("/admin/dead-letters/{}", id.as_str().unwrap_or_default()),
        &Value::Null,
    )
    .await;
    if chance.random() {
        let discard = json!({ "ids": [id], "reason": "nobody misses it", "by": "chaos" });
        ask(client, Method::POST, "/admin/dead-letters/discard", &discard).await;
    } else {
        ask(
            client,
            Method::POST,
            "/admin/dead-letters/redrive",
            &json!({ "ids": [id] }),
        )
        .await;
    }
}

/// Gives every dead letter its attempts once more: some of them will fail as before.
pub async fn redrive_all(client: &Client<'_>) {
    let all = json!({ "filter": {}, "ratePerSecond": 10 });
    ask(client, Method::POST, "/admin/dead-letters/redrive", &all).await;
}

async fn replays(client: &Client<'_>) -> Vec<Value> {
    let list = ask(client, Method::GET, "/admin/replay", &Value::Null).await;
    list.and_then(|mut list| list["replays"].as_array_mut().map(std::mem::take))
        .unwrap_or_default()
}

async fn cancel(client: &Client<'_>, id: &str) {
    let path = format!("/admin/replay/{id}/cancel");
    ask(client, Method::POST, &path, &Value::Null).await;
}

async fn cancel_one(client: &Client<'_>, chance: &mut StdRng) {
    let replays = replays(client).await;
    if let Some(id) = replays.choose(chance).and_then(|replay| replay["id"].as_str()) {
        cancel(client, id).await;
    }
}

/// A rebuild may wait for somebody to decide upon a dead letter: in the end nobody does.
pub async fn cancel_rebuilds(client: &Client<'_>) {
    for replay in replays(client).await {
        if replay["mode"] == "rebuild" && replay["state"] == "running" {
            let id = replay["id"].as_str().unwrap_or_default();
            cancel(client, id).await;
        }
    }
}

/// Lets every subscription go on that an operator paused.
pub async fn resume_all(client: &Client<'_>) {
    if !client.told().paused {
        return;
    }
    for name in subscriptions() {
        for _ in 0..RESUMES {
            let path = format!("/admin/subscriptions/{name}/resume");
            if ask(client, Method::POST, &path, &Value::Null).await.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
