//! A saga ends confirmed or cancelled, whatever answers come, in whatever order, however often and however late.

mod support;

#[path = "saga/answered.rs"]
mod answered;
#[path = "saga/in_the_journal.rs"]
mod in_the_journal;
#[path = "saga/run.rs"]
mod run;

use selvedge::saga::{Action, Answer, Input, NotDue, Status, StepOutcome, StepStatus, Timer, WaitsFor};
use selvedge::{Event, Timestamp};
use serde_json::json;

use crate::run::*;

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
