//! Todos while users is down: accepted, and verified later. A write is never lost because another function is down.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Answer, Fault, When};
use serde_json::{Value, json};

use crate::harness::{counted, create, notifications, register, simulate, todo, until_effects, until_kept};

const QUESTION: &str = "http://users.spin.internal/users/";
/// An id that users could have given out, and didn't.
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";
/// Every way in which users can be down.
const DOWN: [(&str, &str, &str, Fault); 4] = [
    ("todos", "http.send", QUESTION, Fault::Fail),
    ("todos", "http.send", QUESTION, Fault::Hang),
    ("users", "sqlite.execute", "FROM journal", Fault::Trap),
    ("users", "sqlite.execute", "FROM journal", Fault::Fail),
];

fn fail(world: &World, (component, function, detail, fault): (&str, &str, &str, Fault)) {
    world
        .node()
        .faults
        .hit(component, function, detail, usize::MAX, fault, When::Before);
}

/// How often users was asked.
fn asked(world: &World) -> usize {
    world.node().faults.times_ms("todos", "http.send", QUESTION).len()
}

async fn read(world: &World, id: &str) -> Value {
    let answer = world.get(&format!("/todos/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

async fn close(world: &World, user: &str) {
    let path = format!("/users/{user}");
    let closed = world.request(Method::DELETE, &path, &[], Bytes::new()).await;
    assert_eq!(closed.status, 204);
}

fn assert_unknown_user(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["errors"][0]["field"], "userId", "{}", answer.json());
}

/// The types of the journal's events about todos, in order.
fn told(world: &World) -> Vec<String> {
    let rows = world
        .sql
        .query("SELECT type FROM journal WHERE source = '/todos' ORDER BY position");
    let text = |row: Vec<rusqlite::types::Value>| match row.into_iter().next() {
        Some(rusqlite::types::Value::Text(text)) => text,
        other => panic!("{other:?}"),
    };
    rows.expect("a journal").into_iter().map(text).collect()
}

#[test]
fn a_user_that_users_knows_is_verified_at_once() -> anyhow::Result<()> {
    simulate(async |world| {
        let user = register(&world, "ada@example.org").await;
        let id = create(&world, "Buy groceries", &user).await;
        assert_eq!(read(&world, &id).await["userVerified"], true);
        until_effects(&world, &user, Duration::from_secs(1)).await?;
        assert_eq!(told(&world), ["todos.task.created"]);
        Ok(())
    })
}

#[test]
fn an_unknown_or_closed_user_is_refused() -> anyhow::Result<()> {
    simulate(async |world| {
        let user = register(&world, "ada@example.org").await;
        close(&world, &user).await;
        for user in [NOBODY, &user, "3F2504E0-4F89-11D3-9A0C-0305E82C3301"] {
            assert_unknown_user(&world.post("/todos", &todo("Buy groceries", user)).await);
        }
        assert_eq!(told(&world), [""; 0], "nothing was appended");
        Ok(())
    })
}

#[test]
fn an_id_that_users_does_not_give_is_not_asked_for() -> anyhow::Result<()> {
    simulate(async |world| {
        let foreign = [
            "u1",
            "ada@example.org",
            "3f2504e04f8911d39a0c0305e82c3301",
            "auth0|5f7c8ec7c33c6c004bbafe82",
        ];
        for user in foreign {
            let id = create(&world, &format!("Buy groceries for {user}"), user).await;
            assert_eq!(read(&world, &id).await["userVerified"], false);
        }
        until_kept(&world, 4, Duration::from_secs(1)).await?;
        assert_eq!((asked(&world), told(&world).len()), (0, 4), "and never will be");
        Ok(())
    })
}

#[test]
fn while_users_is_down_todos_are_accepted_and_verified_later() -> anyhow::Result<()> {
    for down in DOWN {
        println!("{down:?}");
        simulate(async |world| {
            let _cron = world.start_cron();
            let user = register(&world, "ada@example.org").await;
            fail(&world, down);
            let begun_ms = world.clock.now_ms();
            let id = create(&world, "Buy groceries", &user).await;
            let waited_ms = world.clock.now_ms() - begun_ms;
            assert!(waited_ms <= 2_100, "a caller waited {waited_ms} ms");
            assert_eq!(read(&world, &id).await["userVerified"], false);

            // Whoever hears of todos has heard of it long before.
            let heard = async || notifications(&world, &user).await == 1;
            world.until("the user is told", Duration::from_secs(1), heard).await?;
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert_eq!(told(&world), ["todos.task.created", "todos.verification.requested"]);

            world.node().faults.clear();
            let verified = async || read(&world, &id).await["userVerified"] == true;
            world
                .until("the user is verified", Duration::from_secs(310), verified)
                .await?;
            until_kept(&world, 4, Duration::from_secs(10)).await?;
            assert_eq!(told(&world)[2..], ["todos.verification.confirmed"]);
            assert_eq!(notifications(&world, &user).await, 1, "once, and of nothing else");
            assert_eq!(counted(&world, "todos.task.created").await, 1);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_hour_without_users_loses_no_todo() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        let user = register(&world, "ada@example.org").await;
        fail(&world, DOWN[0]);
        for number in 0..30 {
            create(&world, &format!("todo {number}"), &user).await;
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        assert!(asked(&world) < 3_600 / 5, "the breaker spares users");
        world.node().faults.clear();
        until_kept(&world, 1 + 30 * 3, Duration::from_secs(620)).await?;
        let unverified = "SELECT count(*) FROM journal WHERE type = 'todos.verification.confirmed'";
        assert_eq!(world.sql.number(unverified), 30);
        assert_eq!(notifications(&world, &user).await, 20, "a page of them");
        Ok(())
    })
}

#[test]
fn a_todo_whose_user_turns_out_to_be_unknown_is_rejected() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        fail(&world, DOWN[0]);
        let id = create(&world, "Buy groceries", NOBODY).await;
        world.node().faults.clear();
        let rejected = async || read(&world, &id).await["rejected"] == true;
        world.until("it is rejected", Duration::from_secs(60), rejected).await?;
        assert_eq!(told(&world)[2..], ["todos.verification.denied"]);

        let complete = world.post(&format!("/todos/{id}/complete"), &json!({})).await;
        assert_eq!(complete.status, StatusCode::CONFLICT, "{}", complete.json());
        let path = format!("/todos/{id}");
        assert_eq!(
            world.request(Method::DELETE, &path, &[], Bytes::new()).await.status,
            204
        );
        until_kept(&world, 4, Duration::from_secs(10)).await
    })
}

#[test]
fn a_verification_that_is_delivered_again_verifies_nothing_twice() -> anyhow::Result<()> {
    for (function, detail) in [
        ("keyvalue.set-many", "done/todo-verification"),
        ("sqlite.execute", "INSERT INTO journal"),
    ] {
        for when in [When::Before, When::After] {
            simulate(async |world| {
                let _cron = world.start_cron();
                let user = register(&world, "ada@example.org").await;
                let faults = &world.node().faults;
                // Two questions when the todo is created, and two when its verification is first delivered.
                faults.hit("todos", "http.send", QUESTION, 4, Fault::Fail, When::Before);
                create(&world, "Buy groceries", &user).await;
                faults.hit("todos", function, detail, 1, Fault::Fail, when);
                until_kept(&world, 4, Duration::from_secs(60)).await?;
                assert_eq!(faults.met(), 5, "{function} {when:?}");
                assert_eq!(
                    told(&world)[1..],
                    ["todos.verification.requested", "todos.verification.confirmed"]
                );
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn who_requires_a_verified_user_is_told_to_come_back() -> anyhow::Result<()> {
    simulate(async |mut world| {
        world.set_variable("require_verified_user", "true");
        world.restart()?;
        let user = register(&world, "ada@example.org").await;
        let send = async || world.post("/todos", &todo("Buy groceries", &user)).await;
        assert_eq!(send().await.json()["userVerified"], true);
        assert_unknown_user(&world.post("/todos", &todo("Buy groceries", "u1")).await);

        fail(&world, DOWN[0]);
        for _ in 0..10 {
            let refused = send().await;
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.json());
            assert_eq!(refused.header("content-type"), "application/problem+json");
            assert!(
                matches!(refused.header("retry-after").parse(), Ok(1..=5)),
                "{:?}",
                refused.headers
            );
        }
        assert_eq!(
            send().await.header("retry-after"),
            "5",
            "the breaker says when asking again is worth while"
        );
        assert_eq!(told(&world).len(), 1, "nothing was appended");

        world.node().faults.clear();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(send().await.status, 201);
        Ok(())
    })
}

#[test]
fn whoever_keeps_users_elsewhere_has_none_asked_for() -> anyhow::Result<()> {
    simulate(async |mut world| {
        world.set_variable("verify_users", "off");
        world.restart()?;
        create(&world, "Buy groceries", NOBODY).await;
        assert_eq!(asked(&world), 0);
        world.set_variable("verify_users", "of");
        world.restart()?;
        let refused = world.post("/todos", &todo("Buy groceries", NOBODY)).await;
        assert_eq!(refused.status, 500, "a slip of the pen is no choice");
        assert!(
            world
                .output
                .lines()
                .iter()
                .any(|line| line.contains("verify_users is neither on nor off"))
        );
        Ok(())
    })
}

#[test]
fn a_request_that_was_accepted_gets_its_first_answer_whatever_became_of_its_user() -> anyhow::Result<()> {
    simulate(async |world| {
        let user = register(&world, "ada@example.org").await;
        let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
        let body = todo("Buy groceries", &user).to_string();
        let send = async || world.request(Method::POST, "/todos", &headers, body.clone()).await;
        let first = send().await;
        assert_eq!(first.status, 201);
        close(&world, &user).await;
        let again = send().await;
        assert_eq!((again.status, again.body), (first.status, first.body));
        assert_unknown_user(&world.post("/todos", &todo("Buy groceries", &user)).await);
        Ok(())
    })
}
