//! Readers: every list page by page, health, schemas, the relay's public door.

use std::collections::HashSet;

use bytes::Bytes;
use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use selvedge_testkit::client as testkit;

use super::client::Client;

/// How many pages a reader has patience for.
const PAGES_MAX: usize = 8;

pub async fn read(client: &Client<'_>, chance: &mut StdRng) {
    let user = format!("u{}", chance.random_range(0..5));
    match chance.random_range(0..8) {
        0 => pages(client, &format!("/todos?userId={user}"), "todos", "id").await,
        1 => {
            pages(
                client,
                &format!("/notifications?userId={user}"),
                "notifications",
                "eventId",
            )
            .await
        }
        2 => journal(client, chance).await,
        3 => one_of(client, chance).await,
        4 => {
            client.once(Method::POST, "/relay/drain", &[], Bytes::new()).await;
        }
        5 if chance.random_ratio(1, 8) => {
            // It goes on for longer than a client has patience for, who then goes away.
            testkit::once(client.world, Method::GET, "/events/stream?after=0", &[], Bytes::new()).await;
        }
        _ => {
            let path = [
                "/health",
                "/health/live",
                "/health/ready",
                "/asyncapi.json",
                "/schemas/todos.task.created.json",
                "/analytics/events",
                "/analytics/events?type=todos.task.created&day=2026-01-01",
                "/v1.0/healthz",
                "/v1.0/metadata",
                "/dapr/subscribe",
            ];
            let path = path.choose(chance).expect("there are some");
            client.once(Method::GET, path, &[], Bytes::new()).await;
        }
    }
}

/// Follows `next` to the end: nothing is shown twice. `name` is the list, `id` tells its items apart.
async fn pages(client: &Client<'_>, path: &str, name: &str, id: &str) {
    let mut seen = HashSet::new();
    let mut after = String::new();
    for _ in 0..PAGES_MAX {
        let page = client.get(&format!("{path}&limit=3{after}")).await;
        for item in page[name].as_array().into_iter().flatten() {
            // While a projection is built anew its rows get other numbers, and some come once more.
            if !seen.insert(item[id].to_string()) && client.is_calm {
                client.broken(format!("{path} shows {} twice", item[id]));
            }
        }
        after = match &page["next"] {
            serde_json::Value::Null => return,
            serde_json::Value::String(next) => format!("&after={next}"),
            next => format!("&after={next}"),
        };
    }
}

/// Follows the journal's links: positions only grow.
async fn journal(client: &Client<'_>, chance: &mut StdRng) {
    let mut path = format!("/events?limit={}", chance.random_range(1..20));
    let mut last = -1;
    for _ in 0..PAGES_MAX {
        let Some(answer) = client.once(Method::GET, &path, &[], Bytes::new()).await else {
            return;
        };
        if !answer.status.is_success() {
            return;
        }
        let cursor: i64 = answer.header("selvedge-cursor").parse().unwrap_or(-1);
        if cursor < last {
            client.broken(format!("{path} goes back from {last} to {cursor}"));
        }
        last = cursor;
        let link = answer.header("link").to_owned();
        let Some(next) = link.strip_prefix('<').and_then(|link| link.split_once('>')) else {
            return;
        };
        next.0.clone_into(&mut path);
    }
}

/// An order as its caller sees it, its payment and its shipment; or a todo, or a user.
async fn one_of(client: &Client<'_>, chance: &mut StdRng) {
    let (order, todo, user) = {
        let told = client.told();
        let order = told.orders.choose(chance).cloned();
        (
            order,
            told.todos.choose(chance).cloned(),
            told.users.choose(chance).cloned(),
        )
    };
    let order = order.into_iter();
    let paths = order.flat_map(|id| ["orders", "payments", "shipments"].map(|list| format!("/{list}/{id}")));
    for path in paths.chain(todo).chain(user.map(|id| format!("/users/{id}"))) {
        client.once(Method::GET, &path, &[], Bytes::new()).await;
    }
}
