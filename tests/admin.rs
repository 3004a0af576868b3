//! The operator's routes: nobody without the token, nothing of it in any log; what is asked for wrongly is refused;
//! subscriptions are seen, paused and resumed.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Answer, Fault, When};
use serde_json::{Value, json};

use crate::harness::{counted, create, notifications, outstanding, simulate, until_effects};

/// The token that the tests set. No text of the application has it by chance.
pub const TOKEN: &str = "correct-horse-battery-staple-7f3a";

/// Every route of the operator's, with a body that would be taken.
const ROUTES: [(&str, &str, &str); 13] = [
    ("GET", "/admin/subscriptions", ""),
    ("POST", "/admin/subscriptions/analytics/pause", ""),
    ("POST", "/admin/subscriptions/analytics/resume", ""),
    ("GET", "/admin/breakers", ""),
    ("GET", "/admin/dead-letters", ""),
    ("GET", "/admin/dead-letters/analytics:1", ""),
    ("POST", "/admin/dead-letters/redrive", r#"{"filter":{}}"#),
    ("POST", "/admin/dead-letters/discard", r#"{"filter":{},"reason":"x"}"#),
    (
        "POST",
        "/admin/replay",
        r#"{"subscription":"analytics","fromPosition":1}"#,
    ),
    ("GET", "/admin/replay", ""),
    ("GET", "/admin/replay/r", ""),
    ("POST", "/admin/replay/r/cancel", ""),
    ("POST", "/admin/replay/r/resume", ""),
];

/// Runs a test in a world whose operators have [`TOKEN`].
pub fn operate(test: impl AsyncFnOnce(World) -> anyhow::Result<()>) -> anyhow::Result<()> {
    simulate(async |mut world| {
        world.set_variable("admin_token", TOKEN);
        world.restart()?;
        test(world).await
    })
}

/// Sends an operator's request; a null body is none.
pub async fn ask(world: &World, method: Method, path: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {TOKEN}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world
        .request(method, path, &[("authorization", &authorization)], body)
        .await
}

/// An operator's GET that must succeed.
pub async fn look(world: &World, path: &str) -> Value {
    let answer = ask(world, Method::GET, path, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
    answer.json()
}

async fn subscription(world: &World, name: &str) -> Value {
    let all = look(world, "/admin/subscriptions").await;
    let found = all["subscriptions"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["subscription"] == name));
    found.cloned().unwrap_or_else(|| panic!("{name} isn't in {all}"))
}

async fn send(world: &World, (method, path, body): (&str, &str, &'static str), headers: &[(&str, &str)]) -> Answer {
    let method = method.parse().expect("a method");
    world
        .request(method, path, headers, Bytes::from_static(body.as_bytes()))
        .await
}

fn assert_problem(answer: &Answer, status: StatusCode, story: &str) {
    assert_eq!(answer.status, status, "{story}: {}", answer.json());
    assert_eq!(answer.header("content-type"), "application/problem+json", "{story}");
    assert!(
        answer.json()["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{story}"
    );
}

/// What an operator's routes could have changed.
fn state(world: &World) -> Vec<i64> {
    let queries = [
        "SELECT count(*) FROM replays",
        "SELECT sum(paused) FROM subscriptions",
        "SELECT sum(position * redrives + position * (state = 'dead')) FROM exceptions",
    ];
    queries.map(|query| world.sql.number(query)).into()
}

#[test]
fn without_a_token_that_is_set_nobody_may_do_anything() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = state(&world);
        for route in ROUTES {
            for headers in [
                &[][..],
                &[("authorization", "Bearer ")],
                &[("authorization", "Bearer x")],
            ] {
                let refused = send(&world, route, headers).await;
                assert_problem(&refused, StatusCode::FORBIDDEN, route.1);
                assert!(
                    refused.json()["detail"]
                        .as_str()
                        .is_some_and(|detail| detail.contains("admin_token"))
                );
            }
        }
        assert_eq!(state(&world), before);
        assert_eq!(
            world.get("/health").await.json()["adminToken"],
            "not set: /admin is refused"
        );
        Ok(())
    })
}

#[test]
fn a_wrong_or_missing_token_is_refused_with_a_challenge() -> anyhow::Result<()> {
    operate(async |world| {
        let (longer, shorter) = (
            format!("Bearer {TOKEN}x"),
            format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]),
        );
        let (basic, upper) = (format!("Basic {TOKEN}"), format!("Bearer {}", TOKEN.to_uppercase()));
        let right = format!("Bearer {TOKEN}");
        let before = state(&world);
        for route in ROUTES {
            let wrong = [&longer, &shorter, &basic, &upper, TOKEN, "Bearer", "Bearer ", ""];
            for value in wrong {
                let refused = send(&world, route, &[("authorization", value)]).await;
                assert_problem(&refused, StatusCode::UNAUTHORIZED, &format!("{} {value:?}", route.1));
                assert!(refused.header("www-authenticate").starts_with("Bearer "), "{}", route.1);
            }
            assert_problem(&send(&world, route, &[]).await, StatusCode::UNAUTHORIZED, route.1);
            let twice = [("authorization", &*right), ("authorization", "Bearer x")];
            assert_problem(&send(&world, route, &twice).await, StatusCode::UNAUTHORIZED, route.1);
            let elsewhere = [
                ("x-authorization", &*right),
                ("spin-authorization", &right),
                ("cookie", &right),
            ];
            assert_problem(
                &send(&world, route, &elsewhere).await,
                StatusCode::UNAUTHORIZED,
                route.1,
            );
        }
        let in_the_query = send(&world, ("GET", "/admin/subscriptions?access_token=correct", ""), &[]).await;
        assert_problem(&in_the_query, StatusCode::UNAUTHORIZED, "a query");
        assert_eq!(state(&world), before);
        Ok(())
    })
}

