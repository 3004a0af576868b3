//! A saga ends confirmed or cancelled, whatever answers come, in whatever order, however often and however late.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use selvedge::decide::{self, Context, NewEvent, Rejection};
use selvedge::retry::RetryPolicy;
use selvedge::saga::{
    Action, Answer, Compensation, Definition, Input, NotDue, Records, State, Status, Step, StepOutcome, StepStatus,
    Timer, WaitsFor,
};
use selvedge::{Entity, Error, Event, Host, Timestamp, journal};
use serde_json::json;
use support::World;

const TIMEOUT_MS: u64 = 60_000;
const COMPENSATION_TIMEOUT_MS: u64 = 900_000;

const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    initial_interval_ms: 10_000,
    multiplier: 2.0,
    max_interval_ms: 300_000,
    jitter: 0.0,
};

const fn undo(
    command: &'static str,
    succeeded: &'static [&'static str],
    failed: &'static [&'static str],
) -> Option<Compensation> {
    Some(Compensation {
        command,
        succeeded,
        failed,
        timeout_ms: COMPENSATION_TIMEOUT_MS,
        retry: &RETRY,
    })
}

/// A journey: a flight, a visa that nothing undoes, and a hotel.
const JOURNEY: Definition = Definition {
    source: "/journeys",
    steps: &[
        Step {
            name: "flight",
            source: "/flights",
            command: "flights.seat.requested",
            succeeded: &["flights.seat.booked"],
            failed: &["flights.seat.refused"],
            timeout_ms: TIMEOUT_MS,
            compensation: undo(
                "flights.return.requested",
                &["flights.seat.returned"],
                &["flights.return.refused"],
            ),
        },
        Step {
            name: "visa",
            source: "/visas",
            command: "visas.visa.requested",
            succeeded: &["visas.visa.granted"],
            failed: &["visas.visa.denied"],
            timeout_ms: TIMEOUT_MS,
            compensation: None,
        },
        Step {
            name: "hotel",
            source: "/hotels",
            command: "hotels.room.requested",
            succeeded: &["hotels.room.booked"],
            failed: &["hotels.room.refused"],
            timeout_ms: TIMEOUT_MS,
            compensation: undo(
                "hotels.return.requested",
                &["hotels.room.returned"],
                &["hotels.return.refused"],
            ),
        },
    ],
    records: Records {
        timer_set: "journeys.timer.set",
        step_succeeded: "journeys.step.succeeded",
        step_failed: "journeys.step.failed",
        step_timed_out: "journeys.step.timed_out",
        step_compensated: "journeys.step.compensated",
        compensation_refused: "journeys.compensation.refused",
        step_parked: "journeys.step.parked",
        completed: "journeys.journey.confirmed",
        cancelled: "journeys.journey.cancelled",
    },
};

const FLIGHT: usize = 0;
const VISA: usize = 1;
const HOTEL: usize = 2;

/// A saga under way, and everything that it did.
#[derive(Default)]
struct Run {
    state: State,
    now_ms: i64,
    done: Vec<Action>,
}

impl Run {
    fn started() -> Self {
        let mut run = Self::default();
        run.hear(&Input::Start).expect("no timer");
        run
    }

    /// Has the saga hear something: what it does goes the way of its events, and is what it was on the other side.
    fn hear(&mut self, input: &Input) -> Result<Vec<Action>, NotDue> {
        let now = Timestamp::from_unix_ms(self.now_ms);
        let actions = JOURNEY.apply(&self.state, input, now)?;
        for action in &actions {
            let id = format!("event-{}", self.done.len());
            let new = JOURNEY.event(action, |action| match action {
                Action::Cancel { reason } => json!({ "reason": reason }),
                _ => json!({}),
            });
            let event = Event::new(&*id, JOURNEY.source, new.event_type).with_data("application/json", new.data);
            assert_eq!(JOURNEY.action(&event).expect("readable").as_ref(), Some(action));
            self.check_order(action);
            self.state.evolve(action, &id);
            self.done.push(action.clone());
        }
        Ok(actions)
    }

    /// The last step that is done is undone first. One that is being undone already is seen through.
    fn check_order(&self, action: &Action) {
        if let Action::Compensate { step } = action
            && self.state.step(*step).compensation_attempts == 0
        {
            for later in step + 1..JOURNEY.steps.len() {
                let undone = self.state.step(later).status != StepStatus::Succeeded
                    || JOURNEY.steps[later].compensation.is_none();
                assert!(undone, "step {step} is undone before step {later}: {:#?}", self.done);
            }
        }
    }

    /// The id of the last command to undo a step.
    fn compensation_id(&self, step: usize) -> Option<String> {
        let place = self
            .done
            .iter()
            .rposition(|action| *action == Action::Compensate { step });
        place.map(|place| format!("event-{place}"))
    }

