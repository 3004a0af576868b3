//! An event whose `deliverat` lies in the future isn't delivered before then, and then as any other.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::dead_letter::{self, Filter, State};
use selvedge::{Event, Outcome, Timestamp, journal, limits, relay};
use selvedge_events::extension::DELIVER_AT;
use support::World;
use support::listening::{append, deliveries, drain, heard, listener, subscriptions, world};

const DELAY_MS: i64 = 60_000;

fn append_delayed(world: &Rc<World>, id: &str, deliver_at_ms: i64) {
    let event = Event::new(id, "/tests", "todos.task.created")
        .with_json("data")
        .expect("JSON")
        .with_extension(DELIVER_AT, Timestamp::from_unix_ms(deliver_at_ms));
    journal::append(&world.host(), &format!("s/{id}"), 0, vec![event]).expect("new");
}

#[test]
fn a_delayed_event_is_delivered_when_its_time_has_come_and_holds_nobody_up() {
    let (world, relay) = world();
    let due_ms = world.now_ms() + DELAY_MS;
    append_delayed(&world, "later", due_ms);
    append(&world, ["now"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (1, 1));
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["2", "2"]);
    let rows = "SELECT subscription, position, stream, state, attempt, due_at_ms FROM exceptions ORDER BY 1";
    let row = |subscription| format!("{subscription}|1|s/later|scheduled|0|{due_ms}");
    assert_eq!(world.rows(rows), [row("all"), row("tasks")]);

    world.set_now_ms(due_ms - 1);
    assert!(!relay::is_due(&world.host(), &subscriptions()).expect("readable"));
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1, "a millisecond too early");

    world.set_now_ms(due_ms);
    assert!(relay::is_due(&world.host(), &subscriptions()).expect("readable"));
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (2, 2));
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
    assert_eq!(deliveries(&world), 4);
    let calls = world.calls.borrow();
    let attempts = calls
        .iter()
        .flat_map(|call| &call.headers)
        .filter(|(name, _)| name == "selvedge-attempt");
    assert!(
        attempts.map(|(_, attempt)| attempt).all(|attempt| attempt == "1"),
        "the first delivery is attempt 1"
    );
}

#[test]
fn a_time_in_the_past_delays_nothing() {
    let (world, relay) = world();
    append_delayed(&world, "past", world.now_ms() - 1);
    append_delayed(&world, "present", world.now_ms());
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 2);
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
}

#[test]
fn a_delayed_event_that_fails_is_tried_again_and_then_a_dead_letter() {
    let (world, relay) = world();
    world.component("tasks", listener("tasks", |_| Outcome::retry("not today")));
    let due_ms = world.now_ms() + DELAY_MS;
    append_delayed(&world, "later", due_ms);
    drain(&world, &relay);
    for at_ms in [due_ms, due_ms + 1_000, due_ms + 3_000] {
        world.set_now_ms(at_ms);
        drain(&world, &relay);
    }
    let letters = dead_letter::list(&world.host(), State::Dead, &Filter::default(), None, 10).expect("readable");
    let [letter] = &letters[..] else {
        panic!("one dead letter: {letters:?}")
    };
    assert_eq!((letter.attempts, &*letter.reason), (3, "not today"));
    let failed_at_ms = (letter.first_failed_at.unix_ms(), letter.last_failed_at.unix_ms());
    assert_eq!(failed_at_ms, (due_ms, due_ms + 3_000));
}

#[test]
fn a_clock_that_was_set_back_delivers_no_delayed_event_early() {
    let (world, relay) = world();
    let start_ms = world.now_ms();
    append_delayed(&world, "later", start_ms + DELAY_MS);
    drain(&world, &relay);
    world.set_now_ms(start_ms - 86_400_000);
    assert!(!relay::is_due(&world.host(), &subscriptions()).expect("readable"));
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 0);
    world.set_now_ms(start_ms + DELAY_MS);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
}

#[test]
fn a_crash_at_any_statement_loses_no_delayed_event() {
    for broken in [
        "INTO exceptions",
        "SET cursor",
        "UPDATE exceptions",
        "JOIN journal",
        "DELETE FROM exceptions",
        "WHERE position >",
    ] {
        let (world, relay) = world();
        let due_ms = world.now_ms() + DELAY_MS;
        append_delayed(&world, "later", due_ms);
        let crash = |at_ms| {
            world.set_now_ms(at_ms);
            world.broken_statements.borrow_mut().push(broken);
            drain(&world, &relay);
            world.broken_statements.borrow_mut().clear();
            world.set_now_ms(world.now_ms() + limits::LEASE_MS);
        };
        crash(world.now_ms());
        drain(&world, &relay);
        assert_eq!(heard(&world, "tasks"), 0, "{broken}: too early");
        assert_eq!(world.rows("SELECT state FROM exceptions"), ["scheduled"; 2], "{broken}");
        crash(due_ms);
        drain(&world, &relay);
        assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (1, 1), "{broken}");
        assert!(world.rows("SELECT * FROM exceptions").is_empty(), "{broken}");
    }
}

#[test]
fn many_delayed_events_are_put_aside_and_brought_in_bounded_batches() {
    let (world, relay) = world();
    let due_ms = world.now_ms() + DELAY_MS;
    (0..600).for_each(|number| append_delayed(&world, &number.to_string(), due_ms));
    drain(&world, &relay);
    assert_eq!(world.rows("SELECT COUNT(*) FROM exceptions"), ["1200"]);
    let passes = Rc::new(Cell::new(0));
    let counted = passes.clone();
    world.component(
        "all",
        listener("all", move |_| {
            counted.set(counted.get() + 1);
            Outcome::Success
        }),
    );
    world.set_now_ms(due_ms);
    drain(&world, &relay);
    assert_eq!(
        (heard(&world, "all"), heard(&world, "tasks"), passes.get()),
        (600, 600, 600)
    );
}
