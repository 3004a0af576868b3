//! By way of Kafka: topics that notifications and analytics hear through the consumer, which commits what is done.

use std::sync::Arc;

use selvedge_engine::Program;
use selvedge_events::Event;
use selvedge_events::kafka_binding::{self, Record};
use selvedge_testkit::World;
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::sweep::Sweep;
use serde_json::json;

use super::{Application, PATIENCE, arrived_in_order, assert_kept, no_dead_letters, warm_up};
use crate::application::promise;
use crate::todo_journey::{only_its_events, todo_journey};

fn by_kafka() -> anyhow::Result<Arc<Program>> {
    let application = Application {
        broker: ".kafka",
        ..Application::default()
    };
    application.compile()
}

#[test]
fn every_call_of_a_todo_by_kafka_may_fail_in_every_way() -> anyhow::Result<()> {
    let check = |world: &World| {
        let mut violations = only_its_events(world);
        violations.extend(no_dead_letters(world));
        let records = world.network.kafka.records("todos");
        let events = records.iter().map(|record| kafka_binding::decode(record).ok());
        violations.extend(arrived_in_order(world, events));
        violations
    };
    let report = Sweep::of(&by_kafka()?)
        .after(warm_up)
        .every(13)
        .run(&todo_journey, &check);
    assert_kept("a todo by Kafka", 100, &report);
    Ok(())
}

/// Somebody else writes an event to a topic, twice, and a record that is none.
async fn outside_journey(world: &World) {
    let event = Event::new("r1", "https://weather.example", "weather.report.published");
    let event = event.with_json(&json!({ "celsius": 21 })).expect("it is JSON");
    let event = kafka_binding::encode_binary(&event).expect("a valid event");
    let no_event = Record {
        headers: Vec::new(),
        value: Some(b"\xff\xfe".to_vec()),
    };
    let kafka = &world.network.kafka;
    kafka.write("events", 0, &event);
    kafka.write("events", 0, &no_event);
    kafka.write("events", 1, &event);
    let taken = async || {
        world.revive();
        !kafka.groups("events").is_empty() && kafka.behind().is_empty()
    };
    // Whether they were is asked when the system is at rest.
    _ = world.until("all records are taken", PATIENCE, taken).await;
}

/// The event and the word of the record that is none are in the journal, once each, and were counted.
fn outside_kept(world: &World) -> Vec<Violation> {
    let mut violations = promise(world);
    violations.extend(no_dead_letters(world));
    let types = ["weather.report.published", "kafka.record.refused"];
    let counts = types.map(|name| {
        let count = "SELECT count(*) FROM journal WHERE type = ?1";
        world.sql.number_of(count, &[name])
    });
    if counts != [1, 1] || world.sql.number("SELECT count(*) FROM journal") != 2 {
        violations.push(Violation(format!("of {types:?} the journal has {counts:?}")));
    }
    violations
}

#[test]
fn every_call_of_what_others_write_to_a_topic_may_fail_in_every_way() -> anyhow::Result<()> {
    let report = Sweep::of(&by_kafka()?)
        .after(warm_up)
        .every(13)
        .run(&outside_journey, &outside_kept);
    assert_kept("an event that others write to a Kafka topic", 60, &report);
    Ok(())
}
