//! A webhook gets each event in a request of its own, signed as Standard Webhooks says.

mod support;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use selvedge::http::{Answer, Call, StatusCode};
use selvedge::{Error, Relay};
use sha2::Sha256;
use support::World;
use support::listening::{append, drain};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfE1g==";

const HOOK: &str = r#"
[[subscription]]
name = "partner"
types = ["todos.task.*"]
target = "https://hooks.example/todos?tenant=1"
secret_variable = "webhook_secret"
max_attempts = 3
jitter = 0
timeout = "10s"
"#;

/// A relay whose webhook answers each request with what `status` says.
fn world(secrets: &str, lines: &str, status: impl Fn(&Call) -> u16 + 'static) -> (Rc<World>, Rc<Relay>) {
    world_that_defers(secrets, lines, move |call| (status(call), None))
}

/// The same, where `answer` says what its `Retry-After` is too.
fn world_that_defers(
    secrets: &str,
    lines: &str,
    answer: impl Fn(&Call) -> (u16, Option<&'static str>) + 'static,
) -> (Rc<World>, Rc<Relay>) {
    let world = World::new(&[]);
    let relay = world.relay(&format!("{HOOK}{lines}\n"));
    world
        .variables
        .borrow_mut()
        .insert("webhook_secret".to_owned(), secrets.to_owned());
    world.calls_of("https://hooks.example", move |_, call| {
        let (status, retry_after) = answer(&call);
        let status = StatusCode::from_u16(status).expect("a status");
        Box::pin(async move {
            Ok(Answer {
                status,
                retry_after: retry_after.map(str::to_owned),
                body: Vec::new(),
            })
        })
    });
    (world, relay)
}

fn requests(world: &World) -> Vec<Call> {
    let calls = world.calls.borrow();
    calls
        .iter()
        .filter(|call| call.url.starts_with("https://"))
        .cloned()
        .collect()
}

fn header<'c>(call: &'c Call, name: &str) -> &'c str {
    let found = call.headers.iter().find(|(found, _)| found == name);
    found
        .map(|(_, value)| value.as_str())
        .unwrap_or_else(|| panic!("no {name}: {:?}", call.headers))
}

/// What a receiver does: whether a request is genuine by one of the secrets that it knows.
fn verifies(call: &Call, secret: &str, now_ms: i64) -> bool {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let (id, timestamp) = (header(call, "webhook-id"), header(call, "webhook-timestamp"));
    let age_s = now_ms / 1_000 - timestamp.parse::<i64>().expect("seconds");
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &call.body].concat();
    let is_right = |signature: &str| {
        let mac = Hmac::<Sha256>::new_from_slice(&key)
            .expect("any length")
            .chain_update(&signed);
        let bytes = STANDARD
            .decode(signature.strip_prefix("v1,").expect("version 1"))
            .expect("base64");
        mac.verify_slice(&bytes).is_ok()
    };
    (0..300).contains(&age_s) && header(call, "webhook-signature").split(' ').any(is_right)
}

#[test]
fn every_event_is_a_signed_request_of_its_own() {
    let (world, relay) = world(NEW, "", |_| 204);
    append(&world, ["1", "2"], "todos.task.created");
    append(&world, ["3"], "orders.order.placed");
    drain(&world, &relay);
    let requests = requests(&world);
    assert_eq!(requests.len(), 2);
    for (request, id) in requests.iter().zip(["1", "2"]) {
        assert_eq!(request.url, "https://hooks.example/todos?tenant=1");
        assert_eq!(header(request, "content-type"), "application/cloudevents+json");
        let event: HashMap<String, serde_json::Value> = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(
            (&event["id"], &event["specversion"], &event["data"]),
            (&id.into(), &"1.0".into(), &"data".into())
        );
        assert!(verifies(request, NEW, world.now_ms()) && !verifies(request, OLD, world.now_ms()));
        let changed = Call {
            body: b"{}".to_vec(),
            ..request.clone()
        };
        assert!(!verifies(&changed, NEW, world.now_ms()));
    }
    assert_ne!(header(&requests[0], "webhook-id"), header(&requests[1], "webhook-id"));
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["3"]);
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn while_a_secret_is_replaced_both_verify() {
    let (world, relay) = world(&format!("{NEW} {OLD}"), "", |_| 200);
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let request = &requests(&world)[0];
    assert!(verifies(request, NEW, world.now_ms()) && verifies(request, OLD, world.now_ms()));
    assert_eq!(header(request, "webhook-signature").split(' ').count(), 2);
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    for (retry_after, wait_s) in [
        ("30", 30),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120),
        ("1000000", 3_600),
        ("soon", 1),
    ] {
        let times = Rc::new(Cell::new(0));
        let (world, relay) = world_that_defers(NEW, "", move |_| {
            times.set(times.get() + 1);
            if times.get() == 1 {
                (429, Some(retry_after))
            } else {
                (200, None)
            }
        });
        append(&world, ["1"], "todos.task.created");
        let begun_ms = world.now_ms();
        relay.ring(&world.host());
        world.run_until_ms(begun_ms);
        let due_ms: i64 = world.rows("SELECT due_at_ms FROM exceptions")[0]
            .parse()
            .expect("a number");
        assert_eq!(due_ms, begun_ms + wait_s * 1_000, "{retry_after}");
        world.set_now_ms(due_ms - 1);
        drain_for(&world, &relay, due_ms - 1);
        assert_eq!(requests(&world).len(), 1, "{retry_after}");
        world.set_now_ms(due_ms);
        drain(&world, &relay);
        assert_eq!(requests(&world).len(), 2, "{retry_after}");
    }
}