    fn answer(&mut self, step: usize, answer: Answer) -> Vec<Action> {
        let cause = self.compensation_id(step);
        self.hear(&said(step, answer, cause)).expect("no timer")
    }

    /// Brings every timer that was set and is due by then, as often as it was set.
    fn pass_ms(&mut self, duration_ms: u64) {
        let end_ms = self.now_ms + i64::try_from(duration_ms).expect("a short time");
        let mut heard = 0;
        while let Some(place) = self.next_timer(heard, end_ms) {
            let Action::SetTimer(timer) = self.done[place] else {
                unreachable!("a timer was looked for")
            };
            self.now_ms = self.now_ms.max(timer.due_at.unix_ms());
            self.hear(&Input::Timer(timer)).expect("it is due");
            heard = place + 1;
        }
        self.now_ms = end_ms;
    }

    fn next_timer(&self, from: usize, end_ms: i64) -> Option<usize> {
        let due = |action: &Action| matches!(action, Action::SetTimer(timer) if timer.due_at.unix_ms() <= end_ms);
        (from..self.done.len()).find(|place| due(&self.done[*place]))
    }

    fn count(&self, action: &Action) -> usize {
        self.done.iter().filter(|done| *done == action).count()
    }

    fn ends(&self) -> usize {
        let is_end = |action: &&Action| matches!(action, Action::Complete | Action::Cancel { .. });
        self.done.iter().filter(is_end).count()
    }

    fn status(&self, step: usize) -> StepStatus {
        self.state.step(step).status
    }
}

fn said(step: usize, answer: Answer, cause: Option<String>) -> Input {
    Input::Answer {
        step,
        answer,
        event_type: "tests.answer.given".to_owned(),
        cause,
        reason: None,
    }
}

#[test]
fn when_all_succeed_it_is_completed_and_its_timers_change_nothing() {
    let mut run = Run::started();
    for step in [FLIGHT, VISA, HOTEL] {
        assert_eq!(run.status(step), StepStatus::Commanded);
        run.answer(step, Answer::Succeeded);
    }
    assert_eq!(run.state.status, Status::Completed);
    let done = run.done.len();
    run.pass_ms(10 * COMPENSATION_TIMEOUT_MS);
    assert_eq!((run.done.len(), run.ends()), (done, 1));
}

#[test]
fn a_step_that_fails_undoes_those_before_it_the_last_one_first() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Succeeded);
    run.answer(VISA, Answer::Succeeded);
    run.answer(HOTEL, Answer::Failed);
    assert_eq!(run.state.status, Status::Cancelling);
    assert_eq!(run.status(FLIGHT), StepStatus::Compensating, "nothing undoes the visa");
    run.answer(FLIGHT, Answer::Compensated);
    assert_eq!(run.state.status, Status::Cancelled);
    assert_eq!(run.state.reason.as_deref(), Some("hotel failed"));
}

#[test]
fn a_first_step_that_fails_has_nothing_to_undo() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Failed);
    assert_eq!((run.state.status, run.ends()), (Status::Cancelled, 1));
    run.answer(FLIGHT, Answer::Failed);
    run.pass_ms(TIMEOUT_MS);
    assert_eq!(
        run.done.len(),
        4,
        "the command, its timer, the record and the end: {:#?}",
        run.done
    );
}

#[test]
fn a_step_that_times_out_is_undone_when_it_succeeds_after_all() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Succeeded);
    run.answer(VISA, Answer::Succeeded);
    run.pass_ms(TIMEOUT_MS);
    assert_eq!(run.status(HOTEL), StepStatus::TimedOut);
    run.answer(FLIGHT, Answer::Compensated);
    assert_eq!(run.state.status, Status::Cancelled);
    run.answer(HOTEL, Answer::Succeeded);
    assert_eq!(run.status(HOTEL), StepStatus::Compensating);
    run.answer(HOTEL, Answer::Compensated);
    assert_eq!((run.status(HOTEL), run.ends()), (StepStatus::Compensated, 1));
}

