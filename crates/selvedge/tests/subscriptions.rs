//! What a subscription may ask for: where it begins, that it rests, how much is under way, and what is too late.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use http::header::CONTENT_TYPE;
use selvedge::dead_letter::{self, Filter, State};
use selvedge::http::{Call, Method, StatusCode};
use selvedge::subscription::Subscriptions;
use selvedge::{Event, Function, Host, Outcome, Relay, Timestamp, journal, relay};
use selvedge_events::extension::{DELIVER_AT, EXPIRY_TIME};
use support::World;
use support::listening::{HEARD, answer, append, deliveries, drain, failing_listener, heard, listener};

fn subscription(lines: &str) -> String {
    format!("[[subscription]]\nname = \"tasks\"\ntypes = [\"*\"]\ntarget = \"function:tasks\"\njitter = 0\n{lines}\n")
}

fn world(lines: &str) -> (Rc<World>, Rc<Relay>) {
    let world = World::new(&[HEARD]);
    let relay = world.relay(&subscription(lines));
    world.component("tasks", listener("tasks", |_| Outcome::Success));
    (world, relay)
}

fn is_due(world: &Rc<World>, lines: &str) -> bool {
    let subscriptions = Subscriptions::parse(&subscription(lines)).expect("valid");
    relay::is_due(&world.host(), &subscriptions).expect("readable")
}

fn set_paused(world: &World, paused: i64) {
    world
        .execute("UPDATE subscriptions SET paused = ?", vec![paused.into()])
        .expect("valid");
}

