//! Commands are decided, appended once, and answered the same again.

mod support;

use std::rc::Rc;

use selvedge::decide::{self, Context, NewEvent, Rejection};
use selvedge::host::Host;
use selvedge::http::{Method, Request};
use selvedge::idempotency::Key;
use selvedge::{Entity, Error, Event, bell, journal};
use serde_json::json;
use support::{START_MS, World};

/// Counts up to three.
#[derive(Debug, Default, PartialEq)]
struct Counter {
    value: i64,
}

impl Entity for Counter {
    const KIND: &'static str = "tests.counter";
    const SOURCE: &'static str = "/counters";
    type Command = i64;
    type Refusal = &'static str;

    fn decide(&self, by: &i64) -> Result<Vec<NewEvent>, &'static str> {
        match *by {
            0 => Ok(Vec::new()),
            by if self.value + by > 3 => Err("too many"),
            by => Ok(vec![NewEvent::new("tests.counter.raised", &json!({"by": by}))]),
        }
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        let data: serde_json::Value = event.data_as()?;
        self.value += data["by"].as_i64().unwrap_or_default();
        Ok(())
    }
}

fn key(value: &str, body: &str) -> Key {
    let headers = [(
        "idempotency-key".parse().expect("a name"),
        value.parse().expect("a value"),
    )];
    let request = Request::new(
        Method::POST,
        "/counters",
        headers.into_iter().collect(),
        body.as_bytes().to_vec(),
    );
    Key::of(&request, Counter::SOURCE).expect("valid").expect("there")
}

fn world() -> (Rc<World>, Host) {
    let world = World::new(&[]);
    let host = world.host();
    (world, host)
}

