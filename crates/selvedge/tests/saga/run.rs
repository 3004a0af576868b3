//! A saga of three steps, and a run of it in memory.

use selvedge::retry::RetryPolicy;
use selvedge::saga::{Action, Answer, Compensation, Definition, Input, NotDue, Records, State, Step, StepStatus};
use selvedge::{Event, Timestamp};
use serde_json::json;

pub const TIMEOUT_MS: u64 = 60_000;
pub const COMPENSATION_TIMEOUT_MS: u64 = 900_000;

pub const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    initial_interval_ms: 10_000,
    multiplier: 2.0,
    max_interval_ms: 300_000,
    jitter: 0.0,
};

pub const fn undo(
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
pub const JOURNEY: Definition = Definition {
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

pub const FLIGHT: usize = 0;
pub const VISA: usize = 1;
pub const HOTEL: usize = 2;

/// A saga under way, and everything that it did.
#[derive(Default)]
pub struct Run {
    pub state: State,
    pub now_ms: i64,
    pub done: Vec<Action>,
}

impl Run {
    pub fn started() -> Self {
        let mut run = Self::default();
        run.hear(&Input::Start).expect("no timer");
        run
    }

    /// Has the saga hear something: what it does goes the way of its events, and is what it was on the other side.
    pub fn hear(&mut self, input: &Input) -> Result<Vec<Action>, NotDue> {
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
    pub fn check_order(&self, action: &Action) {
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
    pub fn compensation_id(&self, step: usize) -> Option<String> {
        let place = self
            .done
            .iter()
            .rposition(|action| *action == Action::Compensate { step });
        place.map(|place| format!("event-{place}"))
    }

    pub fn answer(&mut self, step: usize, answer: Answer) -> Vec<Action> {
        let cause = self.compensation_id(step);
        self.hear(&said(step, answer, cause)).expect("no timer")
    }

    /// Brings every timer that was set and is due by then, as often as it was set.
    pub fn pass_ms(&mut self, duration_ms: u64) {
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

    pub fn next_timer(&self, from: usize, end_ms: i64) -> Option<usize> {
        let due = |action: &Action| matches!(action, Action::SetTimer(timer) if timer.due_at.unix_ms() <= end_ms);
        (from..self.done.len()).find(|place| due(&self.done[*place]))
    }

    pub fn count(&self, action: &Action) -> usize {
        self.done.iter().filter(|done| *done == action).count()
    }

    pub fn ends(&self) -> usize {
        let is_end = |action: &&Action| matches!(action, Action::Complete | Action::Cancel { .. });
        self.done.iter().filter(is_end).count()
    }

    pub fn status(&self, step: usize) -> StepStatus {
        self.state.step(step).status
    }
}

pub fn said(step: usize, answer: Answer, cause: Option<String>) -> Input {
    Input::Answer {
        step,
        answer,
        event_type: "tests.answer.given".to_owned(),
        cause,
        reason: None,
    }
}
