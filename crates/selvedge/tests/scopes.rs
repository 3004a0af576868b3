//! What a function may publish and subscribe to is enforced by the kernel.

mod support;

use selvedge::http::{Method, Problem, Request, Response, StatusCode};
use selvedge::{Error, Event, Function, Host, Outcome, ingest, journal};
use support::World;
use support::listening::{HEARD, append, drain, heard, listener};

fn publisher() -> Function {
    Function::new("todos")
        .publishes(&["todos.task.*", "todos.list.opened"])
        .post("/publish", publish)
}

/// Appends an event of the type that the body names.
async fn publish(host: Host, request: Request) -> Result<Response, Problem> {
    let event_type = String::from_utf8_lossy(&request.body).into_owned();
    let event = Event::new(host.new_id(), "/todos", event_type.clone());
    journal::append(&host, &format!("s/{event_type}"), 0, vec![event])?;
    Ok(Response::empty(StatusCode::CREATED))
}

#[test]
fn a_function_appends_what_is_in_its_publish_scope_and_nothing_else() {
    let world = World::new(&[]);
    for (event_type, status) in [
        ("todos.task.created", StatusCode::CREATED),
        ("todos.list.opened", StatusCode::CREATED),
        ("todos.list.closed", StatusCode::INTERNAL_SERVER_ERROR),
        ("payments.payment.captured", StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let (function, host) = (publisher(), world.host());
        let request = Request::new(
            Method::POST,
            "/publish",
            Default::default(),
            event_type.as_bytes().to_vec(),
        );
        let answer = world.block_on(async move { function.answer(&host, request).await });
        assert_eq!(answer.status, status, "{event_type}");
    }
    assert_eq!(
        world.rows("SELECT type FROM journal"),
        ["todos.task.created", "todos.list.opened"]
    );
}

#[test]
fn events_from_outside_are_within_the_publish_scope_too() {
    let world = World::new(&[]);
    let types = [selvedge_events::TypePattern::parse("weather.*.*").expect("a pattern")];
    let host = world.host().publishing(types.into());
    let ingest = |event_type: &str| ingest::ingest(&host, vec![Event::new(event_type, "/sensors", event_type)], None);
    assert_eq!(ingest("weather.report.published").expect("within").appended, 1);
    let refused = ingest("todos.task.created").expect_err("outside");
    assert!(
        matches!(refused, ingest::Refused::Failed(Error::OutOfScope { .. })),
        "{refused:?}"
    );
    assert_eq!(world.rows("SELECT type FROM journal"), ["weather.report.published"]);
}

#[test]
fn an_event_outside_of_the_subscribe_scope_is_a_dead_letter_without_effect() {
    for order in ["none", "stream"] {
        let world = World::new(&[HEARD]);
        let relay = world.relay(&format!(
            "[[subscription]]\nname = \"tasks\"\ntypes = [\"*\"]\ntarget = \"function:tasks\"\norder = \"{order}\"\n"
        ));
        world.component(
            "tasks",
            listener("tasks", |_| Outcome::Success).subscribes(&["todos.task.*"]),
        );
        append(&world, ["mine"], "todos.task.created");
        append(&world, ["foreign"], "payments.payment.captured");
        drain(&world, &relay);
        assert_eq!(heard(&world, "tasks"), 1);
        let reason = "payments.payment.captured is outside of what the function subscribes to";
        assert_eq!(
            world.rows("SELECT position, state, reason FROM exceptions"),
            [format!("2|dead|{reason}")]
        );
    }
}

#[test]
fn a_function_that_says_nothing_publishes_and_hears_all() {
    let world = World::new(&[HEARD]);
    assert!(world.host().may_publish("any.thing.happened"));
    world.component("tasks", listener("tasks", |_| Outcome::Success));
    let relay = world.relay("[[subscription]]\nname = \"tasks\"\ntypes = [\"*\"]\ntarget = \"function:tasks\"\n");
    append(&world, ["1"], "any.thing.happened");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
}

#[test]
#[should_panic(expected = "type patterns")]
fn a_scope_that_is_no_pattern_is_a_bug() {
    let _ = Function::new("x").publishes(&["todos"]);
}
