//! What isn't an event that may be sent is refused, says why, and changes nothing.

use bytes::Bytes;
use http::StatusCode;
use selvedge_testkit::World;
use serde_json::json;

use super::{BATCH, STRUCTURED, event, journal, send};
use crate::harness::{counted, simulate};

/// Sends a body that is to be refused, and gives the problem's detail with its list of mistakes.
async fn refused(world: &World, content_type: &str, body: impl Into<Bytes>, status: StatusCode) -> String {
    let headers = [("content-type", content_type)];
    let body = body.into();
    let begin = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
    let answer = world.request(http::Method::POST, "/events", &headers, body).await;
    assert_eq!(answer.status, status, "{begin}: {}", answer.json());
    assert_eq!(answer.header("content-type"), "application/problem+json", "{begin}");
    let problem = answer.json();
    format!("{} {}", problem["detail"], problem["errors"])
}

#[test]
fn bodies_that_cannot_be_read_are_a_400() -> anyhow::Result<()> {
    simulate(async |world| {
        let bad_utf8 = [
            br#"{"specversion":"1.0","id":""#,
            &b"\xff"[..],
            br#"","source":"/x","type":"a.b.c"}"#,
        ]
        .concat();
        let bodies: [Vec<u8>; 6] = [
            b"".to_vec(),
            b"{".to_vec(),
            b"nonsense".to_vec(),
            b"3".to_vec(),
            b"{]".to_vec(),
            bad_utf8,
        ];
        for body in bodies {
            if !body.is_empty() {
                refused(&world, BATCH, body.clone(), StatusCode::BAD_REQUEST).await;
            }
            refused(&world, STRUCTURED, body, StatusCode::BAD_REQUEST).await;
        }
        let mut base64 = event("1");
        base64.as_object_mut().expect("an object").remove("data");
        base64["data_base64"] = json!("???");
        refused(&world, STRUCTURED, base64.to_string(), StatusCode::BAD_REQUEST).await;
        assert_eq!(journal(&world).await, 0);
        Ok(())
    })
}

#[test]
fn other_formats_are_a_415() -> anyhow::Result<()> {
    simulate(async |world| {
        for content_type in ["application/cloudevents+avro", "application/json", "text/plain"] {
            let detail = refused(
                &world,
                content_type,
                event("1").to_string(),
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            )
            .await;
            assert!(detail.contains("application/cloudevents+json"), "{detail}");
        }
        assert_eq!(journal(&world).await, 0);
        Ok(())
    })
}

#[test]
fn attributes_that_are_wrong_are_a_422_that_names_them() -> anyhow::Result<()> {
    simulate(async |world| {
        let with = |name: &str, value: serde_json::Value| {
            let mut event = event("1");
            event[name] = value;
            event
        };
        let cases = [
            ("specversion", json!("0.3")),
            ("id", json!("")),
            ("id", json!(1)),
            ("source", json!("not a uri")),
            ("type", json!("Weather")),
            ("type", json!("weather.report")),
            ("type", json!("weather.report.published.twice")),
            ("time", json!("yesterday")),
            ("dataschema", json!("/relative")),
            ("partitionkey", json!(7)),
            ("nested", json!({ "a": 1 })),
        ];
        for (name, value) in cases {
            let event = with(name, value);
            let detail = refused(&world, STRUCTURED, event.to_string(), StatusCode::UNPROCESSABLE_ENTITY).await;
            assert!(detail.contains(name), "{name}: {detail}");
            let batch = json!([super::event("good"), event]).to_string();
            let detail = refused(&world, BATCH, batch, StatusCode::UNPROCESSABLE_ENTITY).await;
            assert!(
                detail.contains("event 1 of the batch") || detail.contains("[1].type"),
                "{detail}"
            );
        }
        assert_eq!(journal(&world).await, 0);
        Ok(())
    })
}

