//! What fails is tried again or becomes a dead letter, and holds nobody up.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::dead_letter::{self, Filter, State};
use selvedge::http::{Answer, StatusCode};
use selvedge::{Error, Event, Function, Host, Outcome, relay};
use support::listening::{answer, append, deliveries, drain, failing_listener, heard, listener, subscriptions, world};

#[test]
fn what_fails_is_tried_again_with_backoff_and_then_a_dead_letter() {
    let (world, relay) = world();
    let attempts = Rc::new(Cell::new(0));
    let counted = attempts.clone();
    world.component(
        "tasks",
        listener("tasks", move |event| match &*event.id {
            "bad" => {
                counted.set(counted.get() + 1);
                Outcome::retry(format!("attempt {}", counted.get()))
            }
            _ => Outcome::Success,
        }),
    );
    append(&world, ["good", "bad"], "todos.task.created");
    let start_ms = world.now_ms();
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1, "the good one isn't held up");
    let due = "SELECT state, attempt, due_at_ms, reason FROM exceptions";
    assert_eq!(world.rows(due), [format!("retry|1|{}|attempt 1", start_ms + 1_000)]);

    world.set_now_ms(start_ms + 999);
    drain(&world, &relay);
    assert_eq!(attempts.get(), 1, "not due yet");
    world.set_now_ms(start_ms + 1_000);
    assert!(relay::is_due(&world.host(), &subscriptions()).expect("readable"));
    drain(&world, &relay);
    assert_eq!(world.rows(due), [format!("retry|2|{}|attempt 2", start_ms + 3_000)]);
    world.set_now_ms(start_ms + 3_000);
    drain(&world, &relay);

    let letters = dead_letter::list(&world.host(), State::Dead, &Filter::default(), None, 10).expect("readable");
    let [letter] = &letters[..] else {
        panic!("one dead letter: {letters:?}")
    };
    assert_eq!(
        (letter.attempts, &*letter.reason, &*letter.event_id),
        (3, "attempt 3", "bad")
    );
    let failed_at_ms = (letter.first_failed_at.unix_ms(), letter.last_failed_at.unix_ms());
    assert_eq!(failed_at_ms, (start_ms, start_ms + 3_000));
    assert!(
        !relay::is_due(&world.host(), &subscriptions()).expect("readable"),
        "a dead letter isn't due"
    );
}

#[test]
fn a_retry_that_succeeds_leaves_nothing() {
    let (world, relay) = world();
    let (function, failing) = failing_listener("tasks");
    world.component("tasks", function);
    append(&world, ["1", "2"], "todos.task.created");
    drain(&world, &relay);
    failing.set(false);
    world.set_now_ms(world.now_ms() + 1_000);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 2);
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
    assert_eq!(deliveries(&world), 3, "the two retries came together");
}

#[test]
fn a_drop_is_a_dead_letter_at_once() {
    let (world, relay) = world();
    world.component("tasks", listener("tasks", |_| Outcome::drop("nobody wants it")));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(
        world.rows("SELECT state, attempt, reason FROM exceptions"),
        ["dead|1|nobody wants it"]
    );
}

#[test]
fn an_event_that_kills_its_function_takes_no_other_with_it() {
    let (world, relay) = world();
    let tasks = Rc::new(listener("tasks", |_| Outcome::Success));
    world.calls_of("tasks", move |host, call| {
        let tasks = tasks.clone();
        Box::pin(async move {
            if String::from_utf8_lossy(&call.body).contains("\"id\":\"poison\"") {
                return Ok(Answer {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    retry_after: None,
                    body: Vec::new(),
                });
            }
            answer(&tasks, &host, &call).await
        })
    });
    append(&world, ["1", "poison", "2"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 0);
    let state = "SELECT isolated, attempt, reason FROM exceptions";
    assert_eq!(
        world.rows(state),
        vec!["1|1|http://tasks.spin.internal answered with status 500"; 3]
    );
    world.set_now_ms(world.now_ms() + 1_000);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 2, "the others came alone");
    assert_eq!(world.rows("SELECT position, attempt FROM exceptions"), ["2|2"]);
}

#[test]
fn a_function_that_hangs_holds_nobody_up_and_its_attempt_counts() {
    let (world, relay) = world();
    world.calls_of("tasks", |_, _| Box::pin(futures::future::pending()));
    append(&world, ["1"], "todos.task.created");
    let start_ms = world.now_ms();
    relay.ring(&world.host());
    world.run_until_ms(start_ms + 3_000);
    assert_eq!(heard(&world, "all"), 1);
    assert_eq!(
        world.rows("SELECT awake_until_ms FROM relay"),
        ["0"],
        "whoever only waits isn't awake"
    );

    append(&world, ["2"], "todos.task.created");
    relay.ring(&world.host());
    world.run_until_ms(start_ms + 4_000);
    assert_eq!(heard(&world, "all"), 2, "while the other one still hangs");
    assert_eq!(
        world.rows("SELECT cursor FROM subscriptions WHERE name = 'tasks'"),
        ["0"]
    );

    world.run_until_ms(start_ms + 10_500);
    let state = "SELECT position, attempt, isolated, reason FROM exceptions";
    assert_eq!(
        world.rows(state),
        ["1|1|1|http://tasks.spin.internal gave no answer within 10000 ms"]
    );
}

#[test]
fn an_answer_that_is_no_answer_is_a_failed_attempt() {
    let (world, relay) = world();
    for body in [&b"ok"[..], b"", br#"{"statuses":7}"#] {
        world.calls_of("tasks", move |_, _| {
            Box::pin(async move {
                Ok(Answer {
                    status: StatusCode::OK,
                    retry_after: None,
                    body: body.to_vec(),
                })
            })
        });
        append(
            &world,
            [String::from_utf8_lossy(body).into_owned() + "-"],
            "todos.task.created",
        );
        drain(&world, &relay);
    }
    assert_eq!(
        world.rows("SELECT COUNT(*) FROM exceptions WHERE subscription = 'tasks'"),
        ["3"]
    );
}

#[test]
fn a_function_without_an_effect_hears_nothing() {
    let (world, relay) = world();
    world.component("tasks", Function::new("tasks"));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(
        world.rows("SELECT state, reason FROM exceptions"),
        ["retry|http://tasks.spin.internal answered with status 404"]
    );
}

#[test]
fn an_effect_that_fails_brings_its_events_again() {
    let (world, relay) = world();
    let failing = |_host: Host, _events: Vec<Event>| async {
        Err(Error::DatabaseBusy {
            detail: "locked".to_owned(),
        })
    };
    world.component("tasks", Function::new("tasks").effect(failing));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(
        world.rows("SELECT state, reason FROM exceptions"),
        ["retry|http://tasks.spin.internal answered with status 503"]
    );
    assert_eq!(heard(&world, "all"), 1);
}
