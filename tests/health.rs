//! Health: what is said of an application that is well, and of one that isn't.

use std::time::Duration;

use http::StatusCode;
use selvedge_engine::config::TriggerType;
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, When};
use serde_json::{Value, json};

use crate::harness::{create, outstanding, program, simulate, until_effects};

/// What `/health` says of a subscription, without its name.
async fn lag(world: &World, subscription: &str) -> Value {
    let report = world.get("/health").await.json();
    let lags = report["subscriptions"].as_array().cloned().unwrap_or_default();
    let found = lags.into_iter().find(|lag| lag["subscription"] == subscription);
    let mut found = found.unwrap_or_else(|| panic!("{subscription} isn't in {report}"));
    found
        .as_object_mut()
        .expect("a lag is an object")
        .remove("subscription");
    found
}

/// Whether the application runs, whether it is ready, and what its report's status is.
async fn statuses(world: &World) -> (u16, u16, u16) {
    let status = async |path| world.get(path).await.status.as_u16();
    (
        status("/health/live").await,
        status("/health/ready").await,
        status("/health").await,
    )
}

#[test]
fn an_application_that_is_well_says_so_in_every_part() -> anyhow::Result<()> {
    simulate(async |world| {
        // From its first moment: the tables aren't there yet.
        assert_eq!(statuses(&world).await, (200, 200, 200), "{:?}", world.output.lines());

        create(&world, "Buy groceries", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        world
            .until("nothing is outstanding", Duration::from_secs(1), async || {
                outstanding(&world) == 0
            })
            .await?;
        let nothing = |name: &str| json!({ "subscription": name, "events": 0, "retries": 0, "deadLetters": 0 });
        let closed = |name: &str| json!({ "name": name, "state": "closed", "since": null });
        let subscriptions = [
            "analytics",
            "notifications",
            "orders",
            "payments",
            "shipping",
            "todo-verification",
        ]
        .map(nothing);
        let breakers = ["payment-provider", "shipping-provider", "users"].map(closed);
        let expected = json!({
            "status": "up",
            "functions": {
                "admin": "up", "dapr": "up", "events": "up", "users": "up", "todos": "up", "relay": "up", "notifications": "up", "analytics": "up",
                "orders": "up", "payments": "up", "shipping": "up",
            },
            "stores": { "database": "up", "keyValue": "up" },
            "breakers": breakers,
            "subscriptions": subscriptions,
            "adminToken": "not set: /admin is refused",
        });
        assert_eq!(world.get("/health").await.json(), expected);
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(world.get(path).await.json(), json!({ "status": "up" }), "{path}");
        }
        Ok(())
    })
}

