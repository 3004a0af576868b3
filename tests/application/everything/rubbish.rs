//! Rubbish on every route: it is refused, changes nothing, and is no error of the server's.

use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::client::Client;

/// Where it is sent.
const PATHS: [&str; 26] = [
    "/",
    "/nowhere",
    "/users",
    "/users/nobody",
    "/todos",
    "/todos/nobody",
    "/todos/nobody/complete",
    "/todos/%ff%00/complete",
    "/todos?userId=%ff&limit=-1",
    "/notifications?userId=u1&after=x",
    "/analytics/events?day=yesterday",
    "/orders",
    "/orders/nobody",
    "/orders/nobody/resume",
    "/payments/nobody",
    "/shipments/nobody",
    "/events",
    "/events?after=x",
    "/schemas/nothing.json",
    "/v1.0/publish/elsewhere/weather",
    "/v1.0/publish/bulk/pubsub/weather",
    "/dapr/deliver/notifications",
    "/admin/nothing",
    "/_selvedge/bell",
    "/todos/_selvedge/deliver/todo-verification",
    "/relay/_selvedge/bell",
];
const METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::POST,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];
/// Headers that pretend, and headers that say something wrong.
const HEADERS: [(&str, &str); 14] = [
    ("content-type", "application/json"),
    ("content-type", "application/cloudevents+json"),
    ("content-type", "application/cloudevents-batch+json"),
    ("spin-path-info", "/_selvedge/bell"),
    ("spin-full-url", "http://todos.spin.internal/_selvedge/bell"),
    ("spin-path-match-id", "other"),
    ("ce-specversion", "9.9"),
    ("ce-id", "forged"),
    ("ce-type", "todos.task.created"),
    ("ce-source", "/todos"),
    ("x-http-method-override", "DELETE"),
    ("if-match", "W/\"x"),
    ("traceparent", "forged"),
    ("selvedge-attempt", "99"),
];
/// More than any route takes.
const HUGE_BYTES: usize = 5 * 1024 * 1024;

pub async fn send(client: &Client<'_>, chance: &mut StdRng) {
    let mark = client.mark();
    let bodies = [
        String::new(),
        "{".to_owned(),
        format!("[\"{mark}\"]"),
        format!(r#"{{"title":5,"userId":"{mark}"}}"#),
        format!(r#"{{"title":"","userId":"","name":"{mark}"}}"#),
        format!(r#"{{"email":"{mark}","name":"{mark}"}}"#),
        format!(r#"{{"specversion":"1.0","id":"{mark}","source":"","type":"a"}}"#),
        format!(r#"{{"a":{}1{}}}"#, "[".repeat(500), "]".repeat(500)),
    ];
    let mut body = bodies.choose(chance).expect("there are some").clone().into_bytes();
    match chance.random_range(0..40) {
        0 => body.resize(HUGE_BYTES, b'x'),
        1..=5 => body.extend(b"\xff\xfe"),
        _ => {}
    }
    let headers: Vec<_> = HEADERS.iter().filter(|_| chance.random_ratio(1, 4)).copied().collect();
    let path = PATHS.choose(chance).expect("there are some");
    let method = METHODS.choose(chance).expect("there are some").clone();
    let what = format!("{method} {path}");
    let Some(answer) = client.once(method.clone(), path, &headers, body).await else {
        return;
    };
    // What is asked for by GET and is there is no rubbish; what a server fails with, a calm run has noted.
    let is_read = matches!(method, Method::GET | Method::OPTIONS);
    if answer.status.is_success() && !is_read {
        client.broken(format!(
            "rubbish ({what}, {headers:?}) was answered with {}",
            answer.status
        ));
    }
    if answer.status.is_client_error() {
        client.told().refused.push(mark);
    }
}
