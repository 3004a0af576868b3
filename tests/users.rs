//! Users: registered once per address, renamed, closed.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use selvedge_testkit::World;
use selvedge_testkit::simulation::Answer;
use serde_json::{Value, json};

use crate::harness::{counted, register, simulate, until_kept};

fn ada() -> Value {
    json!({ "email": "Ada@Example.org", "name": "Ada" })
}

async fn patch(world: &World, id: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let path = format!("/users/{id}");
    world.request(Method::PATCH, &path, &headers, body.to_string()).await
}

async fn close(world: &World, id: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/users/{id}");
    world.request(Method::DELETE, &path, headers, Bytes::new()).await
}

fn assert_problem(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status, status, "{}", answer.json());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(!detail.is_empty(), "{}", answer.json());
}

#[test]
fn an_account_is_registered_renamed_and_closed() -> anyhow::Result<()> {
    simulate(async |world| {
        let registered = world.post("/users", &ada()).await;
        assert_eq!(registered.status, 201, "{}", registered.json());
        let account = registered.json();
        let id = account["id"].as_str().expect("an id").to_owned();
        assert_eq!(registered.header("location"), format!("/users/{id}"));
        assert_eq!(registered.header("etag"), "\"1\"");
        assert_eq!(
            (&account["email"], &account["name"], &account["version"]),
            (&json!("ada@example.org"), &json!("Ada"), &json!(1))
        );

        let read = world.get(&format!("/users/{id}")).await;
        assert_eq!((read.status.as_u16(), read.json()), (200, account));

        let renamed = patch(&world, &id, &[], &json!({ "name": "Ada Lovelace" })).await;
        assert_eq!((renamed.status.as_u16(), renamed.header("etag")), (200, "\"2\""));
        assert_eq!(renamed.json()["name"], "Ada Lovelace");

        assert_eq!(close(&world, &id, &[]).await.status, 204);
        for answer in [
            world.get(&format!("/users/{id}")).await,
            patch(&world, &id, &[], &json!({ "name": "x" })).await,
            close(&world, &id, &[]).await,
            world.get("/users/nobody").await,
        ] {
            assert_problem(&answer, StatusCode::NOT_FOUND);
        }

        // Everybody who wants to hears of it.
        until_kept(&world, 3, Duration::from_secs(1)).await?;
        for event_type in ["registered", "renamed", "closed"] {
            assert_eq!(counted(&world, &format!("users.account.{event_type}")).await, 1);
        }
        Ok(())
    })
}

#[test]
fn an_address_belongs_to_one_open_account() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = register(&world, "ada@example.org").await;
        // However it is written.
        for email in ["ada@example.org", "ADA@example.ORG"] {
            let again = world.post("/users", &json!({ "email": email, "name": "Eve" })).await;
            assert_problem(&again, StatusCode::CONFLICT);
        }
        assert_eq!(
            world.sql.number("SELECT count(*) FROM journal"),
            1,
            "nothing was appended"
        );

        // Another address is free, and so is this one once its account is closed.
        register(&world, "grace@example.org").await;
        assert_eq!(close(&world, &id, &[]).await.status, 204);
        let new = register(&world, "ada@example.org").await;
        assert_ne!(new, id, "it is another account");
        assert_eq!(world.get(&format!("/users/{id}")).await.status, 404);
        Ok(())
    })
}

#[test]
fn of_many_who_register_an_address_at_the_same_moment_one_gets_it() -> anyhow::Result<()> {
    simulate(async |world| {
        world.add_node()?;
        let nodes = world.nodes();
        for round in 0..5 {
            let body = json!({ "email": format!("user-{round}@example.org"), "name": "Ada" }).to_string();
            let headers = [("content-type", "application/json")];
            let requests = nodes.iter().cycle().take(12);
            let answers =
                join_all(requests.map(|node| node.request(Method::POST, "/users", &headers, body.clone()))).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
            assert_eq!((won.len(), lost.len()), (1, 11));
            lost.into_iter()
                .for_each(|answer| assert_problem(answer, StatusCode::CONFLICT));
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 5);
        assert_eq!(world.sql.number("SELECT count(*) FROM users_emails"), 5);
        Ok(())
    })
}

