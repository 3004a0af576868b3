//! A saga whose state is a stream of the journal.

use selvedge::decide::{self, Context, NewEvent, Rejection};
use selvedge::saga::{Input, NotDue, State, Step};
use selvedge::{Entity, Error, Event, Host, Timestamp, journal};
use serde_json::json;

use crate::run::*;
use crate::support::World;

/// A journey as an entity of the journal.
#[derive(Debug, Default, PartialEq)]
struct Journey(State);

impl Entity for Journey {
    const KIND: &'static str = "journeys.journey";
    const SOURCE: &'static str = JOURNEY.source;
    type Command = (Input, Timestamp);
    type Refusal = NotDue;

    fn decide(&self, (input, now): &Self::Command) -> Result<Vec<NewEvent>, NotDue> {
        let actions = JOURNEY.apply(&self.0, input, *now)?;
        Ok(actions
            .iter()
            .map(|action| JOURNEY.event(action, |_| json!({})))
            .collect())
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        if let Some(action) = JOURNEY.action(event)? {
            self.0.evolve(&action, &event.id);
        }
        Ok(())
    }
}

fn hear(host: &Host, event: &Event) -> Result<i64, Rejection<NotDue>> {
    let input = JOURNEY.input(event)?.expect("an answer");
    let command = (input, Timestamp::from_unix_ms(host.now_ms()));
    decide::change::<Journey>(host, "j1", &command, Context::caused_by(event)).map(|journey| journey.version)
}

fn booked(id: &str, step: usize) -> Event {
    let Step { source, succeeded, .. } = JOURNEY.steps[step];
    Event::new(id, source, succeeded[0])
        .with_json(&json!({}))
        .expect("JSON")
}

#[test]
fn an_event_that_is_delivered_twice_is_heard_once_and_one_decision_is_one_insert() {
    let world = World::new(&[]);
    let host = world.host();
    let start = (Input::Start, Timestamp::from_unix_ms(world.now_ms()));
    decide::create::<Journey>(&host, "j1", &start, Context::default()).expect("new");
    let answer = booked("answer-1", FLIGHT);
    world.statements.set(0);
    assert_eq!(hear(&host, &answer).expect("heard"), 5);
    assert_eq!(world.statements.get(), 2, "the stream is read, and appended to once");
    assert_eq!(hear(&host, &answer).expect("heard before"), 5);
    assert_eq!(
        hear(&host, &booked("answer-2", FLIGHT)).expect("nothing new"),
        5,
        "the same in another event"
    );
    let causes =
        "SELECT type, extensions ->> 'causationid', extensions ->> 'deliverat' IS NULL FROM journal ORDER BY position";
    assert_eq!(
        world.rows(causes),
        [
            "flights.seat.requested|NULL|1",
            "journeys.timer.set|NULL|0",
            "journeys.step.succeeded|answer-1|1",
            "visas.visa.requested|answer-1|1",
            "journeys.timer.set|answer-1|0",
        ]
    );
}

#[test]
fn of_two_answers_at_once_the_second_is_decided_on_what_the_first_made() {
    let world = World::new(&[]);
    let host = world.host();
    let start = (Input::Start, Timestamp::from_unix_ms(world.now_ms()));
    decide::create::<Journey>(&host, "j1", &start, Context::default()).expect("new");
    let before = journal::read_stream(&host, "journeys.journey/j1").expect("readable");
    hear(&host, &booked("answer-1", FLIGHT)).expect("heard");
    // What the second would have written on what it had read is refused by the stream's version.
    let stale = journal::append(
        &host,
        "journeys.journey/j1",
        before.len() as i64,
        vec![booked("late", FLIGHT)],
    );
    assert!(matches!(stale, Err(Error::VersionConflict { .. })), "{stale:?}");
    assert_eq!(hear(&host, &booked("answer-2", VISA)).expect("heard"), 8);
}
