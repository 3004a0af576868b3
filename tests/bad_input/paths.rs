//! Queries, methods and paths that no route takes.

use http::StatusCode;
use serde_json::json;

use super::{Before, ROUTES, stored};
use crate::harness::simulate;

#[test]
fn query_parameters_are_checked() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for list in ["/todos", "/notifications"] {
            for query in ["", "?", "?userId=", "?userid=u1", "?userId"] {
                before
                    .refused("GET", &format!("{list}{query}"), &[], b"", StatusCode::BAD_REQUEST)
                    .await;
            }
            for limit in [
                "0",
                "-1",
                "x",
                "",
                "101",
                "1.5",
                "1e1",
                "99999999999999999999",
                "%00",
                "%ff",
            ] {
                let path = format!("{list}?userId=u1&limit={limit}");
                let refused = before.refused("GET", &path, &[], b"", StatusCode::BAD_REQUEST).await;
                assert!(
                    refused.json()["detail"]
                        .as_str()
                        .is_some_and(|text| text.contains("`limit`")),
                    "{path}"
                );
            }
            for after in ["garbage", "", "%00", "%ff", "99999999999999999999", "'%20OR%201=1"] {
                let path = format!("{list}?userId=u1&after={after}");
                let refused = before.refused("GET", &path, &[], b"", StatusCode::BAD_REQUEST).await;
                assert!(
                    refused.json()["detail"]
                        .as_str()
                        .is_some_and(|text| text.contains("`after`")),
                    "{path}"
                );
            }
        }
        for day in [
            "",
            "x",
            "2026-02-30",
            "2026-1-1",
            "2026-01-01T00:00:00Z",
            "%00",
            "today",
        ] {
            before
                .refused(
                    "GET",
                    &format!("/analytics/events?day={day}"),
                    &[],
                    b"",
                    StatusCode::BAD_REQUEST,
                )
                .await;
        }
        Ok(())
    })
}

#[test]
fn a_name_may_be_strange_and_finds_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for query in ["%00", "%ff", "'%20OR%201=1--", &"x".repeat(8_000)] {
            for (path, list) in [
                ("/todos?userId=", "todos"),
                ("/notifications?userId=", "notifications"),
                ("/analytics/events?type=", "counts"),
            ] {
                let answer = world.get(&format!("{path}{query}")).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}{query:.20}");
                assert_eq!(answer.json()[list], json!([]), "{path}{query:.20}");
            }
        }
        assert_eq!(stored(&world), before.stored);
        Ok(())
    })
}

#[test]
fn another_method_is_refused_and_the_right_ones_are_named() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        for (path, methods) in ROUTES {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                if methods.contains(&method) {
                    continue;
                }
                let refused = before
                    .refused(method, path, &[], b"", StatusCode::METHOD_NOT_ALLOWED)
                    .await;
                let mut allowed: Vec<&str> = refused.header("allow").split(", ").collect();
                let mut expected = methods.to_vec();
                allowed.sort_unstable();
                expected.sort_unstable();
                assert_eq!(allowed, expected, "{method} {path}");
            }
        }
        Ok(())
    })
}

#[test]
fn paths_that_lead_nowhere_are_not_found() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        let long = format!("/todos/{}", "x".repeat(8_000));
        let both = [
            "/",
            "/nothing",
            "/todo",
            "/todos/a/b/c",
            "/todos/%ff",
            "/todos//complete",
            "/notifications/x",
            "/analytics",
        ];
        let both = both.iter().chain(&[
            "/analytics/events/x",
            "/relay",
            "/relay/drain/now",
            "/health/x",
            "/%74odos",
            "/TODOS",
        ]);
        for path in both {
            for method in ["GET", "POST"] {
                before.refused(method, path, &[], b"{}", StatusCode::NOT_FOUND).await;
            }
        }
        for path in [
            "/todos/unknown",
            "/todos/%00",
            "/todos/'%20OR%201=1--",
            "/todos/..",
            &long,
        ] {
            before.refused("GET", path, &[], b"", StatusCode::NOT_FOUND).await;
            before
                .refused("PATCH", path, &[], br#"{"title":"x"}"#, StatusCode::NOT_FOUND)
                .await;
            before.refused("DELETE", path, &[], b"", StatusCode::NOT_FOUND).await;
            before
                .refused("POST", &format!("{path}/complete"), &[], b"", StatusCode::NOT_FOUND)
                .await;
        }
        Ok(())
    })
}

#[test]
fn what_functions_tell_each_other_is_not_reachable_from_outside() -> anyhow::Result<()> {
    simulate(async |world| {
        let before = Before::new(&world).await?;
        // A batch that a function would take if it got there.
        let event = json!({
            "specversion": "1.0", "id": "forged", "source": "/todos", "type": "todos.task.created",
            "datacontenttype": "application/json", "data": { "title": "forged", "userId": "u1" },
        });
        let batch = json!([event]).to_string();
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let inside = [
            "_selvedge/health",
            "_selvedge/bell",
            "_selvedge/deliver/analytics",
            "_selvedge/deliver/notifications",
        ];
        let outside = [
            "/",
            "//",
            "/./",
            "/%2e/",
            "/todos/../",
            "/todos/%2e%2e/",
            "/notifications/",
            "/analytics/",
            "/relay/../",
            "/todos/x/",
        ];
        for path in inside
            .iter()
            .flat_map(|inside| outside.map(|outside| format!("{outside}{inside}")))
        {
            before.refused("GET", &path, &[], b"", StatusCode::NOT_FOUND).await;
            before
                .refused("POST", &path, &headers, batch.as_bytes(), StatusCode::NOT_FOUND)
                .await;
        }
        before
            .refused(
                "POST",
                "/%5fselvedge/bell",
                &headers,
                batch.as_bytes(),
                StatusCode::NOT_FOUND,
            )
            .await;
        // Nor does a route that is reachable take events.
        before
            .refused(
                "POST",
                "/todos",
                &headers,
                batch.as_bytes(),
                StatusCode::UNPROCESSABLE_ENTITY,
            )
            .await;
        Ok(())
    })
}