#[test]
fn the_token_is_in_no_log_and_no_answer() -> anyhow::Result<()> {
    operate(async |world| {
        let (right, nearly) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}-guess"));
        let mut said = Vec::new();
        for route in ROUTES {
            for value in [&right, &nearly] {
                said.push(send(&world, route, &[("authorization", value)]).await);
            }
        }
        // What goes wrong within is logged; that too says nothing of it.
        let node = world.node();
        node.faults
            .hit("admin", "sqlite.execute", "", usize::MAX, Fault::Fail, When::Before);
        for route in ROUTES {
            said.push(send(&world, route, &[("authorization", &right)]).await);
        }
        node.faults.clear();
        said.push(world.get("/health").await);
        assert!(said.iter().any(|answer| answer.status.is_success()));
        assert!(said.iter().any(|answer| answer.status.is_server_error()));
        for answer in said {
            let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
            assert!(!text.contains(TOKEN), "{text}");
        }
        let lines = world.output.lines();
        assert!(!lines.is_empty(), "the faults are logged");
        assert!(
            !lines.iter().any(|line| format!("{line:?}").contains(TOKEN)),
            "{lines:?}"
        );
        Ok(())
    })
}

#[test]
fn a_subscription_shows_how_far_it_is() -> anyhow::Result<()> {
    operate(async |world| {
        let fresh = subscription(&world, "notifications").await;
        assert_eq!(
            (&fresh["lag"], &fresh["configured"], &fresh["paused"]),
            (&json!(0), &json!(true), &json!(false))
        );
        assert_eq!(fresh["oldestUndeliveredAgeMs"], Value::Null);

        let poison = ("notifications", "sqlite.execute", "poison");
        world
            .node()
            .faults
            .hit(poison.0, poison.1, poison.2, usize::MAX, Fault::Fail, When::Before);
        create(&world, "poison", "u1").await;
        let failed = async || subscription(&world, "notifications").await["attempts"] == 1;
        world
            .until("the first attempt failed", Duration::from_millis(900), failed)
            .await?;
        let shown = subscription(&world, "notifications").await;
        assert_eq!(
            (&shown["retries"], &shown["lag"], &shown["deadLetters"]),
            (&json!(1), &json!(0), &json!(0)),
            "{shown}"
        );
        assert!(
            shown["oldestUndeliveredAgeMs"]
                .as_i64()
                .is_some_and(|age_ms| (0..1_000).contains(&age_ms)),
            "{shown}"
        );
        let untouched = subscription(&world, "analytics").await;
        assert_eq!((&untouched["retries"], &untouched["attempts"]), (&json!(0), &json!(0)));
        Ok(())
    })
}

#[test]
fn the_breakers_are_those_of_the_health_report() -> anyhow::Result<()> {
    operate(async |world| {
        let report = world.get("/health").await.json();
        assert!(report["breakers"].is_array(), "{report}");
        assert_eq!(
            look(&world, "/admin/breakers").await,
            json!({ "breakers": report["breakers"] })
        );
        Ok(())
    })
}

#[test]
fn a_paused_subscription_is_brought_nothing_until_it_is_resumed() -> anyhow::Result<()> {
    operate(async |world| {
        let _cron = world.start_cron();
        let turn = async |how: &str| {
            let path = format!("/admin/subscriptions/notifications/{how}");
            let answer = ask(&world, Method::POST, &path, &Value::Null).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
            answer.json()["paused"].clone()
        };
        assert_eq!(turn("pause").await, true);
        assert_eq!(turn("pause").await, true, "once more changes nothing");
        create(&world, "Buy groceries", "u1").await;
        let others = async || counted(&world, "todos.task.created").await == 1;
        world.until("the others go on", Duration::from_secs(1), others).await?;
        let end_ms = world.clock.now_ms() + 60_000;
        world
            .until("a minute passes", Duration::from_secs(70), async || {
                world.clock.now_ms() >= end_ms
            })
            .await?;
        assert_eq!(notifications(&world, "u1").await, 0);
        let shown = subscription(&world, "notifications").await;
        assert_eq!((&shown["paused"], &shown["lag"]), (&json!(true), &json!(1)));
        assert!(
            shown["oldestUndeliveredAgeMs"]
                .as_i64()
                .is_some_and(|age_ms| age_ms >= 60_000),
            "{shown}"
        );

        assert_eq!(turn("resume").await, false);
        until_effects(&world, "u1", Duration::from_secs(2)).await?;
        world
            .until("all is done", Duration::from_secs(2), async || outstanding(&world) == 0)
            .await
    })
}

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
            "type=a b",
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
