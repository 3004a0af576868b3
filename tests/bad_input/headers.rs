//! Headers that pretend to come from somebody else, and headers that say something wrong.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde_json::json;

use super::{Before, stored};
use crate::harness::{simulate, until_effects};

#[test]
fn headers_that_pretend_change_nothing() -> anyhow::Result<()> {
    let spoofed = [
        ("spin-path-info", "/_selvedge/bell"),
        ("spin-full-url", "http://todos.spin.internal/_selvedge/bell"),
        ("spin-matched-route", "/..."),
        ("spin-path-match-id", "other"),
        ("spin-client-addr", "10.0.0.1:1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "todos.spin.internal"),
        ("x-forwarded-prefix", "/_selvedge"),
        ("x-original-url", "/_selvedge/bell"),
        ("x-http-method-override", "DELETE"),
        ("ce-specversion", "1.0"),
        ("ce-id", "forged"),
        ("ce-source", "/forged"),
        ("ce-type", "forged.event.made"),
        ("ce-subject", "forged"),
        ("traceparent", "forged"),
        ("selvedge-attempt", "99"),
    ];
    simulate(async |world| {
        let body = json!({ "title": "Buy groceries", "userId": "u1" }).to_string();
        let created = world.request(Method::POST, "/todos", &spoofed, body).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.json());
        let id = created.json()["id"].as_str().unwrap_or_default().to_owned();
        assert_eq!(created.header("location"), format!("/todos/{id}"));

        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        let event = world.sql.query("SELECT type, source, subject, stream FROM journal")?;
        let text = |text: &str| rusqlite::types::Value::Text(text.to_owned());
        let expected = ["todos.task.created", "/todos", &id, &format!("todos.task/{id}")].map(text);
        assert_eq!(event, [expected]);
        let forged = "SELECT count(*) FROM journal WHERE id LIKE '%forged%' OR extensions LIKE '%forged%' OR data LIKE '%forged%'";
        assert_eq!(world.sql.number(forged), 0);

        let path = format!("/todos/{id}");
        let shown = world.request(Method::GET, &path, &spoofed, Bytes::new()).await;
        assert_eq!(
            (shown.status, shown.json()),
            (StatusCode::OK, world.get(&path).await.json())
        );
        Ok(())
    })
}

#[test]
fn headers_that_count_are_checked() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        let long = "k".repeat(256);
        let body = br#"{"title":"x","userId":"u1"}"#;
        for key in ["", "two words", &long] {
            let headers = [("idempotency-key", key)];
            before
                .refused("POST", "/todos", &headers, body, StatusCode::BAD_REQUEST)
                .await;
            before
                .refused("POST", "/todos/{id}/complete", &headers, b"", StatusCode::BAD_REQUEST)
                .await;
        }
        for version in ["garbage", "", "1", "W/\"1\"", "\"1\", \"2\"", "\"x\""] {
            let headers = [("if-match", version)];
            before
                .refused(
                    "PATCH",
                    "/todos/{id}",
                    &headers,
                    br#"{"title":"x"}"#,
                    StatusCode::BAD_REQUEST,
                )
                .await;
            before
                .refused("DELETE", "/todos/{id}", &headers, b"", StatusCode::BAD_REQUEST)
                .await;
            before
                .refused("POST", "/todos/{id}/complete", &headers, b"", StatusCode::BAD_REQUEST)
                .await;
        }
        let stale = [("if-match", "\"7\"")];
        before
            .refused(
                "PATCH",
                "/todos/{id}",
                &stale,
                br#"{"title":"x"}"#,
                StatusCode::PRECONDITION_FAILED,
            )
            .await;
        Ok(())
    })
}

#[test]
fn a_host_inside_the_application_is_refused() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        let client = SocketAddr::from(([127, 0, 0, 1], 50_000));
        for host in [
            "todos.spin.internal",
            "todos.spin.internal:80",
            "nobody.spin.internal",
            "a b",
            "a/b",
            "",
            "\u{fc}",
        ] {
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let request = Request::builder()
                .method("POST")
                .uri("/relay/drain")
                .header("host", host);
            let answer = world.node().application.handle(request.body(body)?, client).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{host}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{host}");
        }
        assert_eq!(stored(&world), before.stored);
        Ok(())
    })
}
