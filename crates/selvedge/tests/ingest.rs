//! Events from outside are appended once, all of a request or none.

mod support;

use selvedge::ingest::{self, Ingested, Refused};
use selvedge::{Error, Event, Timestamp, limits};
use serde_json::json;
use support::{START_MS, World};

fn event(id: &str) -> Event {
    Event::new(id, "https://weather.example", "weather.report.published")
        .with_json(&json!({"celsius": 21}))
        .expect("JSON")
}

fn keyed(id: &str, key: &str) -> Event {
    event(id).with_extension("partitionkey", key)
}

fn counts(ingested: Result<Ingested, Refused>) -> (usize, usize) {
    let ingested = ingested.expect("is taken");
    assert_eq!(ingested.append.is_some(), ingested.appended > 0);
    (ingested.appended, ingested.known)
}

#[test]
fn a_new_event_is_one_statement_and_has_a_stream_of_its_own() {
    let world = World::new(&[]);
    world.statements.set(0);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(
        counts(ingest::ingest(&world.host(), vec![event("1")], Some(trace))),
        (1, 0)
    );
    assert_eq!(world.statements.get(), 1);
    assert_eq!(
        world.rows("SELECT stream, version, time_ms, extensions FROM journal"),
        [format!(
            "external/id/https://weather.example/1|1|{START_MS}|{{\"correlationid\":\"1\",\"traceparent\":\"{trace}\"}}"
        )]
    );
}

#[test]
fn events_with_one_partition_key_follow_each_other_in_one_stream() {
    let world = World::new(&[]);
    let host = world.host();
    let batch = vec![keyed("1", "paris"), event("2"), keyed("3", "paris"), keyed("4", "rome")];
    assert_eq!(counts(ingest::ingest(&host, batch, None)), (4, 0));
    assert_eq!(
        counts(ingest::ingest(
            &host,
            vec![keyed("5", "paris"), keyed("6", "paris")],
            None
        )),
        (2, 0)
    );
    assert_eq!(
        world.rows("SELECT id, version FROM journal WHERE stream LIKE '%/paris' ORDER BY position"),
        ["1|1", "3|2", "5|3", "6|4"]
    );
    assert_eq!(
        world.rows("SELECT id FROM journal ORDER BY position").join(""),
        "123456"
    );
}

#[test]
fn what_was_sent_before_is_taken_again_and_appended_once() {
    let world = World::new(&[]);
    let host = world.host();
    counts(ingest::ingest(&host, vec![event("1"), keyed("2", "k")], Some("first")));
    world.set_now_ms(START_MS + 5_000);
    let again = vec![event("1"), keyed("2", "k"), event("3"), event("3")];
    assert_eq!(counts(ingest::ingest(&host, again, Some("second"))), (1, 3));
    assert_eq!(
        counts(ingest::ingest(&host, vec![event("3"), event("1")], None)),
        (0, 2)
    );
    assert_eq!(world.rows("SELECT id FROM journal ORDER BY position"), ["1", "2", "3"]);
}

#[test]
fn another_content_under_a_known_id_is_refused_and_nothing_is_taken() {
    let world = World::new(&[]);
    let host = world.host();
    let time = |ms| event("1").with_time(Timestamp::from_unix_ms(ms));
    counts(ingest::ingest(&host, vec![time(1_000)], None));
    let different = [
        time(2_000),
        event("1").with_json(&json!({"celsius": 22})).expect("JSON"),
        event("1").with_subject("paris"),
        keyed("1", "paris"),
        event("1").with_extension("more", true),
        event("1").with_extension("correlationid", "other"),
        Event::new("1", "https://weather.example", "weather.report.withdrawn"),
    ];
    for other in different {
        let refused = ingest::ingest(&host, vec![event("new"), other.clone()], None);
        assert!(
            matches!(refused, Err(Refused::Different { id, .. }) if id == "1"),
            "{other:?}"
        );
    }
    assert_eq!(
        counts(ingest::ingest(&host, vec![event("1")], None)),
        (0, 1),
        "no time is any time"
    );
    let within = ingest::ingest(&host, vec![event("a"), event("a").with_subject("x")], None);
    assert!(matches!(within, Err(Refused::Different { .. })));
    assert_eq!(world.rows("SELECT COUNT(*) FROM journal"), ["1"]);
}

#[test]
fn bad_events_are_refused_before_anything_is_written() {
    let world = World::new(&[]);
    let host = world.host();
    let failed = |events| match ingest::ingest(&host, events, None) {
        Err(Refused::Failed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(failed(Vec::new()), Error::TooManyEvents { .. }));
    assert!(matches!(failed(vec![event("1"); 101]), Error::TooManyEvents { .. }));
    let large = event("2")
        .with_json(&"x".repeat(limits::EVENT_BYTES_MAX))
        .expect("JSON");
    assert!(matches!(failed(vec![event("1"), large]), Error::EventTooLarge { .. }));
    assert!(matches!(
        failed(vec![event("1"), Event::new("", "/", "a.b.c")]),
        Error::Event(_)
    ));
    assert_eq!(world.rows("SELECT COUNT(*) FROM journal"), ["0"]);
}
