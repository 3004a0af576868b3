//! A client, and what all clients of a run were told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Method;
use selvedge_testkit::World;
use selvedge_testkit::client::{self, Insisted};
use selvedge_testkit::simulation::Answer;
use serde_json::Value;

/// What the clients of a run were told.
#[derive(Default)]
pub struct Told {
    /// Ids of open accounts.
    pub users: Vec<String>,
    /// Ids of accounts that were closed.
    pub closed: Vec<String>,
    /// Paths of todos.
    pub todos: Vec<String>,
    /// Ids of orders.
    pub orders: Vec<String>,
    /// Sources and ids of events from outside that were taken.
    pub events: Vec<(String, String)>,
    /// Those of them that expire before they may be delivered.
    pub doomed: Vec<(String, String)>,
    /// Marks of commands that were refused.
    pub refused: Vec<String>,
    /// Whether an operator paused a subscription.
    pub paused: bool,
    /// What they were told and should not have been.
    pub broken: Vec<String>,
}

/// Whoever gives the `number`-th command.
pub struct Client<'w> {
    pub world: &'w World,
    /// Whether nothing goes wrong in this run: then no answer is an error of the server's.
    pub is_calm: bool,
    pub told: &'w Mutex<Told>,
    pub number: usize,
}

impl Client<'_> {
    /// A text that no other command has in it.
    pub fn mark(&self) -> String {
        format!("c{}x", self.number)
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that a client was told and should not have been.
    pub fn broken(&self, text: String) {
        self.told().broken.push(text);
    }

    /// An answer that isn't one of those that are right.
    pub fn expect(&self, what: &str, answer: &Answer, right: &[u16]) {
        let status = answer.status.as_u16();
        if !right.contains(&status) {
            let json = answer.json();
            self.broken(format!("{what} ({}) was answered with {status}: {json}", self.mark()));
        }
    }

    /// Sends a request until its answer is no error of the server's.
    pub async fn insist(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Insisted> {
        let body = body.into();
        if !self.is_calm {
            return client::insist(self.world, method, path, headers, body).await;
        }
        let answer = self.once(method, path, headers, body).await?;
        Some(Insisted { answer, attempts: 1 })
    }

    /// POSTs a command under a key, until the application accepts or refuses it.
    pub async fn command(&self, path: &str, key: &str, body: &Value) -> Option<Insisted> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.insist(Method::POST, path, &headers, body.to_string()).await
    }

    /// Sends a request once. Faults may leave it without an answer.
    pub async fn once(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        self.world.revive();
        let what = format!("{method} {path}");
        let answer = client::once(self.world, method, path, headers, body).await;
        if self.is_calm {
            match &answer {
                None => self.broken(format!("{what} wasn't answered")),
                Some(answer) if answer.status.is_server_error() => {
                    self.broken(format!("{what} was answered with {}: {}", answer.status, answer.json()));
                }
                Some(_) => {}
            }
        }
        answer
    }

    /// The JSON of a page or an entity; `Null` where there was no answer, or another one.
    pub async fn get(&self, path: &str) -> Value {
        match self.once(Method::GET, path, &[], Bytes::new()).await {
            Some(answer) if answer.status.is_success() => answer.json(),
            _ => Value::Null,
        }
    }

    /// Notes that what was asked for under a mark was refused and never done: where it was asked for once.
    pub fn refused(&self, insisted: &Insisted, mark: String) {
        if insisted.attempts == 1 && insisted.answer.status.is_client_error() {
            self.told().refused.push(mark);
        }
    }
}