#[test]
fn a_compensation_is_commanded_again_only_when_it_was_refused() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Succeeded);
    run.answer(VISA, Answer::Failed);
    let command = Action::Compensate { step: FLIGHT };
    assert_eq!(run.count(&command), 1);
    run.pass_ms(COMPENSATION_TIMEOUT_MS - 1);
    assert_eq!(run.count(&command), 1, "no answer is no reason to command it twice");

    let first = run.compensation_id(FLIGHT);
    run.answer(FLIGHT, Answer::CompensationRefused);
    assert_eq!(run.status(FLIGHT), StepStatus::Retrying);
    assert_eq!(
        run.hear(&said(FLIGHT, Answer::CompensationRefused, first.clone())),
        Ok(vec![]),
        "twice"
    );
    run.pass_ms(10_000);
    assert_eq!(run.count(&command), 2);
    assert_eq!(
        run.hear(&said(FLIGHT, Answer::CompensationRefused, first)),
        Ok(vec![]),
        "the first one's"
    );
    run.answer(FLIGHT, Answer::CompensationRefused);
    run.pass_ms(20_000);
    run.answer(FLIGHT, Answer::CompensationRefused);
    assert_eq!(run.status(FLIGHT), StepStatus::Parked, "the third was the last");
    assert!(run.state.has_parked());
    assert_eq!((run.state.status, run.count(&command)), (Status::Cancelled, 3));

    run.answer(FLIGHT, Answer::Compensated);
    assert_eq!(
        (run.status(FLIGHT), run.ends()),
        (StepStatus::Compensated, 1),
        "someone saw to it"
    );
}

#[test]
fn what_is_parked_after_a_refusal_is_commanded_once_more_for_an_operator() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Succeeded);
    assert_eq!(run.hear(&Input::Resume), Ok(vec![]), "nothing is parked");
    run.answer(VISA, Answer::Failed);
    let command = Action::Compensate { step: FLIGHT };
    for wait_ms in [10_000, 20_000, 0] {
        assert_eq!(run.hear(&Input::Resume), Ok(vec![]), "it is being undone");
        run.answer(FLIGHT, Answer::CompensationRefused);
        run.pass_ms(wait_ms);
    }
    assert_eq!((run.status(FLIGHT), run.count(&command)), (StepStatus::Parked, 3));

    run.hear(&Input::Resume).expect("no timer");
    assert_eq!((run.status(FLIGHT), run.count(&command)), (StepStatus::Compensating, 4));
    assert!(!run.state.has_parked());
    run.answer(FLIGHT, Answer::CompensationRefused);
    assert_eq!(run.status(FLIGHT), StepStatus::Parked, "an operator's attempt is one");
    run.hear(&Input::Resume).expect("no timer");
    run.answer(FLIGHT, Answer::Compensated);
    assert_eq!((run.status(FLIGHT), run.ends()), (StepStatus::Compensated, 1));
}

#[test]
fn what_is_parked_without_an_answer_is_not_commanded_twice() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Succeeded);
    run.answer(VISA, Answer::Failed);
    run.pass_ms(COMPENSATION_TIMEOUT_MS);
    assert_eq!(run.status(FLIGHT), StepStatus::Parked);
    assert_eq!(run.hear(&Input::Resume), Ok(vec![]));
}

#[test]
fn a_compensation_without_an_answer_is_parked_and_the_others_go_on() {
    let mut run = Run::started();
    run.answer(FLIGHT, Answer::Succeeded);
    run.answer(VISA, Answer::Succeeded);
    run.pass_ms(TIMEOUT_MS);
    // The flight is being returned when the hotel's late answer comes: one at a time.
    run.answer(HOTEL, Answer::Succeeded);
    assert_eq!(
        (run.status(FLIGHT), run.status(HOTEL)),
        (StepStatus::Compensating, StepStatus::Succeeded)
    );
    run.pass_ms(COMPENSATION_TIMEOUT_MS);
    assert_eq!(
        (run.status(FLIGHT), run.status(HOTEL)),
        (StepStatus::Parked, StepStatus::Compensating)
    );
    run.answer(HOTEL, Answer::Compensated);
    assert_eq!((run.state.status, run.ends()), (Status::Cancelled, 1));
    run.answer(FLIGHT, Answer::Compensated);
    assert!(!run.state.has_parked());
}

#[test]
fn a_timer_that_comes_too_early_is_to_come_again() {
    let mut run = Run::started();
    let timer = Timer {
        step: FLIGHT,
        waits_for: WaitsFor::Answer,
        attempt: 0,
        due_at: Timestamp::from_unix_ms(60_000),
    };
    run.now_ms = 59_999;
    assert_eq!(run.hear(&Input::Timer(timer)), Err(NotDue { due_at: timer.due_at }));
    run.now_ms = 60_000;
    let heard = run.hear(&Input::Timer(timer)).expect("it is due");
    assert!(
        matches!(
            heard[0],
            Action::Record {
                outcome: StepOutcome::TimedOut,
                ..
            }
        ),
        "{heard:?}"
    );
}

