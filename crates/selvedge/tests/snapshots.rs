//! A snapshot makes a long stream quick to load, and is never believed against the journal.

mod support;

use std::rc::Rc;

use selvedge::decide::{self, Context, NewEvent};
use selvedge::snapshot::Snapshots;
use selvedge::{Entity, Error, Event, Host, journal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::World;

/// Counts, and remembers how many events it was told of itself.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter<const SHAPE: i64> {
    value: i64,
    #[serde(skip)]
    applied: i64,
}

impl<const SHAPE: i64> Entity for Counter<SHAPE> {
    const KIND: &'static str = "tests.counter";
    const SOURCE: &'static str = "/counters";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::of_shape(SHAPE).every(10));
    type Command = i64;
    type Refusal = &'static str;

    fn decide(&self, by: &i64) -> Result<Vec<NewEvent>, &'static str> {
        Ok(vec![NewEvent::new("tests.counter.raised", &json!({"by": by}))])
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        let data: serde_json::Value = event.data_as()?;
        self.value += data["by"].as_i64().unwrap_or_default();
        self.applied += 1;
        Ok(())
    }
}

type First = Counter<1>;

/// A world with a counter of this many events, each of which raised it by one.
fn world(events: i64) -> (Rc<World>, Host) {
    let world = World::new(&[]);
    let host = world.host();
    for version in (0..events).step_by(100) {
        let event = |n: i64| {
            let event = Event::new(format!("e{n}"), "/counters", "tests.counter.raised");
            event.with_json(&json!({"by": 1})).expect("JSON")
        };
        let batch = (version..events.min(version + 100)).map(event).collect();
        journal::append(&host, "tests.counter/c", version, batch).expect("new");
    }
    (world, host)
}

/// Loads the counter, lets what follows the response happen, and says value, version and how many events were applied.
fn load<const SHAPE: i64>(world: &World, host: &Host) -> (i64, i64, i64) {
    let loaded = decide::load::<Counter<SHAPE>>(host, "c")
        .expect("readable")
        .expect("there");
    world.run();
    (loaded.state.value, loaded.version, loaded.state.applied)
}

#[test]
fn ten_thousand_events_are_loaded_by_applying_none_of_them() {
    let (world, host) = world(10_000);
    assert_eq!(load::<1>(&world, &host), (10_000, 10_000, 10_000));
    world.statements.set(0);
    assert_eq!(load::<1>(&world, &host), (10_000, 10_000, 0));
    assert_eq!(world.statements.get(), 1, "one statement reads snapshot and tail");
    let changed = decide::change::<First>(&host, "c", &5, Context::default()).expect("allowed");
    assert_eq!(
        (changed.state.value, changed.version, changed.state.applied),
        (10_005, 10_001, 1)
    );
    assert_eq!(load::<1>(&world, &host), (10_005, 10_001, 1));
}

#[test]
fn a_snapshot_is_written_after_every_so_many_events_and_not_before_the_answer() {
    let (world, host) = world(9);
    load::<1>(&world, &host);
    assert_eq!(world.rows("SELECT version FROM snapshots"), [""; 0]);
    for _ in 0..25 {
        decide::change::<First>(&host, "c", &1, Context::default()).expect("allowed");
        world.run();
    }
    assert_eq!(world.rows("SELECT version FROM snapshots"), ["30"]);
    let (value, version, applied) = load::<1>(&world, &host);
    assert_eq!((value, version, applied), (34, 34, 4));

    world.execute("DELETE FROM snapshots", Vec::new()).expect("emptied");
    decide::load::<First>(&host, "c").expect("readable");
    assert_eq!(
        world.rows("SELECT version FROM snapshots"),
        [""; 0],
        "the answer is there first"
    );
    world.run();
    assert_eq!(world.rows("SELECT version FROM snapshots"), ["34"]);
}

#[test]
fn a_lost_a_wrong_or_a_foreign_snapshot_changes_nothing_but_the_time_it_takes() {
    let (world, host) = world(30);
    load::<1>(&world, &host);
    let mistakes = [
        "DELETE FROM snapshots",
        "UPDATE snapshots SET event_id = 'another event'",
        "UPDATE snapshots SET event_source = '/elsewhere'",
        "UPDATE snapshots SET version = 12",
        "UPDATE snapshots SET version = 31",
        "UPDATE snapshots SET version = 1000000",
        "UPDATE snapshots SET state = 'no JSON'",
        "UPDATE snapshots SET state = '[]'",
        "UPDATE snapshots SET shape = 7",
    ];
    for mistake in mistakes {
        world.execute(mistake, Vec::new()).expect(mistake);
        assert_eq!(load::<1>(&world, &host), (30, 30, 30), "{mistake}");
        assert_eq!(load::<1>(&world, &host), (30, 30, 0), "{mistake}: a reader mends it");
    }
}

#[test]
fn a_state_of_another_shape_is_not_read() {
    let (world, host) = world(30);
    load::<1>(&world, &host);
    assert_eq!(load::<2>(&world, &host), (30, 30, 30));
    assert_eq!(load::<2>(&world, &host), (30, 30, 0));
    assert_eq!(
        load::<1>(&world, &host),
        (30, 30, 30),
        "the older program goes on without it"
    );
}

#[test]
fn a_snapshot_that_cannot_be_written_does_no_harm() {
    let (world, host) = world(30);
    world.broken_statements.borrow_mut().push("INSERT INTO snapshots");
    assert_eq!(load::<1>(&world, &host), (30, 30, 30));
    assert_eq!(load::<1>(&world, &host), (30, 30, 30));
}

#[test]
fn a_command_is_carried_out_once_even_if_a_snapshot_stands_for_it() {
    let (world, host) = world(5);
    let cause = Event::new("cause", "/elsewhere", "tests.something.happened");
    let context = Context::caused_by(&cause);
    let first = decide::change::<First>(&host, "c", &7, context).expect("allowed");
    assert_eq!((first.state.value, first.version), (12, 6));
    for _ in 0..20 {
        decide::change::<First>(&host, "c", &1, Context::default()).expect("allowed");
        world.run();
    }
    assert!(world.rows("SELECT version FROM snapshots WHERE version > 6").len() == 1);
    let again = decide::change::<First>(&host, "c", &7, context).expect("was there before");
    assert_eq!((again.state.value, again.version), (12, 6), "the first answer");
    let other = Event::new("other", "/elsewhere", "tests.something.happened");
    let changed = decide::change::<First>(&host, "c", &7, Context::caused_by(&other)).expect("allowed");
    assert_eq!((changed.state.value, changed.version), (39, 27));
}

#[test]
fn what_is_not_there_has_no_snapshot_either() {
    let world = World::new(&[]);
    let host = world.host();
    assert_eq!(decide::load::<First>(&host, "c").expect("readable"), None);
}
