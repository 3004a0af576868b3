//! An application that speaks Dapr hears events as its sidecar would bring them.

mod support;

use std::rc::Rc;

use selvedge::http::{Answer, Call, StatusCode};
use selvedge::subscription::Subscriptions;
use selvedge::{Event, Relay, journal};
use serde_json::{Value, json};
use support::World;
use support::listening::drain;

const APP: &str = r#"
[[subscription]]
name = "app"
types = ["*"]
target = "http://127.0.0.1:3001"
protocol = "dapr"
secret_variable = "app_token"
max_attempts = 3
jitter = 0
timeout = "10s"
"#;

const ROUTED: &str = r#"[{"pubsubname":"pubsub","topic":"orders","route":"/ignored",
    "routes":{"rules":[{"match":"event.type == 'shop.order.placed'","path":"/placed"}],"default":"other"}}]"#;

/// A relay whose application subscribes to `topics` and answers each delivery with what `answer` says.
fn world(topics: &'static str, answer: impl Fn(&Call) -> (u16, String) + 'static) -> (Rc<World>, Rc<Relay>) {
    let world = World::new(&[]);
    let relay = world.relay(APP);
    let token = ("app_token".to_owned(), "theirs".to_owned());
    world.variables.borrow_mut().extend([token]);
    let answer = Rc::new(answer);
    world.calls_of("127.0.0.1:3001", move |_, call| {
        let answer = answer.clone();
        Box::pin(async move {
            let (status, body) = match &*call.url {
                "http://127.0.0.1:3001/dapr/subscribe" if topics.is_empty() => (404, String::new()),
                "http://127.0.0.1:3001/dapr/subscribe" => (200, topics.to_owned()),
                _ => answer(&call),
            };
            let status = StatusCode::from_u16(status).expect("a status");
            Ok(Answer {
                status,
                retry_after: None,
                body: body.into_bytes(),
            })
        })
    });
    (world, relay)
}

fn append(world: &Rc<World>, id: &str, event_type: &str, topic: &str) {
    let event = Event::new(id, "/tests", event_type)
        .with_extension("topic", topic)
        .with_extension("pubsubname", "pubsub");
    let event = event.with_json(&json!({"id": id})).expect("JSON");
    journal::append(&world.host(), &format!("s/{id}"), 0, vec![event]).expect("new");
}

/// Paths and bodies of what was brought to the application.
fn brought(world: &World) -> Vec<(String, Value)> {
    let calls = world.calls.borrow();
    let mine = calls
        .iter()
        .filter(|call| call.url.starts_with("http://127.0.0.1:3001") && !call.body.is_empty());
    let read = |call: &Call| {
        let token = call.headers.iter().find(|(name, _)| name == "dapr-api-token");
        assert_eq!(token.map(|(_, token)| &**token), Some("theirs"), "{call:?}");
        let path = call.url.trim_start_matches("http://127.0.0.1:3001").to_owned();
        (path, serde_json::from_slice(&call.body).expect("JSON"))
    };
    mine.map(read).collect()
}