#[test]
fn what_was_not_asked_for_or_comes_from_elsewhere_is_not_heard() {
    let mut run = Run::started();
    for answer in [
        Answer::Succeeded,
        Answer::Failed,
        Answer::Compensated,
        Answer::CompensationRefused,
    ] {
        assert_eq!(run.answer(HOTEL, answer), []);
    }
    assert_eq!(run.answer(FLIGHT, Answer::Compensated), []);
    assert_eq!(run.hear(&Input::Start), Ok(vec![]), "it begins once");

    let event =
        |source: &str, event_type: &str| Event::new("1", source, event_type).with_json(&json!({})).expect("JSON");
    let heard = |source: &str, event_type: &str| JOURNEY.input(&event(source, event_type));
    assert!(matches!(
        heard("/flights", "flights.seat.booked"),
        Ok(Some(Input::Answer { step: FLIGHT, .. }))
    ));
    for (source, event_type) in [
        ("/hotels", "flights.seat.booked"),
        ("/flights", "flights.seat.requested"),
        ("/elsewhere", "journeys.timer.set"),
        ("/elsewhere", "todos.task.created"),
    ] {
        assert!(matches!(heard(source, event_type), Ok(None)), "{source} {event_type}");
    }
    assert!(
        heard("/journeys", "journeys.timer.set").is_err(),
        "a timer without data"
    );
}

/// What a function does with a command.
#[derive(Debug, Clone)]
struct Behaviour {
    /// What it answers; none keeps silent.
    answers: Vec<(bool, i64)>,
    /// How often each answer is delivered.
    copies: u8,
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let delay_ms = prop_oneof![Just(0_i64), 0..50_000_i64, 50_000..70_000_i64, 0..2_000_000_i64];
    let answers = prop::collection::vec((any::<bool>(), delay_ms), 0..3);
    (answers, 1..4_u8).prop_map(|(answers, copies)| Behaviour { answers, copies })
}

/// Answers and timers on their way, in the order in which they arrive.
#[derive(Default)]
struct Mail {
    on_its_way: BTreeMap<(i64, usize), Input>,
    sent: usize,
}

impl Mail {
    fn send(&mut self, at_ms: i64, copies: u8, input: &Input) {
        for copy in 0..copies {
            self.sent += 1;
            self.on_its_way
                .insert((at_ms + i64::from(copy) * 700, self.sent), input.clone());
        }
    }
}

/// Answers what a saga asked for as `behaviours` say, one after the other.
fn respond(run: &Run, actions: &[Action], behaviours: &mut impl Iterator<Item = Behaviour>, mail: &mut Mail) {
    for action in actions {
        let (step, yes, no) = match action {
            Action::SetTimer(timer) => {
                mail.send(timer.due_at.unix_ms(), 2, &Input::Timer(*timer));
                continue;
            }
            Action::Command { step } => (*step, Answer::Succeeded, Answer::Failed),
            Action::Compensate { step } => (*step, Answer::Compensated, Answer::CompensationRefused),
            _ => continue,
        };
        let Behaviour { answers, copies } = behaviours.next().expect("as many as are needed");
        for (does, delay_ms) in answers {
            let answer = if does { yes } else { no };
            mail.send(
                run.now_ms + delay_ms,
                copies,
                &said(step, answer, run.compensation_id(step)),
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_answered_it_ends_once_and_what_was_done_is_kept_or_undone(
        behaviours in prop::collection::vec(behaviour(), 1..12),
    ) {
        let mut behaviours = behaviours.into_iter().cycle();
        let (mut run, mut mail) = (Run::default(), Mail::default());
        let mut done = [false; 3];
        mail.send(0, 2, &Input::Start);
        while let Some(((at_ms, _), input)) = mail.on_its_way.pop_first() {
            run.now_ms = at_ms;
            if let Input::Answer { step, answer: Answer::Succeeded, .. } = input {
                done[step] = true;
            }
            let actions = run.hear(&input).expect("timers come when they are due");
            respond(&run, &actions, &mut behaviours, &mut mail);
            prop_assert!(run.done.len() < 200, "it goes round in circles: {:#?}", run.done);
        }

        prop_assert_eq!(run.ends(), 1, "{:#?}", run.done);
        for (step, done) in done.into_iter().enumerate() {
            prop_assert!(run.count(&Action::Command { step }) <= 1, "a step is commanded once");
            let (status, undoing) = (run.status(step), run.count(&Action::Compensate { step }));
            prop_assert!(undoing <= RETRY.max_attempts as usize);
            match run.state.status {
                Status::Completed => prop_assert_eq!((status, undoing), (StepStatus::Succeeded, 0)),
                Status::Cancelled if done && JOURNEY.steps[step].compensation.is_some() => {
                    let settled = matches!(status, StepStatus::Compensated | StepStatus::Parked);
                    prop_assert!(settled, "step {} was done and is {:?}: {:#?}", step, status, run.done);
                }
                Status::Cancelled => prop_assert_eq!(undoing, 0, "what wasn't done isn't undone"),
                other => prop_assert!(false, "it doesn't end: {:?}", other),
            }
        }
    }
}

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