#[test]
fn what_is_too_large_is_a_413() -> anyhow::Result<()> {
    simulate(async |world| {
        let large = |id: &str, length: usize| {
            let mut event = event(id);
            event["data"] = json!("x".repeat(length));
            event
        };
        let too_large = StatusCode::PAYLOAD_TOO_LARGE;
        let detail = refused(&world, STRUCTURED, large("1", 65_536).to_string(), too_large).await;
        assert!(detail.contains("65536"), "{detail}");
        let batch = json!([event("good"), large("1", 65_536)]).to_string();
        refused(&world, BATCH, batch, too_large).await;
        refused(&world, STRUCTURED, vec![b' '; 1024 * 1024 + 1], too_large).await;
        let many: Vec<_> = (0..101).map(|id| event(&id.to_string())).collect();
        refused(&world, BATCH, json!(many).to_string(), too_large).await;
        assert_eq!(journal(&world).await, 0);

        let largest = large("1", 65_000);
        assert_eq!(send(&world, STRUCTURED, largest).await.status, StatusCode::ACCEPTED);
        let hundred: Vec<_> = (0..100).map(|id| event(&format!("b{id}"))).collect();
        assert_eq!(send(&world, BATCH, json!(hundred)).await.status, StatusCode::ACCEPTED);
        assert_eq!(journal(&world).await, 101);
        Ok(())
    })
}

#[test]
fn json_that_nests_too_deep_and_too_many_headers_are_refused() -> anyhow::Result<()> {
    simulate(async |world| {
        let nested = |depth: usize| {
            let data = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            event("1").to_string().replace(r#"{"celsius":21}"#, &data)
        };
        let detail = refused(&world, STRUCTURED, nested(20_000), StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(detail.contains("nests deeper than"), "{detail}");
        let attribute = nested(5_000).replace("\"data\"", "\"other\"");
        refused(&world, STRUCTURED, attribute, StatusCode::UNPROCESSABLE_ENTITY).await;

        let names: Vec<_> = (0..120).map(|number| format!("x-{number}")).collect();
        let mut headers: Vec<_> = names.iter().map(|name| (&**name, "1")).collect();
        headers.push(("content-type", STRUCTURED));
        let answer = world
            .request(http::Method::POST, "/events", &headers, event("1").to_string())
            .await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(journal(&world).await, 0);
        Ok(())
    })
}

#[test]
fn an_unknown_type_is_taken_and_a_known_one_is_checked_against_its_schema() -> anyhow::Result<()> {
    simulate(async |world| {
        assert_eq!(send(&world, STRUCTURED, event("1")).await.status, StatusCode::ACCEPTED);
        let imported = |id: &str, data: serde_json::Value| json!({ "specversion": "1.0", "id": id, "source": "/crm", "type": "contacts.contact.imported", "data": data });
        let detail = refused(
            &world,
            STRUCTURED,
            imported("1", json!({ "email": 7 })).to_string(),
            StatusCode::UNPROCESSABLE_ENTITY,
        )
        .await;
        assert!(detail.contains("data.email"), "{detail}");
        let batch = json!([event("2"), imported("1", json!({}))]).to_string();
        let detail = refused(&world, BATCH, batch, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(detail.contains("[1].data"), "{detail}");
        let mut text = imported("1", json!("x"));
        text["datacontenttype"] = json!("text/plain");
        refused(&world, STRUCTURED, text.to_string(), StatusCode::UNPROCESSABLE_ENTITY).await;

        let good = imported("1", json!({ "email": "ada@example.org" }));
        assert_eq!(send(&world, STRUCTURED, &good).await.status, StatusCode::ACCEPTED);
        assert_eq!(
            send(&world, STRUCTURED, &good).await.status,
            StatusCode::ACCEPTED,
            "and again"
        );
        let schema =
            "SELECT count(*) FROM journal WHERE dataschema = 'selvedge:/schemas/contacts.contact.imported.json'";
        assert_eq!(world.sql.number(schema), 1);
        let heard = async || counted(&world, "contacts.contact.imported").await == 1;
        world
            .until("it is delivered", std::time::Duration::from_secs(1), heard)
            .await
    })
}
