//! A request finds its handler, or a problem that says why not.

mod support;

use selvedge::breaker::State;
use selvedge::http::{Method, Problem, Request, Response, Upstream};
use selvedge::{Event, Function, Host, Outcome, health};
use support::World;

fn function() -> Function {
    Function::new("greetings")
        .get("/greetings/:name", |_host: Host, request: Request| async move {
            Ok::<_, Problem>(Response::ok(&request.parameter("name")))
        })
        .post("/greetings/:name", |_host: Host, request: Request| async move {
            request
                .json::<std::collections::BTreeMap<String, String>>()
                .map(|names| Response::ok(&names))
        })
        .effect(|_host, events: Vec<Event>| async move { Ok(vec![Outcome::Success; events.len()]) })
}

fn ask(method: Method, target: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, Response) {
    let world = World::new(&[]);
    let header = |(name, value): &(&str, &str)| (name.parse().expect("a name"), value.parse().expect("a value"));
    let request = Request::new(
        method,
        target,
        headers.iter().map(header).collect(),
        body.as_bytes().to_vec(),
    );
    let host = world.host();
    let response = world.block_on(async move { function().answer(&host, request).await });
    (
        response.status.as_u16(),
        String::from_utf8_lossy(&response.body).into_owned(),
        response,
    )
}

#[test]
fn a_route_gets_its_parameters() {
    let (status, body, _) = ask(Method::GET, "/greetings/J%C3%BCrgen?x=1", &[], "");
    assert_eq!((status, &*body), (200, "\"Jürgen\""));
}

#[test]
fn other_paths_and_methods_are_problems() {
    let (status, body, _) = ask(Method::GET, "/nothing", &[], "");
    assert!(status == 404 && body.contains("\"status\":404"), "{body}");
    let (status, _, response) = ask(Method::DELETE, "/greetings/a", &[], "");
    assert_eq!(status, 405);
    assert!(
        response
            .headers
            .iter()
            .any(|(name, value)| name == "allow" && value == "GET, POST"),
        "{response:?}"
    );
    let (status, _, response) = ask(Method::POST, "/greetings/a", &[], "{");
    assert_eq!(status, 400);
    assert_eq!(response.headers[0].1, "application/problem+json");
}

#[test]
fn a_delivery_is_answered_event_by_event() {
    let batch = r#"[{"specversion":"1.0","id":"1","source":"/t","type":"a.b.c"},
        {"specversion":"1.0","id":"2","source":"/t","type":"a.b.c"}]"#;
    let content_type = [("content-type", "application/cloudevents-batch+json")];
    let (status, body, _) = ask(Method::POST, "/_selvedge/deliver/greetings", &content_type, batch);
    let expected = r#"{"statuses":[{"entryId":"1","status":"SUCCESS"},{"entryId":"2","status":"SUCCESS"}]}"#;
    assert_eq!((status, &*body), (200, expected));
}

#[test]
fn a_delivery_that_is_none_is_a_problem() {
    let content_type = [("content-type", "application/cloudevents-batch+json")];
    for body in ["", "{", "[{}]", "[{\"id\":1}]", "3"] {
        assert_eq!(
            ask(Method::POST, "/_selvedge/deliver/greetings", &content_type, body).0,
            400,
            "{body}"
        );
    }
    assert_eq!(ask(Method::GET, "/_selvedge/deliver/greetings", &[], "").0, 405);
    assert_eq!(
        ask(Method::POST, "/greetings/_selvedge/deliver/x", &content_type, "[]").0,
        404
    );
}

#[test]
fn every_function_says_that_it_is_up() {
    let (status, body, _) = ask(Method::GET, "/_selvedge/health", &[], "");
    assert_eq!((status, &*body), (200, r#"{"function":"greetings","status":"up"}"#));
}

#[test]
fn whom_functions_call_shows_in_their_health() {
    let world = World::new(&[]);
    let (users, provider) = (Upstream::new("users"), Upstream::new("payment-provider"));
    world.component("todos", function().upstream(&users));
    world.component("orders", Function::new("orders").upstream(&provider).upstream(&users));
    world.component("greetings", function());
    let host = world.host();
    let reports = world.block_on(async move {
        let components = ["todos", "greetings", "orders", "nobody"];
        health::breakers(&host, &components).await.expect("readable")
    });
    let names: Vec<_> = reports
        .iter()
        .map(|report| (&*report.name, report.state, report.since))
        .collect();
    assert_eq!(
        names,
        [
            ("payment-provider", State::Closed, None),
            ("users", State::Closed, None)
        ]
    );
}

#[test]
fn bodies_are_bounded_by_where_they_go() {
    let function = function();
    assert_eq!(
        function.body_bytes_max("/greetings/a"),
        selvedge::limits::REQUEST_BODY_BYTES_MAX
    );
    assert_eq!(
        function.body_bytes_max("/_selvedge/deliver/a"),
        selvedge::limits::DELIVERY_BODY_BYTES_MAX
    );
    assert_eq!(selvedge::function::body_too_large(10).status.as_u16(), 413);
}

#[test]
fn a_head_finds_what_a_get_finds() {
    assert_eq!(ask(Method::HEAD, "/greetings/a", &[], "").0, 200);
    assert_eq!(ask(Method::HEAD, "/nothing", &[], "").0, 404);
}
