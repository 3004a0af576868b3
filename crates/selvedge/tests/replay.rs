//! A replay brings a subscription what it lacks, once, at a bounded rate, and goes on after whatever stopped it.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use selvedge::replay::{self, Mode, New, Replay, Start, State};
use selvedge::{Outcome, Relay, Timestamp, inbox, limits, relay};
use support::World;
use support::listening::{append, drain, heard, listener, subscriptions, world};

fn new(id: &str, start: Start) -> New {
    New {
        id: id.to_owned(),
        digest: None,
        subscription: "tasks".to_owned(),
        start,
        types: Vec::new(),
        mode: Mode::Redeliver,
        function: None,
        rate_per_second: 1_000,
    }
}

fn begin(world: &Rc<World>, new: &New) -> Replay {
    replay::create(&world.host(), new)
        .expect("writable")
        .expect("there is room")
}

fn get(world: &Rc<World>, id: &str) -> Replay {
    replay::get(&world.host(), id).expect("readable").expect("there")
}

/// Forgets that `tasks` has heard these events, as if its store had been lost.
fn lose(world: &World, ids: impl IntoIterator<Item = usize>) {
    for id in ids {
        world
            .store
            .borrow_mut()
            .remove(&inbox::marker("tasks", "/tests", &id.to_string()));
        world
            .execute(
                "DELETE FROM heard WHERE subscription = 'tasks' AND id = ?",
                vec![id.to_string().into()],
            )
            .expect("writable");
    }
}

/// A world whose `tasks` has heard `count` events and says which it hears from now on.
fn settled(count: usize) -> (Rc<World>, Rc<Relay>, Rc<RefCell<Vec<String>>>) {
    let (world, relay) = world();
    append(&world, 1..=count, "todos.task.created");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), count);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sees = seen.clone();
    let judge = move |event: &selvedge::Event| {
        sees.borrow_mut().push(event.id.clone());
        Outcome::Success
    };
    world.component("tasks", listener("tasks", judge));
    (world, relay, seen)
}

/// Has the cron wake the relay every second, as long as something is due.
fn run(world: &Rc<World>, relay: &Rc<Relay>, seconds: i64) {
    for _ in 0..seconds {
        let next_ms = world.now_ms() + 1_000;
        if relay::is_due(&world.host(), &subscriptions()).expect("readable") {
            relay.ring(&world.host());
        }
        world.run_until_ms(next_ms - 1);
        world.set_now_ms(next_ms.max(world.now_ms()));
    }
}

#[test]
fn what_is_missing_is_brought_and_nothing_that_is_done() {
    let (world, relay, seen) = settled(1_200);
    lose(&world, [3, 700, 1_200]);
    let replay = begin(&world, &new("r", Start::Position(1)));
    assert_eq!(
        (replay.to_position, replay.percent, replay.state),
        (1_200, 0, State::Running)
    );
    assert!(
        relay::is_due(&world.host(), &subscriptions()).expect("readable"),
        "the cron wakes the relay for it"
    );
    run(&world, &relay, 2);
    assert_eq!(*seen.borrow(), ["3", "700", "1200"]);
    let replay = get(&world, "r");
    assert_eq!(
        (replay.state, replay.percent, replay.redelivered, replay.position),
        (State::Done, 100, 3, 1_200)
    );
    assert!(world.rows("SELECT * FROM exceptions").is_empty());
    assert!(!relay::is_due(&world.host(), &subscriptions()).expect("readable"));
}

#[test]
fn only_the_part_and_the_types_that_were_asked_for() {
    let (world, relay, seen) = settled(10);
    let later_ms = world.now_ms() + 60_000;
    world.set_now_ms(later_ms);
    append(&world, 11..=12, "todos.task.completed");
    drain(&world, &relay);
    seen.borrow_mut().clear();
    lose(&world, 1..=12);
    begin(&world, &new("position", Start::Position(9)));
    run(&world, &relay, 2);
    assert_eq!(*seen.borrow(), ["9", "10", "11", "12"]);

    seen.borrow_mut().clear();
    lose(&world, 9..=12);
    begin(&world, &new("time", Start::Time(Timestamp::from_unix_ms(later_ms))));
    run(&world, &relay, 2);
    assert_eq!(*seen.borrow(), ["11", "12"]);

    seen.borrow_mut().clear();
    let completed = New {
        types: vec!["*.*.completed".parse().expect("a pattern")],
        ..new("types", Start::Position(1))
    };
    lose(&world, 11..=12);
    begin(&world, &completed);
    run(&world, &relay, 2);
    assert_eq!(*seen.borrow(), ["11", "12"]);
    for beyond in [
        Start::Position(13),
        Start::Position(i64::MAX),
        Start::Time(Timestamp::from_unix_ms(later_ms + 1)),
    ] {
        let id = format!("{beyond:?}");
        begin(&world, &new(&id, beyond));
        run(&world, &relay, 2);
        assert_eq!((get(&world, &id).state, get(&world, &id).redelivered), (State::Done, 0));
    }
}