#[test]
fn an_event_goes_to_the_path_that_its_application_names() {
    let (world, relay) = world(ROUTED, |_| (200, String::new()));
    append(&world, "1", "shop.order.placed", "orders");
    append(&world, "2", "com.dapr.event.sent", "orders");
    drain(&world, &relay);
    let brought = brought(&world);
    assert_eq!(
        brought.iter().map(|(path, _)| &**path).collect::<Vec<_>>(),
        ["/placed", "/other"]
    );
    assert_eq!(
        (&brought[0].1["topic"], &brought[0].1["data"]["id"]),
        (&json!("orders"), &json!("1"))
    );
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn an_event_that_was_published_on_no_topic_goes_on_that_of_its_type() {
    let topics = r#"[{"pubsubname":"pubsub","topic":"todos.task.created","route":"/todos"}]"#;
    let (world, relay) = world(topics, |_| (200, String::new()));
    support::listening::append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let brought = brought(&world);
    assert_eq!(
        (&*brought[0].0, &brought[0].1["topic"]),
        ("/todos", &json!("todos.task.created"))
    );
    assert_eq!(brought[0].1["pubsubname"], "pubsub");
}

#[test]
fn what_each_answer_means() {
    for (status, body, state) in [
        (200, "", None),
        (204, "", None),
        (200, "no JSON", None),
        (200, r#"{"status":"SUCCESS"}"#, None),
        (200, r#"{"status":"RETRY"}"#, Some("retry")),
        (200, r#"{"status":"MAYBE"}"#, Some("retry")),
        (200, r#"{"status":"DROP"}"#, Some("dead")),
        (404, "", Some("dead")),
        (400, "", Some("retry")),
        (500, r#"{"status":"DROP"}"#, Some("retry")),
    ] {
        let (world, relay) = world(ROUTED, move |_| (status, body.to_owned()));
        append(&world, "1", "shop.order.placed", "orders");
        drain(&world, &relay);
        // What is tried again is dead after the last attempt: what the first one said is asked here.
        let found = world.rows("SELECT CASE WHEN attempt = 3 THEN 'retry' ELSE state END FROM exceptions");
        assert_eq!(found, Vec::from_iter(state), "{status} {body}");
    }
}

#[test]
fn what_the_application_does_not_hear_is_a_dead_letter_that_says_so() {
    for (topics, event_type, said) in [
        (
            "",
            "shop.order.placed",
            "doesn't subscribe to the topic orders of pubsub",
        ),
        ("[]", "shop.order.placed", "doesn't subscribe"),
        (
            r#"[{"pubsubname":"pubsub","topic":"orders","routes":{"rules":[{"match":"event.type == 'x'","path":"/x"}]}}]"#,
            "shop.order.placed",
            "no rule",
        ),
    ] {
        let (world, relay) = world(topics, |_| (200, String::new()));
        append(&world, "1", event_type, "orders");
        drain(&world, &relay);
        let found = world.rows("SELECT state, reason FROM exceptions");
        assert!(
            found.len() == 1 && found[0].starts_with("dead|") && found[0].contains(said),
            "{found:?}"
        );
        assert!(brought(&world).is_empty());
    }
}

#[test]
fn an_application_that_wants_several_gets_several_and_answers_for_each() {
    let topics = r#"[{"pubsubname":"pubsub","topic":"orders","route":"/bulk","bulkSubscribe":{"enabled":true,"maxMessagesCount":3}}]"#;
    let (world, relay) = world(topics, |call| {
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        let status = |entry: &Value| {
            let status = if entry["event"]["id"] == "2" { "DROP" } else { "SUCCESS" };
            json!({"entryId": entry["entryId"], "status": status})
        };
        let statuses: Vec<_> = body["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .map(status)
            .collect();
        (200, json!({ "statuses": statuses }).to_string())
    });
    for id in ["1", "2", "3", "4"] {
        append(&world, id, "shop.order.placed", "orders");
    }
    drain(&world, &relay);
    let sizes: Vec<_> = brought(&world)
        .iter()
        .map(|(_, body)| body["entries"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(sizes, [3, 1]);
    assert_eq!(world.rows("SELECT position, state FROM exceptions"), ["2|dead"]);
    assert_eq!(brought(&world)[0].1["type"], "com.dapr.event.sent.bulk");
}

#[test]
fn an_application_that_wants_raw_messages_gets_the_bytes() {
    let topics = r#"[{"pubsubname":"pubsub","topic":"orders","route":"/raw","metadata":{"rawPayload":"true"}}]"#;
    let (world, relay) = world(topics, |_| (200, String::new()));
    let event = Event::new("1", "Dapr", "com.dapr.event.sent")
        .with_data(
            "application/octet-stream",
            selvedge_events::Data::Binary(b"hi".to_vec()),
        )
        .with_extension("rawpayload", true)
        .with_extension("topic", "orders");
    journal::append(&world.host(), "s/1", 0, vec![event]).expect("new");
    drain(&world, &relay);
    assert_eq!(brought(&world)[0].1["data_base64"], "aGk=");
}

#[test]
fn a_list_that_cannot_be_had_is_asked_for_again() {
    let (world, relay) = world("{", |_| (200, String::new()));
    append(&world, "1", "shop.order.placed", "orders");
    drain(&world, &relay);
    let found = world.rows("SELECT reason FROM exceptions");
    assert!(
        found[0].contains("http://127.0.0.1:3001 answered with subscriptions that can't be read"),
        "{found:?}"
    );
    assert!(brought(&world).is_empty());
}

#[test]
fn a_target_with_a_path_gets_everything_there() {
    let world = World::new(&[]);
    let relay = world.relay(
        &APP.replace("127.0.0.1:3001", "127.0.0.1:3001/all")
            .replace("secret_variable = \"app_token\"\n", ""),
    );
    world.calls_of("127.0.0.1:3001", |_, _| {
        Box::pin(async {
            Ok(Answer {
                status: StatusCode::OK,
                retry_after: None,
                body: Vec::new(),
            })
        })
    });
    append(&world, "1", "shop.order.placed", "orders");
    drain(&world, &relay);
    let urls: Vec<_> = world.calls.borrow().iter().map(|call| call.url.clone()).collect();
    assert_eq!(urls, ["http://127.0.0.1:3001/all"]);
}

#[test]
fn a_protocol_is_for_urls_only() {
    for (from, to, said) in [
        ("http://127.0.0.1:3001", "function:app", "`protocol` is for targets"),
        (
            "http://127.0.0.1:3001",
            "dapr:pubsub/orders",
            "`protocol` is for targets",
        ),
        ("http://127.0.0.1:3001", "http://example.org", "in the clear"),
        ("protocol = \"dapr\"", "protocol = \"drapr\"", "drapr"),
        ("\"app_token\"", "\"app token\"", "variable's name"),
    ] {
        let error = Subscriptions::parse(&APP.replace(from, to)).expect_err(to).to_string();
        assert!(
            error.starts_with("subscriptions.toml, line ") && error.contains(said),
            "{error}"
        );
    }
}
