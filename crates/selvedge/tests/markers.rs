//! Done markers outlive every possible redelivery, and go when there is none left, however many there are.

mod support;

use std::rc::Rc;

use selvedge::dead_letter::{self, Discarded, Filter, Id, Selection};
use selvedge::replay::{self, Mode, New, Start, State};
use selvedge::{Outcome, Relay, Timestamp, limits};
use support::World;
use support::listening::{append, drain, heard, listener, world};

/// How many done markers `tasks` has.
fn markers(world: &World) -> usize {
    world
        .store
        .borrow()
        .keys()
        .filter(|key| key.starts_with("done/tasks/"))
        .count()
}

/// Lets a week go by, and has the relay collect.
fn collect_after_a_week(world: &Rc<World>, relay: &Rc<Relay>) {
    world.set_now_ms(world.now_ms() + limits::MARKER_RETENTION_MS + 1);
    drain(world, relay);
}

/// Ten events of which `tasks` refuses the fourth.
fn with_a_dead_letter() -> (Rc<World>, Rc<Relay>) {
    let (world, relay) = world();
    let judge = |event: &selvedge::Event| match &*event.id {
        "4" => Outcome::drop("no"),
        _ => Outcome::Success,
    };
    world.component("tasks", listener("tasks", judge));
    append(&world, 1..=10, "todos.task.created");
    drain(&world, &relay);
    assert_eq!((heard(&world, "tasks"), markers(&world)), (9, 9));
    (world, relay)
}

fn letter() -> Selection {
    Selection::Ids(vec![Id {
        subscription: "tasks".to_owned(),
        position: 4,
    }])
}

fn replay_from(world: &Rc<World>, id: &str, position: i64) {
    let new = New {
        id: id.to_owned(),
        digest: None,
        subscription: "tasks".to_owned(),
        start: Start::Position(position),
        types: Vec::new(),
        mode: Mode::Redeliver,
        function: None,
        rate_per_second: 1_000,
    };
    replay::create(&world.host(), &new)
        .expect("writable")
        .expect("there is room");
}

#[test]
fn a_dead_letter_keeps_the_markers_behind_it_until_it_is_decided_upon() {
    let (world, relay) = with_a_dead_letter();
    for _ in 0..3 {
        collect_after_a_week(&world, &relay);
        assert_eq!(markers(&world), 6, "those before it are gone, those behind it are not");
    }
    let taken = dead_letter::redrive(&world.host(), &letter(), 1, world.now_ms() + 60_000).expect("writable");
    assert_eq!(taken.len(), 1);
    world.set_now_ms(world.now_ms() + limits::COLLECT_EVERY_MS);
    drain(&world, &relay);
    assert_eq!(markers(&world), 6, "a redriven letter keeps them too");
}

#[test]
fn a_discarded_letter_keeps_none() {
    let (world, relay) = with_a_dead_letter();
    collect_after_a_week(&world, &relay);
    let record = Discarded {
        at: Timestamp::from_unix_ms(world.now_ms()),
        by: None,
        reason: "a test".to_owned(),
    };
    dead_letter::discard(&world.host(), &letter(), &record).expect("writable");
    collect_after_a_week(&world, &relay);
    assert_eq!(markers(&world), 0);
    let found = dead_letter::list(
        &world.host(),
        dead_letter::State::Discarded,
        &Filter::default(),
        None,
        10,
    );
    assert_eq!(found.expect("readable").len(), 1, "the record stays");
}

#[test]
fn a_running_replay_keeps_what_it_has_yet_to_look_at() {
    let (world, relay) = world();
    append(&world, 1..=10, "todos.task.created");
    drain(&world, &relay);
    replay_from(&world, "r", 6);
    // Its next step is due in the far future, as far as this test is concerned.
    world
        .broken_statements
        .borrow_mut()
        .push("UPDATE replays SET lease_token");
    collect_after_a_week(&world, &relay);
    assert_eq!(markers(&world), 5);
    world.broken_statements.borrow_mut().clear();
    drain(&world, &relay);
    let through = replay::get(&world.host(), "r").expect("readable").expect("there");
    assert_eq!(
        (through.state, through.redelivered),
        (State::Done, 0),
        "nothing that is done is brought again"
    );
    collect_after_a_week(&world, &relay);
    assert_eq!(markers(&world), 0);
}

#[test]
fn a_cancelled_replay_keeps_none_and_a_later_one_takes_what_was_collected_for_done() {
    let (world, relay) = world();
    append(&world, 1..=10, "todos.task.created");
    drain(&world, &relay);
    replay_from(&world, "cancelled", 1);
    replay::cancel(&world.host(), "cancelled").expect("writable");
    collect_after_a_week(&world, &relay);
    assert_eq!(markers(&world), 0);

    replay::resume(&world.host(), "cancelled").expect("writable");
    replay_from(&world, "later", 1);
    drain(&world, &relay);
    for id in ["cancelled", "later"] {
        let replay = replay::get(&world.host(), id).expect("readable").expect("there");
        assert_eq!((replay.state, replay.redelivered), (State::Done, 0), "{id}");
    }
    assert_eq!(heard(&world, "tasks"), 10, "a second effect would break its unique key");
}

#[test]
fn one_collection_takes_what_many_minutes_left_behind() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let many = 3 * i64::from(limits::COLLECT_EVENTS_MAX) + 7;
    let copies = format!(
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
         INSERT INTO journal (position, id, source, type, stream, version, time_ms)
         SELECT i, i, source, type, 'copies', i, time_ms FROM journal, n WHERE position = 1"
    );
    world.execute(&copies, Vec::new()).expect("writable");
    drain(&world, &relay);
    assert_eq!(markers(&world) as i64, many);
    collect_after_a_week(&world, &relay);
    assert_eq!(markers(&world), 0);
    assert_eq!(
        world.rows("SELECT collected, forgotten FROM subscriptions WHERE name = 'tasks'"),
        [format!("{many}|{many}")]
    );
}

#[test]
fn a_collection_that_was_cut_off_is_made_good() {
    let (world, relay) = world();
    append(&world, 1..=10, "todos.task.created");
    drain(&world, &relay);
    world
        .broken_statements
        .borrow_mut()
        .push("UPDATE subscriptions SET collected");
    collect_after_a_week(&world, &relay);
    let noted = "SELECT collected, forgotten FROM subscriptions WHERE name = 'all'";
    assert_eq!(world.rows(noted), ["0|10"], "noted before the keys went");
    world.broken_statements.borrow_mut().clear();
    collect_after_a_week(&world, &relay);
    assert_eq!(world.rows(noted), ["10|10"]);
    assert!(world.store.borrow().is_empty());
}