#[test]
fn what_has_an_exception_keeps_it() {
    let (world, relay) = world();
    world.component("tasks", listener("tasks", |_| Outcome::drop("no")));
    append(&world, 1..=2, "todos.task.created");
    drain(&world, &relay);
    let before = world.rows("SELECT position, state, attempt, reason FROM exceptions");
    begin(&world, &new("r", Start::Position(1)));
    run(&world, &relay, 2);
    assert_eq!(
        world.rows("SELECT position, state, attempt, reason FROM exceptions"),
        before
    );
    assert_eq!((get(&world, "r").state, get(&world, "r").redelivered), (State::Done, 0));
}

#[test]
fn the_rate_holds_however_much_is_missing() {
    let (world, relay, seen) = settled(100);
    lose(&world, 1..=100);
    let start_ms = world.now_ms();
    begin(
        &world,
        &New {
            rate_per_second: 10,
            ..new("r", Start::Position(1))
        },
    );
    for second in 1..=10_usize {
        run(&world, &relay, 1);
        let (brought, wanted) = (seen.borrow().len(), second * 10);
        assert!(
            brought <= wanted + 10 && brought + 20 >= wanted,
            "{brought} after {second} s"
        );
        assert!(
            world.rows("SELECT * FROM exceptions").len() <= 20,
            "what waits is bounded"
        );
    }
    run(&world, &relay, 3);
    assert_eq!((seen.borrow().len(), heard(&world, "tasks")), (100, 100));
    assert!(world.now_ms() - start_ms >= 9_900);
}

#[test]
fn a_cancelled_replay_stops_and_a_resumed_one_goes_on_where_it_was() {
    let (world, relay, seen) = settled(100);
    lose(&world, 1..=100);
    begin(
        &world,
        &New {
            rate_per_second: 10,
            ..new("r", Start::Position(1))
        },
    );
    run(&world, &relay, 3);
    let cancelled = replay::cancel(&world.host(), "r").expect("writable").expect("there");
    assert_eq!(cancelled.state, State::Cancelled);
    run(&world, &relay, 10);
    let brought = seen.borrow().len();
    assert!((20..=50).contains(&brought), "{brought}");
    assert_eq!(get(&world, "r").position, cancelled.position);

    let resumed = replay::resume(&world.host(), "r").expect("writable").expect("there");
    assert_eq!((resumed.state, resumed.position), (State::Running, cancelled.position));
    run(&world, &relay, 20);
    assert_eq!(
        (get(&world, "r").state, seen.borrow().len(), heard(&world, "tasks")),
        (State::Done, 100, 100)
    );
    let over = replay::cancel(&world.host(), "r").expect("writable").expect("there");
    assert_eq!(over.state, State::Done, "what is through stays so");
    assert_eq!(replay::cancel(&world.host(), "nobody").expect("readable"), None);
}

#[test]
fn a_step_that_was_cut_off_anywhere_is_made_again() {
    for broken in [
        "INSERT INTO exceptions",
        "UPDATE replays SET cursor",
        "UPDATE replays SET lease_token",
    ] {
        let (world, relay, seen) = settled(30);
        lose(&world, 1..=30);
        begin(&world, &new("r", Start::Position(1)));
        world.broken_statements.borrow_mut().push(broken);
        run(&world, &relay, 1);
        append(&world, [31], "todos.task.created");
        run(&world, &relay, 1);
        assert!(
            seen.borrow().contains(&"31".to_owned()),
            "{broken}: a replay that fails holds up no delivery"
        );
        assert_eq!(get(&world, "r").state, State::Running, "{broken}");
        world.broken_statements.borrow_mut().clear();
        run(&world, &relay, 10);
        assert_eq!(
            (get(&world, "r").state, heard(&world, "tasks")),
            (State::Done, 31),
            "{broken}"
        );
        let once: BTreeSet<String> = seen.borrow().iter().cloned().collect();
        assert_eq!(once.len(), seen.borrow().len(), "{broken}: nothing came twice");
    }
}

#[test]
fn the_same_id_begins_one_replay() {
    let (world, _relay, _seen) = settled(1);
    let first = begin(&world, &new("r", Start::Position(1)));
    assert_eq!(
        begin(
            &world,
            &New {
                rate_per_second: 5,
                ..new("r", Start::Position(7))
            }
        ),
        first
    );
    assert_eq!(replay::list(&world.host()).expect("readable"), [first]);
    let unknown = New {
        subscription: "nobody".to_owned(),
        ..new("x", Start::Position(1))
    };
    assert_eq!(replay::create(&world.host(), &unknown).expect("readable"), None);
    for number in 1..limits::REPLAYS_MAX {
        begin(&world, &new(&number.to_string(), Start::Position(1)));
    }
    assert_eq!(
        replay::create(&world.host(), &new("one more", Start::Position(1))).expect("readable"),
        None
    );
}

#[test]
fn without_a_replay_a_drain_costs_what_it_did() {
    let (world, relay, _seen) = settled(10);
    begin(&world, &new("r", Start::Position(1)));
    run(&world, &relay, 2);
    assert_eq!(get(&world, "r").state, State::Done);
    world.statements.set(0);
    drain(&world, &relay);
    assert_eq!(world.statements.get(), 1);
}
