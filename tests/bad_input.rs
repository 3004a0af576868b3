//! Malformed and oversized input on every public route: each gets a problem that says what is wrong, and nothing is
//! stored.

mod bodies;
mod headers;
mod paths;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use selvedge_testkit::World;
use selvedge_testkit::simulation::Answer;

use crate::harness::{create, outstanding, until_effects};

/// Every public path and the methods that it takes. `{id}` stands for a todo that there is.
const ROUTES: [(&str, &[&str]); 9] = [
    ("/todos", &["POST", "GET"]),
    ("/todos/{id}", &["GET", "PATCH", "DELETE"]),
    ("/todos/{id}/complete", &["POST"]),
    ("/notifications", &["GET"]),
    ("/analytics/events", &["GET"]),
    ("/relay/drain", &["POST"]),
    ("/health", &["GET"]),
    ("/health/live", &["GET"]),
    ("/health/ready", &["GET"]),
];

/// A world with one todo in it that everybody has heard of.
struct Before<'w> {
    world: &'w World,
    id: String,
    stored: Vec<i64>,
}

impl<'w> Before<'w> {
    async fn new(world: &'w World) -> anyhow::Result<Self> {
        let id = create(world, "Buy groceries", "u1").await;
        until_effects(world, "u1", Duration::from_secs(1)).await?;
        world
            .until("nothing is outstanding", Duration::from_secs(1), async || {
                outstanding(world) == 0
            })
            .await?;
        let stored = stored(world);
        assert_eq!(
            stored,
            [1, 1, 1, 0, 2],
            "the journal, both effects, no exceptions, and their done markers"
        );
        Ok(Self { world, id, stored })
    }

    fn path(&self, path: &str) -> String {
        path.replace("{id}", &self.id)
    }

    /// Sends a request that must be refused with this status, and looks whether anything changed.
    async fn refused(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        status: StatusCode,
    ) -> Answer {
        let path = self.path(path);
        let body = Bytes::copy_from_slice(body);
        let story = format!("{method} {path} {headers:?} {:.80}", String::from_utf8_lossy(&body));
        let method = method.parse().expect("a method");
        let answer = self.world.request(method, &path, headers, body).await;
        assert_problem(&answer, status, &story);
        assert_eq!(stored(self.world), self.stored, "{story} left something behind");
        answer
    }
}

/// How much is stored where: events, notifications, counted events, exceptions, and keys.
fn stored(world: &World) -> Vec<i64> {
    let rows = |table| world.sql.number(&format!("SELECT count(*) FROM {table}"));
    let mut stored: Vec<i64> = ["journal", "notifications", "analytics_counted", "exceptions"]
        .map(rows)
        .into();
    stored.push(world.key_value.contents().values.len() as i64);
    stored
}

/// An RFC 9457 problem with all that a caller needs.
fn assert_problem(answer: &Answer, status: StatusCode, story: &str) {
    let problem = answer.json();
    assert_eq!(answer.status, status, "{story}: {problem}");
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{story}: {problem}"
    );
    assert_eq!(problem["status"], status.as_u16(), "{story}: {problem}");
    for part in ["title", "detail"] {
        assert!(
            problem[part].as_str().is_some_and(|text| !text.is_empty()),
            "{story}: no {part} in {problem}"
        );
    }
}