/// Has the relay look for work up to a time.
fn drain_for(world: &Rc<World>, relay: &Rc<Relay>, end_ms: i64) {
    relay.ring(&world.host());
    world.run_until_ms(end_ms);
}

#[test]
fn an_event_that_is_sent_again_keeps_its_id_and_gets_a_fresh_timestamp() {
    let tries = Rc::new(Cell::new(0));
    let (world, relay) = world(NEW, "", move |_| {
        tries.set(tries.get() + 1);
        if tries.get() < 3 { 503 } else { 200 }
    });
    append(&world, ["1"], "todos.task.created");
    for _ in 0..3 {
        drain(&world, &relay);
        world.set_now_ms(world.now_ms() + 5_000);
    }
    let requests = requests(&world);
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| header(request, "webhook-id") == header(&requests[0], "webhook-id"))
    );
    assert_ne!(
        header(&requests[0], "webhook-timestamp"),
        header(&requests[1], "webhook-timestamp")
    );
    assert!(requests.iter().any(|request| verifies(request, NEW, world.now_ms())));
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn what_each_status_means() {
    for (status, state) in [
        (200, None),
        (204, None),
        (301, Some("retry")),
        (400, Some("retry")),
        (401, Some("retry")),
        (404, Some("retry")),
        (410, Some("dead")),
        (429, Some("retry")),
        (500, Some("retry")),
    ] {
        let (world, relay) = world(NEW, "", move |_| status);
        append(&world, ["1"], "todos.task.created");
        drain(&world, &relay);
        let found = world.rows("SELECT state FROM exceptions");
        assert_eq!(found, Vec::from_iter(state), "{status}");
        for reason in world.rows("SELECT reason FROM exceptions") {
            assert!(
                reason.starts_with(&format!("https://hooks.example answered with status {status}")),
                "{reason}"
            );
        }
    }
}

#[test]
fn one_event_that_is_refused_takes_no_other_with_it() {
    let (world, relay) = world(NEW, "", |call| {
        if call.body.windows(8).any(|part| part == b"\"id\":\"2\"") {
            500
        } else {
            200
        }
    });
    append(&world, 0..5, "todos.task.created");
    drain(&world, &relay);
    assert_eq!(world.rows("SELECT position, attempt FROM exceptions"), ["3|1"]);
}

#[test]
fn an_ordered_webhook_gets_a_streams_events_one_after_the_other() {
    let failing = Rc::new(Cell::new(true));
    let fails = failing.clone();
    let (world, relay) = world(NEW, "order = \"stream\"", move |call| {
        let is_first = call.body.windows(9).any(|part| part == b"\"id\":\"a1\"");
        if is_first && fails.get() { 500 } else { 200 }
    });
    for (id, stream, version) in [("a1", "a", 0), ("a2", "a", 1), ("b1", "b", 0), ("a3", "a", 2)] {
        let event = selvedge::Event::new(id, "/tests", "todos.task.created");
        selvedge::journal::append(&world.host(), stream, version, vec![event]).expect("new");
    }
    drain(&world, &relay);
    let sent = || -> Vec<String> {
        let id = |call: &Call| serde_json::from_slice::<serde_json::Value>(&call.body).expect("JSON")["id"].to_string();
        requests(&world).iter().map(id).collect()
    };
    assert_eq!(sent(), ["\"a1\"", "\"b1\""]);
    failing.set(false);
    world.set_now_ms(world.now_ms() + 1_000);
    drain(&world, &relay);
    assert_eq!(sent()[2..], ["\"a1\"", "\"a2\"", "\"a3\""]);
}

#[test]
fn a_webhook_that_hangs_is_given_up_on_after_its_timeout() {
    let (world, relay) = world(NEW, "", |_| 200);
    world.calls_of("https://hooks.example", |_, _| Box::pin(futures::future::pending()));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(
        world.rows("SELECT attempt, reason FROM exceptions"),
        ["1|https://hooks.example gave no answer within 10000 ms"]
    );
}

#[test]
fn without_a_proper_secret_nothing_is_sent_and_the_reason_says_so() {
    for secrets in [
        "",
        "secret",
        "whsec_",
        "whsec_AAAA",
        "whsec_$$$$",
        &format!("{OLD} {NEW} {OLD}"),
        &OLD[6..],
    ] {
        let (world, relay) = world(secrets, "", |_| 200);
        append(&world, ["1"], "todos.task.created");
        drain(&world, &relay);
        assert!(requests(&world).is_empty(), "{secrets}");
        let reasons = world.rows("SELECT reason FROM exceptions");
        assert!(
            reasons[0].starts_with("the variable webhook_secret must have one webhook secret"),
            "{reasons:?}"
        );
        assert!(
            secrets.len() < 7 || !reasons[0].contains(secrets),
            "the reason doesn't hold the secret"
        );
    }
}

#[test]
fn a_host_that_the_relay_may_not_reach_is_named() {
    let (world, relay) = world(NEW, "", |_| 200);
    world.calls_of("https://hooks.example", |_, call| {
        let target = call.target();
        let detail = "ErrorCode::HttpRequestDenied".to_owned();
        Box::pin(async { Err(Error::Unreachable { target, detail }) })
    });
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let expected =
        "the relay may not reach https://hooks.example: add it to the relay's allowed_outbound_hosts in spin.toml";
    assert_eq!(world.rows("SELECT reason FROM exceptions"), [expected]);
}
