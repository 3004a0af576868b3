//! What is asked of an operator's route wrongly is refused, and changes nothing.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{TOKEN, ask, assert_problem, operate, state};
use crate::harness::{create, until_effects};

#[test]
fn bad_input_on_every_route_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    const POST: Method = Method::POST;
    let (replay, redrive, discard) = (
        "/admin/replay",
        "/admin/dead-letters/redrive",
        "/admin/dead-letters/discard",
    );
    let many_ids = json!({ "ids": vec!["analytics:1"; 501] });
    let many_types = json!({ "subscription": "analytics", "fromPosition": 1, "types": vec!["*"; 51] });
    let posts = [
        (redrive, json!({})),
        (redrive, json!({ "ids": [] })),
        (redrive, many_ids),
        (redrive, json!({ "ids": ["analytics"] })),
        (redrive, json!({ "ids": ["analytics:0"] })),
        (redrive, json!({ "ids": "analytics:1" })),
        (redrive, json!({ "ids": ["analytics:1"], "filter": {} })),
        (redrive, json!({ "ids": ["analytics:1"], "after": "analytics:1" })),
        (redrive, json!({ "filter": { "subscriptoin": "analytics" } })),
        (redrive, json!({ "filter": { "type": "not a type" } })),
        (redrive, json!({ "filter": { "from": "yesterday" } })),
        (redrive, json!({ "filter": {}, "ratePerSecond": 0 })),
        (redrive, json!({ "filter": {}, "ratePerSecond": -1 })),
        (redrive, json!({ "filter": {}, "ratePerSecond": 10_001 })),
        (redrive, json!({ "filter": {}, "startAt": "2999-01-01T00:00:00Z" })),
        (redrive, json!({ "filter": {}, "more": 1 })),
        (discard, json!({ "filter": {} })),
        (discard, json!({ "filter": {}, "reason": " " })),
        (discard, json!({ "filter": {}, "reason": "x".repeat(501) })),
        (discard, json!({ "filter": {}, "reason": "x", "by": "" })),
        (discard, json!({ "reason": "x" })),
        (replay, json!({ "subscription": "analytics" })),
        (replay, json!({ "subscription": "nobody", "fromPosition": 1 })),
        (replay, json!({ "subscription": "analytics", "fromPosition": 0 })),
        (replay, json!({ "subscription": "analytics", "fromPosition": 1.5 })),
        (replay, json!({ "subscription": "analytics", "fromTime": "noon" })),
        (
            replay,
            json!({ "subscription": "analytics", "fromPosition": 1, "fromTime": "2026-01-01T00:00:00Z" }),
        ),
        (
            replay,
            json!({ "subscription": "analytics", "fromPosition": 1, "mode": "forget" }),
        ),
        (
            replay,
            json!({ "subscription": "analytics", "fromPosition": 1, "types": ["a.b"] }),
        ),
        (
            replay,
            json!({ "subscription": "analytics", "fromPosition": 1, "ratePerSecond": 0 }),
        ),
        (replay, many_types),
        (replay, json!([])),
    ];
    operate(async |world| {
        create(&world, "Buy groceries", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        let before = state(&world);
        for (path, body) in posts {
            let refused = ask(&world, POST, path, &body).await;
            assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, &format!("{path} {body}"));
        }
        for path in [redrive, discard, replay] {
            for body in ["", "{", "\u{0}"] {
                let authorization = format!("Bearer {TOKEN}");
                let refused = world
                    .request(POST, path, &[("authorization", &authorization)], body)
                    .await;
                assert_problem(&refused, StatusCode::BAD_REQUEST, &format!("{path} {body:?}"));
            }
        }
        for query in [
            "limit=0",
            "limit=x",
            "after=x",
            "state=alive",
            "type=a%20b",
            "from=noon",
            "to=1",
        ] {
            let path = format!("/admin/dead-letters?{query}");
            assert_problem(
                &ask(&world, Method::GET, &path, &Value::Null).await,
                StatusCode::BAD_REQUEST,
                query,
            );
        }
        for (method, path) in [
            (Method::GET, "/admin/dead-letters/analytics:1"),
            (Method::GET, "/admin/dead-letters/rubbish"),
            (Method::GET, "/admin/replay/nobody"),
            (POST, "/admin/replay/nobody/cancel"),
            (POST, "/admin/replay/nobody/resume"),
            (POST, "/admin/subscriptions/nobody/pause"),
            (POST, "/admin/subscriptions/nobody/resume"),
            (Method::GET, "/admin"),
            (Method::GET, "/admin/nothing"),
        ] {
            assert_problem(
                &ask(&world, method, path, &Value::Null).await,
                StatusCode::NOT_FOUND,
                path,
            );
        }
        let wrong_method = ask(&world, Method::DELETE, "/admin/dead-letters", &Value::Null).await;
        assert_problem(&wrong_method, StatusCode::METHOD_NOT_ALLOWED, "DELETE");
        assert_eq!(state(&world), before);
        Ok(())
    })
}