#[test]
fn a_registration_that_is_sent_again_gives_the_first_answer_again() -> anyhow::Result<()> {
    simulate(async |world| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
        let send = async |body: Value| world.request(Method::POST, "/users", &headers, body.to_string()).await;
        let first = send(ada()).await;
        assert_eq!(first.status, 201);
        let id = first.json()["id"].as_str().expect("an id").to_owned();
        patch(&world, &id, &[], &json!({ "name": "Ada Lovelace" })).await;

        let again = send(ada()).await;
        assert_eq!((again.status, again.body), (first.status, first.body), "as it was then");
        for other in [
            json!({ "email": "ada@example.org", "name": "Eve" }),
            json!({ "email": "eve@example.org", "name": "Eve" }),
        ] {
            assert_problem(&send(other).await, StatusCode::UNPROCESSABLE_ENTITY);
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 2);
        Ok(())
    })
}

#[test]
fn who_insists_on_a_version_changes_no_other() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = register(&world, "ada@example.org").await;
        let stale = [("if-match", "\"1\"")];
        assert_eq!(
            patch(&world, &id, &stale, &json!({ "name": "Ada L." })).await.status,
            200
        );
        assert_problem(
            &patch(&world, &id, &stale, &json!({ "name": "Eve" })).await,
            StatusCode::PRECONDITION_FAILED,
        );
        assert_problem(&close(&world, &id, &stale).await, StatusCode::PRECONDITION_FAILED);
        assert_problem(&close(&world, &id, &[("if-match", "1")]).await, StatusCode::BAD_REQUEST);
        assert_eq!(close(&world, &id, &[("if-match", "\"2\"")]).await.status, 204);
        Ok(())
    })
}

#[test]
fn bad_fields_are_named_and_leave_nothing_behind() -> anyhow::Result<()> {
    let (long_email, long_name) = (format!("{}@example.org", "a".repeat(65)), "x".repeat(201));
    let good = json!({ "email": "ada@example.org", "name": "Ada" });
    let bad: [(&str, Vec<Value>); 2] = [
        (
            "email",
            vec![
                json!(""),
                json!("ada"),
                json!("ada@"),
                json!("@example.org"),
                json!("a@b@c"),
                json!("a b@example.org"),
                json!("ada@example.org\n"),
                json!("\u{0}@example.org"),
                json!(long_email),
                json!(5),
                json!(null),
                json!(["ada@example.org"]),
            ],
        ),
        (
            "name",
            vec![
                json!(""),
                json!("  "),
                json!("a\tb"),
                json!(long_name),
                json!(true),
                json!(null),
            ],
        ),
    ];
    simulate(async |world| {
        for (field, values) in &bad {
            for value in values {
                let mut body = good.clone();
                body[*field] = value.clone();
                let answer = world.post("/users", &body).await;
                assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY);
                assert_eq!(answer.json()["errors"][0]["field"], *field, "{body}: {}", answer.json());
            }
        }
        let both = world.post("/users", &json!({})).await.json();
        assert_eq!(
            (&both["errors"][0]["field"], &both["errors"][1]["field"]),
            (&json!("email"), &json!("name"))
        );
        for body in ["", "{", "[]", "\"ada@example.org\"", "5"] {
            let headers = [("content-type", "application/json")];
            let answer = world.request(Method::POST, "/users", &headers, body).await;
            assert!(
                [400, 422].contains(&answer.status.as_u16()),
                "{body}: {}",
                answer.json()
            );
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 0);

        let id = register(&world, "ada@example.org").await;
        for body in [
            json!({}),
            json!({ "name": " " }),
            json!({ "name": "Ada", "email": "new@example.org" }),
        ] {
            assert_problem(&patch(&world, &id, &[], &body).await, StatusCode::UNPROCESSABLE_ENTITY);
        }
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 1);
        Ok(())
    })
}
