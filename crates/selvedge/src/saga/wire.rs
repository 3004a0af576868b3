//! A saga's actions as events, and events as what they are for a saga.

use selvedge_events::{Event, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Answer, Definition, Input, StepOutcome, Timer, WaitsFor};
use crate::Error;
use crate::decide::NewEvent;

/// The data of a saga's records and timers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    step: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits_for: Option<WaitsFor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
}

/// Why, as an answer's data may say it.
#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: Option<String>,
}

impl Definition {
    /// An action as the event to append. `data` gives the data of commands and of the saga's end, which is the
    /// function's own affair; the data of timers and records is the saga's.
    pub fn event(&self, action: &Action, data: impl FnOnce(&Action) -> Value) -> NewEvent {
        match action {
            Action::Command { step } => NewEvent::new(self.steps[*step].command, &data(action)),
            Action::Compensate { step } => {
                let compensation = self.steps[*step].compensation;
                let compensation = compensation.expect("only a step that can be undone is asked to be");
                NewEvent::new(compensation.command, &data(action))
            }
            Action::SetTimer(timer) => {
                let record = Record {
                    step: self.steps[timer.step].name.to_owned(),
                    waits_for: Some(timer.waits_for),
                    attempt: Some(timer.attempt),
                    due_at: Some(timer.due_at),
                    ..Record::default()
                };
                NewEvent::new(self.records.timer_set, &record).deliver_at(timer.due_at)
            }
            Action::Record {
                step,
                outcome,
                answer,
                reason,
            } => {
                let record = Record {
                    step: self.steps[*step].name.to_owned(),
                    answer: answer.clone(),
                    reason: reason.clone(),
                    ..Record::default()
                };
                NewEvent::new(self.record_type(*outcome), &record)
            }
            Action::Complete => NewEvent::new(self.records.completed, &data(action)),
            Action::Cancel { .. } => NewEvent::new(self.records.cancelled, &data(action)),
        }
    }

    /// The action that an event of the saga's own stream stands for; `None` for an event that isn't the saga's.
    ///
    /// # Errors
    /// [`Error::Event`] when the event's data isn't a record.
    pub fn action(&self, event: &Event) -> Result<Option<Action>, Error> {
        let event_type = &*event.event_type;
        if let Some(step) = self.steps.iter().position(|step| step.command == event_type) {
            return Ok(Some(Action::Command { step }));
        }
        if let Some(step) = self.steps.iter().position(|step| {
            step.compensation
                .is_some_and(|compensation| compensation.command == event_type)
        }) {
            return Ok(Some(Action::Compensate { step }));
        }
        if event_type == self.records.completed {
            return Ok(Some(Action::Complete));
        }
        if event_type == self.records.cancelled {
            let Reason { reason } = event.data_as()?;
            let reason = reason.unwrap_or_default();
            return Ok(Some(Action::Cancel { reason }));
        }
        if event_type == self.records.timer_set {
            return Ok(self.timer(event)?.map(Action::SetTimer));
        }
        let Some(outcome) = self.outcome(event_type) else {
            return Ok(None);
        };
        let Record {
            step, answer, reason, ..
        } = event.data_as()?;
        let record = |step| Action::Record {
            step,
            outcome,
            answer,
            reason,
        };
        Ok(self.step_named(&step).map(record))
    }

    /// What an event that was heard is for the saga; `None` when it means nothing to it. An answer or a timer from another
    /// source than the one that gives them means nothing.
    ///
    /// # Errors
    /// [`Error::Event`] when a timer's data can't be read.
    pub fn input(&self, event: &Event) -> Result<Option<Input>, Error> {
        if event.event_type == self.records.timer_set {
            let own = event.source == self.source;
            return Ok(if own {
                self.timer(event)?.map(Input::Timer)
            } else {
                None
            });
        }
        let answer_of = |step: &super::Step| {
            let heard = |types: &[&str]| types.contains(&&*event.event_type);
            let undone = step.compensation;
            match () {
                () if step.source != event.source => None,
                () if heard(step.succeeded) => Some(Answer::Succeeded),
                () if heard(step.failed) => Some(Answer::Failed),
                () if undone.is_some_and(|undone| heard(undone.succeeded)) => Some(Answer::Compensated),
                () if undone.is_some_and(|undone| heard(undone.failed)) => Some(Answer::CompensationRefused),
                () => None,
            }
        };
        let mut answers = self.steps.iter().map(answer_of).enumerate();
        let found = answers.find_map(|(step, answer)| answer.map(|answer| (step, answer)));
        // Why is nice to know, and no reason not to hear that it is so.
        let reason = || event.data_as::<Reason>().ok().and_then(|data| data.reason);
        Ok(found.map(|(step, answer)| Input::Answer {
            step,
            answer,
            event_type: event.event_type.clone(),
            cause: event.causationid().map(str::to_owned),
            reason: reason(),
        }))
    }

    /// `None` for a step that a newer version has and this one doesn't.
    fn timer(&self, event: &Event) -> Result<Option<Timer>, Error> {
        let record: Record = event.data_as()?;
        let timer = |step| {
            Some(Timer {
                step,
                waits_for: record.waits_for?,
                attempt: record.attempt?,
                due_at: record.due_at?,
            })
        };
        Ok(self.step_named(&record.step).and_then(timer))
    }

    fn step_named(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    fn record_type(&self, outcome: StepOutcome) -> &'static str {
        match outcome {
            StepOutcome::Succeeded => self.records.step_succeeded,
            StepOutcome::Failed => self.records.step_failed,
            StepOutcome::TimedOut => self.records.step_timed_out,
            StepOutcome::Compensated => self.records.step_compensated,
            StepOutcome::CompensationRefused => self.records.compensation_refused,
            StepOutcome::Parked => self.records.step_parked,
        }
    }

    fn outcome(&self, event_type: &str) -> Option<StepOutcome> {
        use StepOutcome::{Compensated, CompensationRefused, Failed, Parked, Succeeded, TimedOut};
        let all = [Succeeded, Failed, TimedOut, Compensated, CompensationRefused, Parked];
        all.into_iter().find(|outcome| self.record_type(*outcome) == event_type)
    }
}
