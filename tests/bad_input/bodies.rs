//! Bodies that are no JSON, that say something else, and that are too large.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Before, ROUTES, stored};
use crate::harness::simulate;

/// What a request's body may have, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

#[test]
fn a_body_that_is_no_json_is_refused() -> anyhow::Result<()> {
    let deep_array = "[".repeat(60_000);
    let deep_object = r#"{"a":"#.repeat(10_000);
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"[",
        b"title=Buy+groceries&userId=u1",
        br#"{"title":"x","userId":"u1""#,
        br#"{"title":"x","userId":"u1"}{}"#,
        br#"{"title":"x","userId":"u1",}"#,
        br#"{'title':'x'}"#,
        b"\xff\xfe{\x00}\x00",
        b"\x00",
        deep_array.as_bytes(),
        deep_object.as_bytes(),
    ];
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for (method, path) in [("POST", "/todos"), ("PATCH", "/todos/{id}")] {
            for body in bodies {
                before.refused(method, path, &[], body, StatusCode::BAD_REQUEST).await;
            }
        }
        Ok(())
    })
}

#[test]
fn a_field_that_is_not_as_it_should_be_is_named() -> anyhow::Result<()> {
    let (long_title, long_user) = (format!("{:?}", "x".repeat(501)), format!("{:?}", "u".repeat(201)));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let titles = ["1", "true", "{}", r#"["x"]"#, r#""""#, r#""  \t""#, &long_title, &deep];
    let users = [
        "null",
        "1.5",
        r#"{"id":"u1"}"#,
        r#""""#,
        r#""a\nb""#,
        r#""\u0000""#,
        &long_user,
    ];
    let times = ["5", r#""tomorrow""#, r#""2026-02-30T00:00:00Z""#, "[]", r#""""#];
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for (field, values) in [("title", &titles[..]), ("userId", &users), ("dueAt", &times)] {
            for value in values {
                let mut body = json!({ "title": "x", "userId": "u1" });
                body[field] = serde_json::from_str(value)?;
                let body = body.to_string();
                let body = body.as_bytes();
                let refused = before.refused("POST", "/todos", &[], body, UNPROCESSABLE).await;
                assert_eq!(refused.json()["errors"][0]["field"], field, "{value}");
                // Whom a todo is for isn't a todo's to change: PATCH takes no userId.
                if field != "userId" {
                    before.refused("PATCH", "/todos/{id}", &[], body, UNPROCESSABLE).await;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn json_that_says_something_else_is_refused() -> anyhow::Result<()> {
    let no_objects = [
        "null",
        "3",
        "\"x\"",
        "true",
        "[]",
        r#"["x","u1",null]"#,
        r#"[{"title":"x","userId":"u1"}]"#,
    ];
    let no_todos: [&[u8]; 4] = [
        b"{}",
        br#"{"Title":"x","userid":"u1"}"#,
        br#"{"title":"a","title":"b","userId":"u1"}"#,
        // A text that isn't UTF-8, in JSON that is well formed otherwise.
        b"{\"title\":\"\xff\",\"userId\":\"u1\"}",
    ];
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for body in no_objects.map(str::as_bytes) {
            for (method, path) in [("POST", "/todos"), ("PATCH", "/todos/{id}")] {
                before.refused(method, path, &[], body, UNPROCESSABLE).await;
            }
        }
        for body in no_todos {
            before.refused("POST", "/todos", &[], body, UNPROCESSABLE).await;
        }
        Ok(())
    })
}

#[test]
fn a_body_over_the_limit_is_refused_wherever_a_body_is_read() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        let mut padded = json!({ "title": "x", "userId": "u1" }).to_string();
        padded.extend(std::iter::repeat_n(' ', BODY_BYTES_MAX + 1 - padded.len()));
        let huge = "x".repeat(20 * BODY_BYTES_MAX);
        for (path, methods) in ROUTES {
            for method in methods.iter().filter(|method| **method != "GET") {
                for body in [&padded, &huge] {
                    // A client says how long its body is, or doesn't.
                    let length = body.len().to_string();
                    for headers in [&[][..], &[("content-length", &*length)]] {
                        before
                            .refused(method, path, headers, body.as_bytes(), StatusCode::PAYLOAD_TOO_LARGE)
                            .await;
                    }
                }
                // One that announces too much is refused before it has sent it.
                let announced = [("content-length", "18446744073709551615")];
                before
                    .refused(method, path, &announced, b"{}", StatusCode::PAYLOAD_TOO_LARGE)
                    .await;
            }
        }
        let full = padded[..BODY_BYTES_MAX].to_owned();
        let accepted = world.request(Method::POST, "/todos", &[], full).await;
        assert_eq!(accepted.status, StatusCode::CREATED, "the limit itself is allowed");
        Ok(())
    })
}

#[test]
fn a_body_where_none_is_read_changes_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for path in [
            "/todos/{id}",
            "/todos?userId=u1",
            "/notifications?userId=u1",
            "/analytics/events",
            "/health/live",
        ] {
            let path = before.path(path);
            let plain = world.get(&path).await;
            let with_body = world
                .request(Method::GET, &path, &[], "x".repeat(20 * BODY_BYTES_MAX))
                .await;
            assert_eq!(
                (with_body.status, with_body.json()),
                (StatusCode::OK, plain.json()),
                "{path}"
            );
        }
        assert_eq!(stored(&world), before.stored);
        Ok(())
    })
}
