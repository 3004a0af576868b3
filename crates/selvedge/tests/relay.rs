//! Events are brought to whoever subscribed: all of them, once each, and cheaply.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::http::{Answer, StatusCode};
use selvedge::{Event, Outcome, journal, limits, relay};
use support::listening::{append, deliveries, drain, heard, listener, subscriptions, world};

#[test]
fn everyone_hears_what_they_subscribed_to_and_nothing_else() {
    let (world, relay) = world();
    append(&world, 0..3, "todos.task.created");
    append(&world, 3..5, "orders.order.placed");
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (5, 3));
    assert_eq!(deliveries(&world), 2, "one batch for each");
    assert_eq!(
        world.rows("SELECT name, cursor, leased_until_ms FROM subscriptions"),
        ["all|5|0", "tasks|5|0"]
    );
    assert_eq!(world.rows("SELECT awake_until_ms FROM relay"), ["0"]);
    assert_eq!(world.store.borrow().len(), 8, "a done marker for each");
}

#[test]
fn a_drain_with_nothing_to_do_is_one_statement() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    world.statements.set(0);
    drain(&world, &relay);
    assert_eq!(world.statements.get(), 1);
}

#[test]
fn a_large_backlog_comes_in_bounded_batches_with_few_statements() {
    let (world, relay) = world();
    append(&world, 0..1_200, "orders.order.placed");
    world.statements.set(0);
    drain(&world, &relay);
    assert_eq!(heard(&world, "all"), 1_200);
    assert_eq!(deliveries(&world), 3);
    assert!(
        world.statements.get() - 1_200 < 25,
        "{} statements of the relay",
        world.statements.get() - 1_200
    );
}

#[test]
fn an_event_that_is_appended_while_the_relay_is_awake_needs_no_bell() {
    let (world, relay) = world();
    let again = Rc::new(Cell::new(true));
    let once = again.clone();
    world.calls_of("all", move |host, _| {
        if once.replace(false) {
            let event = Event::new("late", "/tests", "todos.task.created");
            let appended = journal::append(&host, "s/late", 0, vec![event]).expect("new");
            assert!(appended.relay_awake_until_ms > host.now_ms(), "so nobody rings");
        }
        let body = br#"{"statuses":[{"entryId":"1","status":"SUCCESS"},{"entryId":"late","status":"SUCCESS"}]}"#;
        Box::pin(async {
            Ok(Answer {
                status: StatusCode::OK,
                retry_after: None,
                body: body.to_vec(),
            })
        })
    });
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 2);
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["2", "2"]);
}

#[test]
fn done_markers_go_when_they_cannot_be_needed_any_more() {
    let (world, relay) = world();
    world.component(
        "tasks",
        listener("tasks", |event| {
            if event.id == "3" {
                Outcome::drop("no")
            } else {
                Outcome::Success
            }
        }),
    );
    append(&world, 1..=4, "todos.task.created");
    drain(&world, &relay);
    assert_eq!(world.store.borrow().len(), 7);
    world.set_now_ms(world.now_ms() + limits::MARKER_RETENTION_MS + 1);
    append(&world, ["5"], "todos.task.created");
    drain(&world, &relay);
    let keys: Vec<_> = world.store.borrow().keys().cloned().collect();
    let expected = ["done/all//tests/5", "done/tasks//tests/4", "done/tasks//tests/5"];
    assert_eq!(
        keys, expected,
        "none before the oldest dead letter, and none of a fresh event"
    );
    assert_eq!(
        world.rows("SELECT name, collected FROM subscriptions"),
        ["all|4", "tasks|2"]
    );
}

#[test]
fn nothing_is_due_until_something_is() {
    let (world, relay) = world();
    let is_due = || relay::is_due(&world.host(), &subscriptions()).expect("readable");
    assert!(!is_due(), "an empty journal");
    append(&world, ["1"], "todos.task.created");
    assert!(is_due(), "an event whose bell was lost, before any relay ever ran");
    drain(&world, &relay);
    assert!(!is_due());
    append(&world, ["2"], "todos.task.created");
    assert!(is_due());
    world
        .execute(
            "UPDATE relay SET awake_until_ms = ?",
            vec![(world.now_ms() + 1_000).into()],
        )
        .expect("a mark");
    assert!(!is_due(), "a relay is awake");
}
