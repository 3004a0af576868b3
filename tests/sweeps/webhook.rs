//! A webhook of a partner's: signed requests, told apart by their `webhook-id`.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use selvedge_events::derived_id;
use selvedge_testkit::World;
use selvedge_testkit::checkers::{self, Violation};
use selvedge_testkit::simulation::Peer;
use selvedge_testkit::sweep::Sweep;

use super::{Application, assert_kept, no_dead_letters, warm_up};
use crate::todo_journey::todo_journey;

const SUBSCRIPTIONS: &str = r#"
[[subscription]]
name = "partner"
types = ["todos.task.*"]
target = "https://hooks.example/todos"
secret_variable = "webhook_secret"
"#;

/// Takes everything.
struct Partner;

#[async_trait]
impl Peer for Partner {
    async fn answer(&self, _request: Request<Bytes>) -> Option<Response<Bytes>> {
        Some(Response::new(Bytes::new()))
    }
}

/// Every event was taken by the partner, under an id that is its own whatever happens.
fn all_taken(world: &World) -> Vec<Violation> {
    let mut violations = checkers::streams_have_no_gaps(world);
    violations.extend(no_dead_letters(world));
    let taken: HashSet<String> = world
        .network
        .exchanges()
        .into_iter()
        .map(|exchange| exchange.idempotency_key)
        .collect();
    let journal = world.sql.query("SELECT source, id FROM journal").unwrap_or_default();
    let expected: HashSet<String> = journal
        .into_iter()
        .filter_map(|row| match &row[..] {
            [rusqlite::types::Value::Text(source), rusqlite::types::Value::Text(id)] => {
                Some(derived_id(source, id, "partner", 0))
            }
            _ => None,
        })
        .collect();
    if expected.len() != 2 || taken != expected {
        violations.push(Violation(format!("the partner took {taken:?} instead of {expected:?}")));
    }
    violations
}

#[test]
fn every_call_on_an_events_way_to_a_webhook_may_fail_in_every_way() -> anyhow::Result<()> {
    let application = Application {
        subscriptions: Some(SUBSCRIPTIONS),
        variables: &[("webhook_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        host: Some("https://hooks.example"),
        ..Application::default()
    };
    let program = application.compile()?;
    let journey = async |world: &World| {
        world.network.play("hooks.example", Partner);
        todo_journey(world).await;
    };
    let report = Sweep::of(&program).after(warm_up).run(&journey, &all_taken);
    assert_kept("a todo's way to a webhook", 25, &report);
    Ok(())
}
