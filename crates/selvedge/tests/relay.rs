//! Events are brought to whoever subscribed: all of them, once each, whatever fails.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::http::{Answer, StatusCode};
use selvedge::schema::Tables;
use selvedge::{Error, Event, Function, Host, Outcome, Relay, dead_letter, journal, limits, relay};
use support::World;

const HEARD: Tables = Tables {
    owner: "tests",
    migrations: &[&["CREATE TABLE IF NOT EXISTS heard (subscription TEXT, id TEXT, UNIQUE (subscription, id))"]],
};

const TWO: &str = r#"
[[subscription]]
name = "all"
types = ["*"]
target = "function:all"
jitter = 0

[[subscription]]
name = "tasks"
types = ["todos.task.*"]
target = "function:tasks"
max_attempts = 3
jitter = 0
timeout = "10s"
"#;

/// A function that writes down what it hears, and says of each event what `judge` says.
fn listener(subscription: &'static str, judge: impl Fn(&Event) -> Outcome + 'static) -> Function {
    let judge = Rc::new(judge);
    Function::new(subscription).effect(move |host: Host, events: Vec<Event>| {
        let judge = judge.clone();
        async move {
            let outcome = |event: &Event| {
                let outcome = judge(event);
                if outcome == Outcome::Success {
                    let statement = "INSERT INTO heard (subscription, id) VALUES (?, ?)";
                    host.execute(statement, vec![subscription.into(), (*event.id).into()])?;
                }
                Ok(outcome)
            };
            events.iter().map(outcome).collect()
        }
    })
}

fn world() -> (Rc<World>, Rc<Relay>) {
    let world = World::new(&[HEARD]);
    let relay = world.relay(TWO);
    world.component("all", listener("all", |_| Outcome::Success));
    world.component("tasks", listener("tasks", |_| Outcome::Success));
    (world, relay)
}

fn append(world: &Rc<World>, ids: impl IntoIterator<Item = impl ToString>, event_type: &str) {
    for id in ids {
        let event = Event::new(id.to_string(), "/tests", event_type)
            .with_json("data")
            .expect("JSON");
        journal::append(&world.host(), &format!("s/{}", id.to_string()), 0, vec![event]).expect("new");
    }
}

fn drain(world: &Rc<World>, relay: &Rc<Relay>) {
    relay.ring(&world.host());
    world.run_until_ms(world.now_ms() + 20_000);
}

fn heard(world: &World, subscription: &str) -> usize {
    world
        .rows(&format!("SELECT id FROM heard WHERE subscription = '{subscription}'"))
        .len()
}

fn deliveries(world: &World) -> usize {
    world
        .calls
        .borrow()
        .iter()
        .filter(|call| call.url.contains("/_selvedge/deliver/"))
        .count()
}

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
    assert!(relay::is_due(&world.host()).expect("readable"));
    drain(&world, &relay);
    assert_eq!(world.rows(due), [format!("retry|2|{}|attempt 2", start_ms + 3_000)]);
    world.set_now_ms(start_ms + 3_000);
    drain(&world, &relay);

    let letters = dead_letter::list(&world.host(), "tasks", 0, 10).expect("readable");
    let [letter] = &letters[..] else {
        panic!("one dead letter: {letters:?}")
    };
    assert_eq!(
        (letter.attempts, &*letter.reason, &*letter.record.event.id),
        (3, "attempt 3", "bad")
    );
    assert_eq!((letter.first_at_ms, letter.last_at_ms), (start_ms, start_ms + 3_000));
    assert!(
        !relay::is_due(&world.host()).expect("readable"),
        "a dead letter isn't due"
    );
}

#[test]
fn a_retry_that_succeeds_leaves_nothing() {
    let (world, relay) = world();
    let failing = Rc::new(Cell::new(true));
    let fails = failing.clone();
    let judge = move |_: &Event| {
        if fails.get() {
            Outcome::retry("not yet")
        } else {
            Outcome::Success
        }
    };
    world.component("tasks", listener("tasks", judge));
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
                    body: Vec::new(),
                });
            }
            let request = selvedge::http::Request::new(
                call.method.clone(),
                "/_selvedge/deliver/tasks",
                call.headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.parse().expect("a value")))
                    .collect(),
                call.body.clone(),
            );
            let response = tasks.answer(&host, request).await;
            Ok(Answer {
                status: response.status,
                body: response.body,
            })
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
fn a_lease_is_renewed_while_its_delivery_is_under_way() {
    let (world, relay) = world();
    let other = world.relay(TWO);
    world.calls_of("tasks", |_, _| Box::pin(futures::future::pending()));
    append(&world, ["1"], "todos.task.created");
    let start_ms = world.now_ms();
    relay.ring(&world.host());
    for second in 1..=9 {
        world.run_until_ms(start_ms + second * 1_000);
        other.ring(&world.host());
    }
    world.run_until_ms(start_ms + 10_500);
    let sent = world
        .calls
        .borrow()
        .iter()
        .filter(|call| call.url.ends_with("/deliver/tasks"))
        .count();
    assert_eq!(sent, 1, "nobody else takes it up");
    assert_eq!(world.rows("SELECT attempt FROM exceptions"), ["1"]);
}

