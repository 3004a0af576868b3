//! A provider that a test plays: what it does is scripted, what it did is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use selvedge_testkit::World;
use selvedge_testkit::simulation::Peer;
use serde_json::json;

use crate::admin::TOKEN;
use crate::harness::simulate;

/// What it does with a call whose key it hasn't heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It does it, and says so.
    Done,
    /// It does it, and says so after this many milliseconds.
    DoneAfterMs(u64),
    /// It does it, and its answer is lost.
    DoneAndLost,
    /// It says no.
    Refused,
    /// It fails with this status, and does nothing.
    Failed(u16),
    /// It never answers.
    Silent,
    /// The connection breaks.
    Down,
}

/// What it did under each key, by path; and what comes next.
#[derive(Default)]
struct State {
    script: BTreeMap<String, VecDeque<Reply>>,
    usual: Option<Reply>,
    said: BTreeMap<(String, String), bool>,
    keys: Vec<(String, String)>,
}

/// The provider of payments and of shipping. It keeps to its word: a key that it heard before gets the first answer.
#[derive(Clone, Default)]
pub struct Provider(Arc<Mutex<State>>);

impl Provider {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does next at a path: `/payments`, `/refunds`, `/shipments`, `/cancellations`.
    pub fn next(&self, path: &str, replies: &[Reply]) {
        self.state().script.entry(path.to_owned()).or_default().extend(replies);
    }

    /// What it does with every call that isn't scripted; [`Reply::Done`] unless it is said otherwise.
    pub fn usually(&self, reply: Reply) {
        self.state().usual = Some(reply);
    }

    /// How often it did what is asked for at a path.
    pub fn done(&self, path: &str) -> usize {
        self.state()
            .said
            .iter()
            .filter(|((at, _), done)| at == path && **done)
            .count()
    }

    /// The keys that it was called with at a path, in order, each as often as it came.
    pub fn keys(&self, path: &str) -> Vec<String> {
        let state = self.state();
        state
            .keys
            .iter()
            .filter(|(at, _)| at == path)
            .map(|(_, key)| key.clone())
            .collect()
    }

    fn reply(&self, path: &str, key: &str) -> Reply {
        let mut state = self.state();
        state.keys.push((path.to_owned(), key.to_owned()));
        let scripted = state.script.get_mut(path).and_then(VecDeque::pop_front);
        let reply = scripted.or(state.usual).unwrap_or(Reply::Done);
        let place = (path.to_owned(), key.to_owned());
        let does = match reply {
            Reply::Failed(_) | Reply::Silent | Reply::Down => return reply,
            Reply::Refused => false,
            Reply::Done | Reply::DoneAfterMs(_) | Reply::DoneAndLost => true,
        };
        match *state.said.entry(place).or_insert(does) {
            first if first == does => reply,
            true => Reply::Done,
            false => Reply::Refused,
        }
    }
}

#[async_trait]
impl Peer for Provider {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let key = request.headers().get("idempotency-key").expect("every call has a key");
        let key = key.to_str().expect("a text").to_owned();
        let answer = |status: u16, body: serde_json::Value| {
            let mut response = Response::new(Bytes::from(body.to_string()));
            *response.status_mut() = status.try_into().expect("a status");
            Some(response)
        };
        match self.reply(request.uri().path(), &key) {
            Reply::Done => answer(201, json!({ "id": key })),
            Reply::DoneAfterMs(delay_ms) => {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                answer(201, json!({ "id": key }))
            }
            Reply::Refused => answer(402, json!({ "reason": "the provider said no" })),
            Reply::Failed(status) => answer(status, json!({})),
            Reply::Silent => std::future::pending().await,
            Reply::DoneAndLost | Reply::Down => None,
        }
    }
}

/// Runs a test in a world whose orders are fulfilled by a scripted provider, with the cron.
pub fn with_provider(test: impl AsyncFnOnce(&World, &Provider) -> anyhow::Result<()>) -> anyhow::Result<()> {
    simulate(async |mut world| {
        let provider = Provider::default();
        world.network.play("provider.example", provider.clone());
        for name in ["payment_provider_url", "shipping_provider_url"] {
            world.set_variable(name, "http://provider.example/");
        }
        world.set_variable("admin_token", TOKEN);
        world.restart()?;
        let _cron = world.start_cron();
        test(&world, &provider).await
    })
}
