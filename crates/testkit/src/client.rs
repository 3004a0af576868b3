//! A client that behaves: it sends a command with an `Idempotency-Key` and sends it again until it has an answer.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use crate::simulation::{Answer, World};

/// How long it waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits before it sends the command again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it sends a command.
const ATTEMPTS: usize = 20;

/// POSTs `json` to `path` under `key` until the application accepts or refuses it. `None`: it never said.
pub async fn command(world: &World, path: &str, key: &str, json: &Value) -> Option<Answer> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let insisted = insist(world, Method::POST, path, &headers, json.to_string()).await;
    insisted.map(|insisted| insisted.answer)
}

/// An answer that says yes or no, and how often it was asked for.
#[derive(Debug, Clone)]
pub struct Insisted {
    /// The answer.
    pub answer: Answer,
    /// How often the request was sent. After more than one, what the answer refuses may have been done before.
    pub attempts: usize,
}

/// Sends a request until its answer is no error of the server's. `None`: there was none.
pub async fn insist(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Option<Insisted> {
    let body = body.into();
    for attempts in 1..=ATTEMPTS {
        world.revive();
        let node = world.node();
        let request = once(world, method.clone(), path, headers, body.clone());
        tokio::select! {
            biased;
            // A client that is gone asks again, as its user would.
            () = node.faults.client_gone() => {}
            answer = request => {
                if let Some(answer) = answer.filter(|answer| !answer.status.is_server_error()) {
                    return Some(Insisted { answer, attempts });
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// Sends one request, to a node that lives, and waits for its answer no longer than a client would.
pub async fn once(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Option<Answer> {
    world.revive();
    tokio::time::timeout(ANSWER_TIMEOUT, world.request(method, path, headers, body))
        .await
        .ok()
}