#[test]
fn an_event_is_stored_with_everything_it_has() {
    let (world, host) = world();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = Context {
        trace: Some(trace),
        ..Context::default()
    };
    let created = decide::create::<Counter>(&host, "c1", &2, context).expect("allowed");
    assert_eq!((created.state.value, created.version), (2, 1));
    let record = journal::read_stream(&host, "tests.counter/c1")
        .expect("readable")
        .remove(0);
    assert_eq!((record.position, record.version), (1, 1));
    assert_eq!(record.event.traceparent(), Some(trace));
    assert_eq!(record.event.subject.as_deref(), Some("c1"));
    assert_eq!(record.event.time.map(|time| time.unix_ms()), Some(START_MS));
    assert_eq!(record.event.data.as_bytes(), br#"{"by":2}"#);
    assert_eq!(
        world.rows("SELECT type, source, time_ms FROM journal"),
        [format!("tests.counter.raised|/counters|{START_MS}")]
    );
}

#[test]
fn a_command_without_a_key_is_one_statement_and_a_refused_one_changes_nothing() {
    let (world, host) = world();
    world.statements.set(0);
    decide::create::<Counter>(&host, "c1", &2, Context::default()).expect("allowed");
    assert_eq!(world.statements.get(), 1);
    let refused = decide::change::<Counter>(&host, "c1", &2, Context::default());
    assert!(matches!(refused, Err(Rejection::Refused("too many"))));
    let unchanged = decide::change::<Counter>(&host, "c1", &0, Context::default()).expect("nothing to do");
    assert_eq!(unchanged.version, 1);
    assert_eq!(world.rows("SELECT COUNT(*) FROM journal"), ["1"]);
}

#[test]
fn a_stream_takes_each_version_once() {
    let (_world, host) = world();
    let event = |id: &str| Event::new(id, "/counters", "tests.counter.raised");
    journal::append(&host, "s", 0, vec![event("1"), event("2")]).expect("new");
    let late = journal::append(&host, "s", 1, vec![event("3")]);
    assert!(matches!(
        late,
        Err(Error::VersionConflict {
            expected_version: 1,
            ..
        })
    ));
    let twice = journal::append(&host, "other", 0, vec![event("3"), event("2")]);
    assert!(matches!(twice, Err(Error::DuplicateEvent { .. })));
    assert_eq!(
        journal::read_stream(&host, "other").expect("readable"),
        [],
        "all or nothing"
    );
}

#[test]
fn bad_events_are_not_appended() {
    let (world, host) = world();
    let event = |data: usize| {
        Event::new("1", "/counters", "tests.counter.raised")
            .with_json(&"x".repeat(data))
            .expect("JSON")
    };
    assert!(matches!(
        journal::append(&host, "s", 0, vec![event(selvedge::limits::EVENT_BYTES_MAX)]),
        Err(Error::EventTooLarge { .. })
    ));
    assert!(matches!(
        journal::append(&host, "s", 0, Vec::new()),
        Err(Error::TooManyEvents { .. })
    ));
    assert!(matches!(
        journal::append(&host, "s", 0, vec![event(1); 101]),
        Err(Error::TooManyEvents { .. })
    ));
    assert!(matches!(
        journal::append(&host, "s", 0, vec![Event::new("", "/", "a.b.c")]),
        Err(Error::Event(_))
    ));
    assert_eq!(world.rows("SELECT COUNT(*) FROM journal"), ["0"]);
}

#[test]
fn a_version_that_the_caller_insists_on_must_be_the_present_one() {
    let (_world, host) = world();
    decide::create::<Counter>(&host, "c1", &1, Context::default()).expect("allowed");
    let at = |version| Context {
        expected_version: Some(version),
        ..Context::default()
    };
    assert!(matches!(
        decide::change::<Counter>(&host, "c1", &1, at(7)),
        Err(Rejection::Stale { version: 1 })
    ));
    assert_eq!(
        decide::change::<Counter>(&host, "c1", &1, at(1))
            .expect("the present one")
            .version,
        2
    );
}

#[test]
fn the_same_key_gives_the_first_answer_again() {
    let (world, host) = world();
    let first_key = key("k1", "{\"by\":1}");
    let context = Context {
        key: Some(&first_key),
        ..Context::default()
    };
    let first = decide::create::<Counter>(&host, &first_key.entity_id(), &1, context).expect("allowed");
    decide::change::<Counter>(&host, &first_key.entity_id(), &1, Context::default()).expect("allowed");

    let again = decide::create::<Counter>(&host, &first_key.entity_id(), &1, context).expect("the first answer");
    assert_eq!((again.state.value, again.version), (first.state.value, first.version));
    let other_key = key("k1", "{\"by\":2}");
    let context = Context {
        key: Some(&other_key),
        ..Context::default()
    };
    let other = decide::create::<Counter>(&host, &other_key.entity_id(), &2, context);
    assert!(matches!(other, Err(Rejection::KeyReused)));
    assert_eq!(world.rows("SELECT COUNT(*) FROM journal"), ["2"]);
}

#[test]
fn a_keyed_change_is_made_once() {
    let (world, host) = world();
    decide::create::<Counter>(&host, "c1", &1, Context::default()).expect("allowed");
    let change_key = key("k2", "");
    let context = Context {
        key: Some(&change_key),
        ..Context::default()
    };
    for _ in 0..3 {
        let changed = decide::change::<Counter>(&host, "c1", &1, context).expect("the first answer");
        assert_eq!((changed.state.value, changed.version), (2, 2));
    }
    assert_eq!(world.rows("SELECT COUNT(*) FROM journal"), ["2"]);
}

#[test]
fn the_bell_is_rung_only_when_no_relay_is_awake() {
    let (world, host) = world();
    let bells = |world: &World| {
        world
            .calls
            .borrow()
            .iter()
            .filter(|call| call.url.ends_with(bell::PATH))
            .count()
    };
    world
        .execute("UPDATE relay SET awake_until_ms = ?", vec![(START_MS + 1_000).into()])
        .expect("awake");
    decide::create::<Counter>(&host, "c1", &1, Context::default()).expect("allowed");
    world.run();
    assert_eq!(bells(&world), 0);
    for (place, awake_until_ms) in [START_MS, START_MS + 3_600_000].into_iter().enumerate() {
        world
            .execute("UPDATE relay SET awake_until_ms = ?", vec![awake_until_ms.into()])
            .expect("asleep");
        decide::create::<Counter>(&host, &format!("d{place}"), &1, Context::default()).expect("allowed");
        world.run();
        assert_eq!(
            bells(&world),
            place + 1,
            "a mark that has ended, or is from before the clock was set back"
        );
    }
}

#[test]
fn a_command_that_answers_an_event_is_carried_out_once_and_says_why() {
    let (world, host) = world();
    let cause = Event::new("e1", "/elsewhere", "tests.something.happened").with_extension("correlationid", "c");
    let context = Context::caused_by(&cause);
    let first = decide::create::<Counter>(&host, "c1", &2, context).expect("allowed");
    let again = decide::create::<Counter>(&host, "c1", &2, context).expect("was there before");
    assert_eq!((first.version, again.version), (1, 1));
    let record = journal::read_stream(&host, "tests.counter/c1")
        .expect("readable")
        .remove(0);
    assert_eq!(record.event.correlationid(), Some("c"));
    assert_eq!(record.event.causationid(), Some("e1"));

    let other = Event::new("e2", "/elsewhere", "tests.something.happened");
    let changed = decide::change::<Counter>(&host, "c1", &1, Context::caused_by(&other)).expect("allowed");
    let again = decide::change::<Counter>(&host, "c1", &1, Context::caused_by(&other)).expect("was there before");
    assert_eq!((changed.version, again.version), (2, 2));
    assert_eq!(
        world.rows("SELECT json_extract(extensions, '$.correlationid') FROM journal"),
        ["c", "e2"]
    );
}