#[test]
fn what_a_dead_relay_left_behind_is_taken_up_when_its_lease_ends() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    world.broken_statements.borrow_mut().push("WHERE position >");
    drain(&world, &relay);
    world.broken_statements.borrow_mut().clear();
    world.set_now_ms(world.now_ms() + limits::LEASE_MS - 1);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 0, "it is still leased");
    world.set_now_ms(world.now_ms() + 1);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
}

#[test]
fn two_relays_at_once_bring_everything_once() {
    let (world, first) = world();
    let second = world.relay(TWO);
    append(&world, 0..50, "todos.task.created");
    first.ring(&world.host());
    second.ring(&world.host());
    world.run_until_ms(world.now_ms() + 5_000);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (50, 50));
    assert_eq!(deliveries(&world), 2);
}

#[test]
fn a_relay_that_was_stalled_past_its_lease_changes_nothing() {
    let (world, stalled) = world();
    let other = world.relay(TWO);
    let late = Rc::new(Cell::new(true));
    let is_late = late.clone();
    let tasks = Rc::new(listener("tasks", |_| Outcome::Success));
    world.calls_of("tasks", move |host, call| {
        let (tasks, stalls) = (tasks.clone(), is_late.replace(false));
        Box::pin(async move {
            if stalls {
                host.wait(9_000).await;
                return Ok(Answer {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    body: Vec::new(),
                });
            }
            let headers = call
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().expect("a value")));
            let path = "/_selvedge/deliver/tasks";
            let request = selvedge::http::Request::new(call.method.clone(), path, headers.collect(), call.body.clone());
            let response = tasks.answer(&host, request).await;
            Ok(Answer {
                status: response.status,
                body: response.body,
            })
        })
    });
    append(&world, ["1"], "todos.task.created");
    stalled.ring(&world.host());
    world.run_until_ms(world.now_ms() + 1_000);
    // Its lease ends while it waits: the clock jumps, and the other relay takes over.
    world.set_now_ms(world.now_ms() + 15_000);
    other.ring(&world.host());
    world.run_until_ms(world.now_ms() + 1);
    assert_eq!(heard(&world, "tasks"), 1);
    assert_eq!(
        world.rows("SELECT cursor FROM subscriptions WHERE name = 'tasks'"),
        ["1"]
    );

    world.run_until_ms(world.now_ms() + 20_000);
    assert_eq!(heard(&world, "tasks"), 1);
    assert!(
        world.rows("SELECT * FROM exceptions").is_empty(),
        "the stalled one was fenced"
    );
}

#[test]
fn what_was_delivered_but_not_settled_takes_effect_once() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    world.broken_statements.borrow_mut().push("SET cursor");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
    assert_eq!(
        world.rows("SELECT awake_until_ms FROM relay"),
        ["0"],
        "a relay that failed isn't awake"
    );
    world.broken_statements.borrow_mut().clear();
    world.set_now_ms(world.now_ms() + limits::LEASE_MS);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1, "the done marker knew it");
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["1", "1"]);
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
fn an_answer_that_is_no_answer_is_a_failed_attempt() {
    let (world, relay) = world();
    for body in [&b"ok"[..], b"", br#"{"statuses":7}"#] {
        world.calls_of("tasks", move |_, _| {
            Box::pin(async move {
                Ok(Answer {
                    status: StatusCode::OK,
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
fn a_clock_that_was_set_back_keeps_nothing_from_being_done() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    let future_ms = world.now_ms() + 86_400_000;
    drain(&world, &relay);
    world
        .execute(
            "UPDATE relay SET awake_until_ms = ?, token = 'gone'",
            vec![future_ms.into()],
        )
        .expect("a mark");
    world
        .execute("UPDATE subscriptions SET leased_until_ms = ?", vec![future_ms.into()])
        .expect("leases");
    append(&world, ["2"], "todos.task.created");
    assert!(relay::is_due(&world.host()).expect("readable"));
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (2, 2));
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
    let is_due = || relay::is_due(&world.host()).expect("readable");
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
