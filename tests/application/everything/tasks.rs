//! Todos: created for users of all kinds, changed, completed and deleted, also at a version that is no more.

use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::client::Client;

/// An id such as users gives out, that it never gave out.
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

pub async fn create(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    let mark = client.mark();
    let (user, is_known) = user(client, chance);
    let todo = json!({ "title": format!("todo {mark}"), "userId": user });
    let created = client.command("/todos", &format!("create-{mark}"), &todo).await?;
    client.expect("a todo", &created.answer, &[201, 422]);
    client.refused(&created, mark.clone());
    let is_right = match is_known {
        Some(true) => created.answer.status == 201 && created.answer.json()["userVerified"] == true,
        Some(false) => created.answer.status == 422,
        None => created.answer.status == 201,
    };
    // While things go wrong users may not be asked; and an account may be closed meanwhile.
    if !is_right && (client.is_calm && is_known != Some(true) || is_known.is_none()) {
        client.broken(format!("a todo of {user} was answered with {:?}", created.answer));
    }
    if created.answer.status != 201 {
        return None;
    }
    let path = created.answer.header("location").to_owned();
    client.told().todos.push(path.clone());
    let complete = format!("{path}/complete");
    let key = |name: &str| format!("{name}-{mark}");
    match chance.random_range(0..6) {
        0 | 1 => completed(client, &complete, &key("complete")).await,
        2 => {
            let (one, other) = (key("one"), key("other"));
            futures::future::join(completed(client, &complete, &one), completed(client, &complete, &other)).await;
        }
        _ => {}
    }
    Some(format!("todos.task/{}", path.rsplit('/').next()?))
}

/// Whose todo it is, and whether users knows them; `None` where it isn't asked.
fn user(client: &Client<'_>, chance: &mut StdRng) -> (String, Option<bool>) {
    let told = client.told();
    match chance.random_range(0..8) {
        0 | 1 => told.users.choose(chance).map(|user| (user.clone(), Some(true))),
        2 => told.closed.choose(chance).map(|user| (user.clone(), Some(false))),
        3 => Some((NOBODY.to_owned(), Some(false))),
        _ => None,
    }
    .unwrap_or_else(|| (format!("u{}", chance.random_range(0..5)), None))
}

async fn completed(client: &Client<'_>, path: &str, key: &str) {
    if let Some(completed) = client.command(path, key, &json!({})).await {
        // Somebody may have deleted it, or its user doesn't exist.
        client.expect("completing a todo", &completed.answer, &[200, 404, 409]);
    }
}

pub async fn change(client: &Client<'_>, chance: &mut StdRng) {
    let Some(path) = client.told().todos.choose(chance).cloned() else {
        return;
    };
    match chance.random_range(0..6) {
        0 => {
            let deleted = client.insist(Method::DELETE, &path, &[], "").await;
            if let Some(deleted) = deleted {
                client.expect("deleting a todo", &deleted.answer, &[204, 404]);
            }
        }
        1 => completed(client, &format!("{path}/complete"), &format!("late-{}", client.mark())).await,
        2 | 3 => at_once(client, &path).await,
        4 => {
            let changed = patch(client, &path, "\"77\"", &client.mark()).await;
            if changed == Some(200) {
                client.broken(format!("{path} was changed at a version that it never had"));
            }
        }
        _ => drop(patch(client, &path, "*", &client.mark()).await),
    }
}

/// Two change a todo at once, each as they saw it: one of them is told that it has changed meanwhile.
async fn at_once(client: &Client<'_>, path: &str) {
    let seen: Value = client.get(path).await;
    let Some(version) = seen["version"].as_i64() else {
        return;
    };
    let version = format!("\"{version}\"");
    let (one, other) = (format!("one {}", client.mark()), format!("other {}", client.mark()));
    let both = futures::future::join(
        patch(client, path, &version, &one),
        patch(client, path, &version, &other),
    );
    if both.await == (Some(200), Some(200)) {
        client.broken(format!(
            "two changed {path} at version {version}: one of them changed what it hadn't seen"
        ));
    }
}

/// The status of a change of the title.
async fn patch(client: &Client<'_>, path: &str, version: &str, title: &str) -> Option<u16> {
    let headers = [("content-type", "application/json"), ("if-match", version)];
    let body = json!({ "title": title }).to_string();
    let changed = client.insist(Method::PATCH, path, &headers, body).await?;
    client.expect("changing a todo", &changed.answer, &[200, 404, 409, 412]);
    client.refused(&changed, title.to_owned());
    Some(changed.answer.status.as_u16())
}
