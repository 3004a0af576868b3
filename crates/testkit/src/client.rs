//! A client that behaves: it sends a command with an `Idempotency-Key` and sends it again until it has an answer.

use std::time::Duration;

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
    for _ in 0..ATTEMPTS {
        world.revive();
        let node = world.node();
        let request = world.request(Method::POST, path, &headers, json.to_string());
        tokio::select! {
            biased;
            // A client that is gone asks again, as its user would.
            () = node.faults.client_gone() => {}
            answer = tokio::time::timeout(ANSWER_TIMEOUT, request) => {
                if let Some(answer) = answer.ok().filter(|answer| !answer.status.is_server_error()) {
                    return Some(answer);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}
