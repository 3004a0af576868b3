//! A component reaches the hosts that its manifest allows, and no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::simulation::Peer;
use selvedge_testkit::{Simulation, World};

use crate::harness::{application_copy, create, edit, notifications, root};

/// Counts the requests that reach it.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

#[async_trait]
impl Peer for Counter {
    async fn answer(&self, _request: Request<Bytes>) -> Option<Response<Bytes>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(Response::new(Bytes::new()))
    }
}

/// How many requests reach the webhook when notifications may reach `allowed`, and how many retries wait then.
fn reached(allowed: &str) -> anyhow::Result<(usize, i64)> {
    let copy = application_copy()?;
    let manifest = copy.path().join("spin.toml");
    edit(&manifest, r#"["http://*:*", "https://*:*"]"#, allowed)?;
    let cache = root().join("target/component-cache");
    let program = Arc::new(Program::compile(Manifest::read(&manifest)?, Some(cache), &|_| {})?);
    Simulation::run(&program, 1, async |mut world: World| {
        let webhook = Counter::default();
        world.network.play("hooks.example", webhook.clone());
        world.set_variable("notify_webhook_url", "http://hooks.example/notify");
        world.restart()?;
        create(&world, "Buy groceries", "u1").await;
        let told = async || notifications(&world, "u1").await == 1;
        world
            .until("the notification is kept", Duration::from_secs(1), told)
            .await?;
        let waits = "SELECT count(*) FROM exceptions WHERE subscription = 'notifications' AND state = 'retry'";
        let settled = async || webhook.0.load(Ordering::SeqCst) + world.sql.number(waits).unsigned_abs() as usize > 0;
        world
            .until("the webhook was tried", Duration::from_secs(1), settled)
            .await?;
        Ok((webhook.0.load(Ordering::SeqCst), world.sql.number(waits)))
    })
}

#[test]
fn an_allowed_host_is_reached() -> anyhow::Result<()> {
    assert_eq!(reached(r#"["http://hooks.example"]"#)?, (1, 0));
    Ok(())
}

#[test]
fn a_host_that_is_not_allowed_is_never_reached() -> anyhow::Result<()> {
    assert_eq!(reached(r#"["http://other.example", "https://hooks.example"]"#)?, (0, 1));
    assert_eq!(reached("[]")?, (0, 1));
    Ok(())
}