#[test]
fn a_function_that_does_not_answer_is_named() -> anyhow::Result<()> {
    for fault in [Fault::Fail, Fault::Hang] {
        simulate(async |world| {
            let faults = &world.node().faults;
            faults.hit(
                "health",
                "http.send",
                "http://notifications.spin.internal",
                usize::MAX,
                fault,
                When::Before,
            );
            assert_eq!(statuses(&world).await, (200, 503, 503), "{fault:?}");

            let ready = world.get("/health/ready").await;
            assert_eq!(ready.header("content-type"), "application/problem+json");
            assert!(
                !ready.header("retry-after").is_empty(),
                "whoever asks is told to ask again"
            );
            let detail = ready.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(
                detail.contains("notifications") && !detail.contains("todos"),
                "{detail}"
            );
            let report = world.get("/health").await.json();
            assert_eq!(report["status"], "down", "{report}");
            let functions = json!({
                "admin": "up", "dapr": "up", "events": "up", "users": "up", "todos": "up", "relay": "up", "notifications": "down", "analytics": "up",
                "orders": "up", "payments": "up", "shipping": "up",
            });
            assert_eq!(report["functions"], functions);

            faults.clear();
            assert_eq!(statuses(&world).await, (200, 200, 200), "it is well again");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_function_that_traps_is_answered_for_and_others_go_on() -> anyhow::Result<()> {
    simulate(async |world| {
        // It traps when it touches the database, so it says that it is up: what it can't do shows in its deliveries.
        let faults = &world.node().faults;
        faults.hit("analytics", "sqlite.execute", "", usize::MAX, Fault::Trap, When::Before);
        let trapped = world.get("/analytics/events").await;
        assert_eq!(trapped.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(trapped.header("content-type"), "application/problem+json");
        assert_eq!(statuses(&world).await, (200, 200, 200));

        create(&world, "Buy groceries", "u1").await;
        let nothing = json!({ "events": 0, "retries": 0, "deadLetters": 0 });
        let retried = json!({ "events": 0, "retries": 1, "deadLetters": 0 });
        let reported = async || {
            (lag(&world, "analytics").await, lag(&world, "notifications").await) == (retried.clone(), nothing.clone())
        };
        world
            .until(
                "the failed delivery is reported, and the other is made",
                Duration::from_secs(1),
                reported,
            )
            .await?;

        // The function that answers for all of them may trap too; the next request finds a new instance.
        faults.clear();
        faults.hit("health", "sqlite.execute", "", 1, Fault::Trap, When::Before);
        assert_eq!(world.get("/health").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(world.get("/health").await.status, StatusCode::OK);
        Ok(())
    })
}

#[test]
fn a_store_that_fails_is_named() -> anyhow::Result<()> {
    for (function, store) in [("sqlite.execute", "database"), ("keyvalue.get-many", "keyValue")] {
        simulate(async |world| {
            let faults = &world.node().faults;
            faults.hit("health", function, "", usize::MAX, Fault::Fail, When::Before);
            assert_eq!(statuses(&world).await, (200, 503, 503), "{store}");
            let report = world.get("/health").await;
            assert_eq!(report.json()["stores"][store], "down", "{}", report.json());
            assert_eq!(report.json()["functions"]["todos"], "up", "{}", report.json());
            let ready = world.get("/health/ready").await.json();
            assert!(
                ready["detail"].as_str().is_some_and(|detail| detail.contains(store)),
                "{ready}"
            );
            // What the store said is the operator's to know.
            for answer in [report.json(), ready] {
                assert!(!answer.to_string().contains("injected"), "{answer}");
            }
            assert!(
                world.output.lines().iter().any(|line| line.contains("injected")),
                "the log has the reason"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn lag_is_what_a_subscription_has_yet_to_hear() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "first", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        // A relay that ended cleared its mark: from here on only bells wake it, and they are lost.
        world
            .until("the relay sleeps", Duration::from_secs(10), async || {
                world.sql.number("SELECT awake_until_ms FROM relay") == 0
            })
            .await?;
        let faults = &world.node().faults;
        faults.hit(
            "todos",
            "http.send",
            "relay.spin.internal",
            usize::MAX,
            Fault::Fail,
            When::Before,
        );
        for number in 0..3 {
            create(&world, &format!("todo {number}"), "u1").await;
        }
        for subscription in ["analytics", "notifications"] {
            assert_eq!(
                lag(&world, subscription).await,
                json!({ "events": 3, "retries": 0, "deadLetters": 0 })
            );
        }
        assert_eq!(
            world.get("/health/ready").await.status,
            StatusCode::OK,
            "work that waits is no failure"
        );

        world.post("/relay/drain", &json!({})).await;
        let none = json!({ "events": 0, "retries": 0, "deadLetters": 0 });
        let caught_up = async || lag(&world, "analytics").await == none && lag(&world, "notifications").await == none;
        world.until("the lag is gone", Duration::from_secs(1), caught_up).await
    })
}

#[test]
fn dead_letters_are_counted() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "first", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        // An event that notifications can't make sense of, and analytics can.
        world.sql.change(
            "INSERT INTO journal (id, source, type, subject, stream, version, time_ms, datacontenttype, data)
             VALUES ('strange', '/todos', 'todos.task.created', 't', 'todos.task/t', 1, 1767225600000, 'application/json', '{}')",
        )?;
        world.post("/relay/drain", &json!({})).await;
        let dead = json!({ "events": 0, "retries": 0, "deadLetters": 1 });
        world
            .until("the dead letter is counted", Duration::from_secs(1), async || {
                lag(&world, "notifications").await == dead
            })
            .await?;
        assert_eq!(lag(&world, "analytics").await["deadLetters"], 0);
        assert_eq!(
            world.get("/health").await.json()["status"],
            "up",
            "a dead letter is one event's end, not the application's"
        );
        Ok(())
    })
}

#[test]
fn the_admin_token_is_never_told() -> anyhow::Result<()> {
    const TOKEN: &str = "a-very-secret-token";
    simulate(async |mut world| {
        world.set_variable("admin_token", TOKEN);
        world.restart()?;
        let report = world.get("/health").await;
        assert_eq!(report.json()["adminToken"], "set");
        for path in [
            "/health",
            "/health/live",
            "/health/ready",
            "/todos/unknown",
            "/_selvedge/health",
        ] {
            let answer = world.get(path).await;
            let whole = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
            assert!(!whole.contains(TOKEN), "{path}: {whole}");
        }
        let calls = world.node().faults.calls();
        assert!(
            calls.iter().any(|call| call.function == "variables.get"),
            "the token was read"
        );
        let printed = format!("{:?} {calls:?}", world.output.lines());
        assert!(!printed.contains(TOKEN), "{printed}");
        Ok(())
    })
}

#[test]
fn every_function_that_answers_requests_is_asked() -> anyhow::Result<()> {
    simulate(async |world| {
        // A function that is added to spin.toml and that health doesn't know of would never be missed.
        let report = world.get("/health").await.json();
        let asked = report["functions"].as_object().expect("the report names functions");
        let manifest = program().manifest();
        for id in manifest.components.keys().filter(|id| *id != "health") {
            let answers = manifest.trigger_types_of(id).contains(&TriggerType::Http);
            assert_eq!(asked.contains_key(id), answers, "{id} in {report}");
        }
        Ok(())
    })
}