#[test]
fn start_now_hears_what_comes_after_it_was_taken_up() {
    let lines = "start = \"now\"";
    let (world, relay) = world(lines);
    append(&world, ["before"], "todos.task.created");
    assert!(is_due(&world, lines), "it has no row yet");
    drain(&world, &relay);
    append(&world, ["after"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(world.rows("SELECT id FROM heard"), ["after"]);
    assert_eq!(world.rows("SELECT cursor, collected FROM subscriptions"), ["2|1"]);
}

#[test]
fn start_now_is_taken_up_before_the_journals_first_event() {
    let lines = "start = \"now\"";
    let (world, relay) = world(lines);
    assert!(is_due(&world, lines), "even though there is nothing to deliver");
    drain(&world, &relay);
    append(&world, ["first"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
    assert!(!is_due(&world, lines));
}

#[test]
fn start_beginning_hears_the_whole_journal() {
    let (world, relay) = world("start = \"beginning\"");
    append(&world, 0..3, "todos.task.created");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 3);
}

#[test]
fn a_paused_subscription_gets_neither_events_nor_retries_until_it_is_resumed() {
    let (world, relay) = world("");
    let (function, failing) = failing_listener("tasks");
    world.component("tasks", function);
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    failing.set(false);

    set_paused(&world, 1);
    append(&world, ["2"], "todos.task.created");
    world.set_now_ms(world.now_ms() + 10_000);
    assert!(!is_due(&world, ""));
    world.calls.borrow_mut().clear();
    drain(&world, &relay);
    assert_eq!((heard(&world, "tasks"), deliveries(&world)), (0, 0));

    set_paused(&world, 0);
    assert!(is_due(&world, ""));
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 2);
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

fn append_with(world: &Rc<World>, id: &str, extensions: &[(&str, i64)]) {
    let mut event = Event::new(id, "/tests", "todos.task.created");
    for (name, time_ms) in extensions {
        event = event.with_extension(*name, Timestamp::from_unix_ms(*time_ms));
    }
    journal::append(&world.host(), id, 0, vec![event]).expect("new");
}

#[test]
fn an_expired_event_is_a_dead_letter_and_not_delivered() {
    let (world, relay) = world("");
    let now_ms = world.now_ms();
    append_with(&world, "expired", &[(EXPIRY_TIME, now_ms)]);
    append_with(&world, "in-time", &[(EXPIRY_TIME, now_ms + 1)]);
    drain(&world, &relay);
    assert_eq!(world.rows("SELECT id FROM heard"), ["in-time"]);
    let letters = dead_letter::list(&world.host(), State::Dead, &Filter::default(), None, 10).expect("readable");
    let [letter] = &letters[..] else {
        panic!("one dead letter: {letters:?}")
    };
    let reason = format!("it expired at {}", Timestamp::from_unix_ms(now_ms));
    assert_eq!(
        (&*letter.event_id, letter.attempts, &letter.reason),
        ("expired", 0, &reason)
    );
    assert_eq!(
        (letter.first_failed_at.unix_ms(), letter.last_failed_at.unix_ms()),
        (now_ms, now_ms)
    );
}

#[test]
fn an_event_that_expires_while_it_waits_is_not_tried_again() {
    let (world, relay) = world("order = \"stream\"");
    world.component("tasks", listener("tasks", |_| Outcome::retry("not yet")));
    let now_ms = world.now_ms();
    append_with(&world, "retried", &[(EXPIRY_TIME, now_ms + 900)]);
    append_with(
        &world,
        "delayed",
        &[(EXPIRY_TIME, now_ms + 900), (DELIVER_AT, now_ms + 950)],
    );
    drain(&world, &relay);
    world.set_now_ms(now_ms + 1_000);
    world.calls.borrow_mut().clear();
    drain(&world, &relay);
    assert_eq!(deliveries(&world), 0);
    assert_eq!(
        world.rows("SELECT position, state, attempt FROM exceptions ORDER BY 1"),
        ["1|dead|1", "2|dead|0"]
    );
}

/// A function that takes a second for each delivery, and knows how many events it had at once at most.
fn slow(world: &Rc<World>, fail: bool) -> Rc<Cell<usize>> {
    let (busy, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let seen = most.clone();
    world.component(
        "tasks",
        Function::new("tasks").effect(move |host: Host, events: Vec<Event>| {
            let (busy, most) = (busy.clone(), seen.clone());
            async move {
                busy.set(busy.get() + events.len());
                most.set(most.get().max(busy.get()));
                host.wait(1_000).await;
                busy.set(busy.get() - events.len());
                let outcome = |event: &Event| match event.id.parse::<u32>() {
                    Ok(number) if fail && number % 2 == 0 => Outcome::retry("not yet"),
                    _ => Outcome::Success,
                };
                Ok(events.iter().map(outcome).collect())
            }
        }),
    );
    most
}

#[test]
fn no_more_events_are_under_way_than_max_in_flight() {
    for max in [1_usize, 2, 3, 8] {
        let lines = format!("max_in_flight = {max}\nmax_attempts = 3");
        let (world, relay) = world(&lines);
        let other = world.relay(&subscription(&lines));
        let most = slow(&world, true);
        append(&world, 0..20, "todos.task.created");
        for _ in 0..80 {
            relay.ring(&world.host());
            other.ring(&world.host());
            let until_ms = world.now_ms() + 2_500;
            world.run_until_ms(until_ms);
            world.set_now_ms(until_ms);
        }
        assert!(
            (max.div_ceil(2)..=max).contains(&most.get()),
            "{} at once, {max} may be",
            most.get()
        );
        assert_eq!(
            world.rows("SELECT COUNT(*) FROM exceptions WHERE state = 'dead'"),
            ["10"],
            "{max}: {:?} {:?}",
            world.rows("SELECT * FROM exceptions"),
            world.rows("SELECT * FROM subscriptions")
        );
        assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["20"]);
    }
}

#[test]
fn a_limited_subscription_with_nothing_free_lets_the_relay_sleep() {
    let (world, relay) = world("max_in_flight = 1\ntimeout = \"10s\"");
    world.calls_of("tasks", |_, _| Box::pin(futures::future::pending()));
    append(&world, 0..3, "todos.task.created");
    relay.ring(&world.host());
    world.run_until_ms(world.now_ms() + 1_000);
    world.statements.set(0);
    let other = world.relay(&subscription("max_in_flight = 1"));
    other.ring(&world.host());
    world.run_until_ms(world.now_ms() + 5_000);
    assert!(
        world.statements.get() < 20,
        "{} statements while there is no room",
        world.statements.get()
    );
    assert_eq!(deliveries(&world), 1);
}

#[test]
fn who_asks_for_nothing_pays_for_nothing() {
    let (world, relay) = world("");
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let statements = |lines: &'static str| {
        let relay = world.relay(&subscription(lines));
        drain(&world, &relay);
        append(&world, [format!("with {lines}")], "todos.task.created");
        world.statements.set(0);
        drain(&world, &relay);
        world.statements.get()
    };
    let plain = statements("");
    assert_eq!(statements("max_in_flight = 100"), plain);
    assert_eq!(statements("order = \"stream\""), plain + 1);
    drop(relay);
}

#[test]
fn an_ordered_delivery_that_doesnt_give_every_event_its_stream_is_refused() {
    for (streams, status) in [
        ("0", StatusCode::OK),
        ("0,1", StatusCode::BAD_REQUEST),
        ("x", StatusCode::BAD_REQUEST),
    ] {
        let (world, _) = world("");
        let function = listener("tasks", |_| Outcome::Success);
        let call = Call {
            body: br#"[{"specversion":"1.0","id":"1","source":"/tests","type":"todos.task.created"}]"#.to_vec(),
            ..Call::chained(Method::POST, "tasks", "/_selvedge/deliver/tasks")
                .header(CONTENT_TYPE, "application/cloudevents-batch+json")
                .header(selvedge::order::STREAMS, streams)
        };
        let host = world.host();
        let answered = world
            .block_on(async move { answer(&function, &host, &call).await })
            .expect("an answer");
        assert_eq!(answered.status, status, "{streams}");
    }
}

#[test]
fn only_events_that_match_are_heard() {
    let (world, relay) = world("match = \"data.priceCents > 1000 && event.source == '/shop'\"");
    for (id, source, price) in [
        ("cheap", "/shop", 900),
        ("dear", "/shop", 1_100),
        ("other", "/else", 1_100),
    ] {
        let event = Event::new(id, source, "orders.order.placed")
            .with_json(&serde_json::json!({ "priceCents": price }))
            .expect("JSON");
        journal::append(&world.host(), id, 0, vec![event]).expect("new");
    }
    drain(&world, &relay);
    assert_eq!(world.rows("SELECT id FROM heard"), ["dear"]);
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["3"]);
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn an_event_that_a_match_cant_be_asked_of_is_a_dead_letter() {
    let (world, relay) = world("match = \"data.priceCents > 1000\"");
    append(&world, ["1"], "orders.order.placed");
    drain(&world, &relay);
    let letters = dead_letter::list(&world.host(), State::Dead, &Filter::default(), None, 10).expect("readable");
    let [letter] = &letters[..] else {
        panic!("one dead letter: {letters:?}")
    };
    assert!(
        letter.reason.starts_with("its `match` can't be evaluated: "),
        "{}",
        letter.reason
    );
    assert_eq!(deliveries(&world), 0);
}
