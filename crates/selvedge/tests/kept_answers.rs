//! An answer is kept under its request's `Idempotency-Key`.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::http::{Method, Problem, Request, Response, StatusCode};
use selvedge::{Function, Host, limits};
use serde_json::json;
use support::World;

/// A function that counts how often it was asked, and refuses a body that says so.
fn counter(asked: Rc<Cell<u32>>) -> Function {
    Function::new("counter").post_kept("/count/:name", move |_host: Host, request: Request| {
        let asked = asked.clone();
        async move {
            asked.set(asked.get() + 1);
            if request.body == b"refuse" {
                return Err(Problem::conflict("Not now."));
            }
            let location = format!("/count/{}", request.parameter("name"));
            Ok(Response::accepted(location, &json!({ "asked": asked.get() })))
        }
    })
}

struct Client {
    world: Rc<World>,
    function: Rc<Function>,
    asked: Rc<Cell<u32>>,
}

impl Client {
    fn new() -> Self {
        let asked = Rc::new(Cell::new(0));
        let function = Rc::new(counter(asked.clone()));
        Self {
            world: World::new(&[]),
            function,
            asked,
        }
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let header = |(name, value): &(&str, &str)| (name.parse().expect("a name"), value.parse().expect("a value"));
        let headers = headers.iter().map(header).collect();
        let request = Request::new(Method::POST, path, headers, body.as_bytes().to_vec());
        let (host, function) = (self.world.host(), self.function.clone());
        self.world
            .block_on(async move { function.answer(&host, request).await })
    }
}

#[test]
fn the_same_request_gets_the_first_answer_and_another_one_is_refused() {
    let client = Client::new();
    let key = [("idempotency-key", "k1")];
    let first = client.post("/count/a", &key, "{}");
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(client.post("/count/a", &key, "{}"), first);
    assert_eq!(client.asked.get(), 1);
    assert_eq!(
        client.post("/count/a", &key, "{ }").status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    // What is in the headers of a CloudEvent in binary mode is what it says, too.
    let other = [("idempotency-key", "k1"), ("ce-id", "2")];
    assert_eq!(
        client.post("/count/a", &other, "{}").status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(client.asked.get(), 1);
    // Another route's key is another key, and without one nothing is kept.
    client.post("/count/b", &key, "{}");
    client.post("/count/a", &[], "{}");
    client.post("/count/a", &[], "{}");
    assert_eq!(client.asked.get(), 4);
    assert_eq!(client.world.rows("SELECT count(*) FROM kept_answers"), ["2"]);
}

#[test]
fn a_refusal_is_not_kept() {
    let client = Client::new();
    let key = [("idempotency-key", "k1")];
    assert_eq!(client.post("/count/a", &key, "refuse").status, StatusCode::CONFLICT);
    assert_eq!(client.post("/count/a", &key, "refuse").status, StatusCode::CONFLICT);
    assert_eq!(client.post("/count/a", &key, "{}").status, StatusCode::ACCEPTED);
    assert_eq!(client.asked.get(), 3);
}

#[test]
fn a_crash_before_the_answer_was_kept_has_the_same_request_carried_out_again_and_no_other() {
    let client = Client::new();
    let key = [("idempotency-key", "k1")];
    client.post("/count/a", &key, "{}");
    client
        .world
        .rows("UPDATE kept_answers SET status = NULL, headers = NULL, body = NULL RETURNING key");
    assert_eq!(
        client.post("/count/a", &key, "other").status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let again = client.post("/count/a", &key, "{}");
    assert_eq!((client.asked.get(), client.post("/count/a", &key, "{}")), (2, again));
}

#[test]
fn old_answers_go() {
    let client = Client::new();
    for number in 0..10 {
        client.post("/count/a", &[("idempotency-key", &number.to_string())], "{}");
    }
    client.world.set_now_ms(support::START_MS + limits::KEPT_ANSWER_MS + 1);
    for number in 10..14 {
        client.post("/count/a", &[("idempotency-key", &number.to_string())], "{}");
    }
    assert_eq!(client.world.rows("SELECT count(*) FROM kept_answers"), ["4"]);
}
