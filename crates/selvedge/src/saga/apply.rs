//! The process manager's rules. Pure.

use selvedge_events::Timestamp;

use super::{Action, Answer, Definition, Input, NotDue, State, Status, StepOutcome, StepStatus, Timer, WaitsFor};
use crate::mutant;

impl Definition {
    /// What a saga in this state does about this input; nothing when the input changes nothing, as one that came before
    /// does. Pure.
    ///
    /// # Errors
    /// [`NotDue`] for a timer that came too early: it must come again, or its step would never time out.
    pub fn apply(&self, state: &State, input: &Input, now: Timestamp) -> Result<Vec<Action>, NotDue> {
        let mut plan = Plan {
            definition: self,
            state: state.clone(),
            actions: Vec::new(),
            now,
        };
        match input {
            Input::Start if state.status == Status::New => plan.command(0),
            Input::Start => {}
            Input::Answer {
                step,
                answer,
                event_type,
                cause,
                reason,
            } => plan.answered(*step, *answer, event_type, cause.as_deref(), reason.as_deref()),
            Input::Timer(timer) if timer.due_at > now => return Err(NotDue { due_at: timer.due_at }),
            Input::Timer(timer) => plan.due(timer),
            Input::Resume => plan.resume(),
        }
        Ok(plan.actions)
    }
}

/// What was decided so far, and the saga as it is after that.
struct Plan<'d> {
    definition: &'d Definition,
    state: State,
    actions: Vec<Action>,
    now: Timestamp,
}

impl Plan<'_> {
    fn act(&mut self, action: Action) {
        self.state.evolve(&action, "");
        self.actions.push(action);
    }

    fn status(&self, step: usize) -> StepStatus {
        self.state.step(step).status
    }

    fn command(&mut self, step: usize) {
        let Some(definition) = self.definition.steps.get(step) else {
            return self.act(Action::Complete);
        };
        self.act(Action::Command { step });
        self.set_timer(step, WaitsFor::Answer, definition.timeout_ms);
    }

    fn set_timer(&mut self, step: usize, waits_for: WaitsFor, delay_ms: u64) {
        self.act(Action::SetTimer(Timer {
            step,
            waits_for,
            attempt: self.state.step(step).compensation_attempts,
            due_at: Timestamp::from_unix_ms(self.now.unix_ms().saturating_add_unsigned(delay_ms)),
        }));
    }

    fn record(&mut self, step: usize, outcome: StepOutcome, answer: Option<&str>, reason: Option<String>) {
        let answer = answer.map(str::to_owned);
        self.act(Action::Record {
            step,
            outcome,
            answer,
            reason,
        });
    }

    fn answered(&mut self, step: usize, answer: Answer, event_type: &str, cause: Option<&str>, reason: Option<&str>) {
        use StepStatus::{Commanded, Compensating, Failed, Parked, Retrying, TimedOut};
        let status = self.status(step);
        let answered_by = Some(event_type);
        let reason = reason.map(str::to_owned);
        match answer {
            // Late, or after it said that it failed: what was done must be undone.
            Answer::Succeeded if matches!(status, Commanded | TimedOut | Failed) => {
                self.record(step, StepOutcome::Succeeded, answered_by, None);
                match self.state.status {
                    Status::Running => self.command(step + 1),
                    _ if mutant::is("late_success_stands") => {}
                    _ => self.compensate_next(),
                }
            }
            Answer::Failed if matches!(status, Commanded | TimedOut) => {
                let name = self.definition.steps[step].name;
                let reason =
                    reason.map_or_else(|| format!("{name} failed"), |reason| format!("{name} failed: {reason}"));
                self.record(step, StepOutcome::Failed, answered_by, Some(reason));
                self.compensate_next();
            }
            Answer::Compensated if matches!(status, Compensating | Retrying | Parked) => {
                self.record(step, StepOutcome::Compensated, answered_by, None);
                self.compensate_next();
            }
            Answer::CompensationRefused if matches!(status, Compensating | Parked) => {
                let open = self.state.step(step).open_compensation;
                if open.is_some() && open.as_deref() == cause {
                    self.refused(step, event_type, reason);
                }
            }
            // It was heard before, or answers nothing that was asked.
            _ => {}
        }
    }

    /// A command to compensate was refused: again later, or never.
    fn refused(&mut self, step: usize, event_type: &str, reason: Option<String>) {
        self.record(step, StepOutcome::CompensationRefused, Some(event_type), reason);
        let attempts = self.state.step(step).compensation_attempts;
        let compensation = self.definition.steps[step].compensation;
        match compensation.and_then(|compensation| compensation.retry.delay_ms(attempts, 0.0)) {
            Some(delay_ms) => self.set_timer(step, WaitsFor::NextAttempt, delay_ms),
            None => {
                let reason = format!("it was refused {attempts} times");
                self.record(step, StepOutcome::Parked, None, Some(reason));
                self.compensate_next();
            }
        }
    }

    /// A timer is due. One that belongs to something that is over changes nothing.
    fn due(&mut self, timer: &Timer) {
        let step = timer.step;
        let Some(definition) = self.definition.steps.get(step) else {
            return;
        };
        let progress = self.state.step(step);
        match (timer.waits_for, progress.status) {
            (WaitsFor::Answer, StepStatus::Commanded) => {
                let (name, timeout_ms) = (definition.name, definition.timeout_ms);
                let reason = format!("{name} gave no answer within {timeout_ms} ms");
                self.record(step, StepOutcome::TimedOut, None, Some(reason));
                self.compensate_next();
            }
            (WaitsFor::Compensation, StepStatus::Compensating) if timer.attempt == progress.compensation_attempts => {
                let reason = "it got no answer in time: it is still being delivered, or it is a dead letter";
                self.record(step, StepOutcome::Parked, None, Some(reason.to_owned()));
                self.compensate_next();
            }
            (WaitsFor::NextAttempt, StepStatus::Retrying) if timer.attempt == progress.compensation_attempts => {
                self.compensate(step);
            }
            _ => {}
        }
    }

    /// The last step that succeeded is undone next, one at a time. When none is left, the saga is cancelled.
    fn compensate_next(&mut self) {
        let steps = 0..self.definition.steps.len();
        let under_way = |step| matches!(self.status(step), StepStatus::Compensating | StepStatus::Retrying);
        if steps.clone().any(under_way) {
            return;
        }
        let to_undo = |step: &usize| {
            !mutant::is("compensation_skipped")
                && self.status(*step) == StepStatus::Succeeded
                && self.definition.steps[*step].compensation.is_some()
        };
        match steps.rev().find(to_undo) {
            Some(step) => self.compensate(step),
            None if self.state.status == Status::Cancelling => {
                let reason = self.state.reason.clone().unwrap_or_default();
                self.act(Action::Cancel { reason });
            }
            None => {}
        }
    }

    /// The last step whose compensation is parked since it was refused is commanded to be undone once more. One that got no
    /// answer isn't: its command may still be carried out. Nor is any while another is under way.
    fn resume(&mut self) {
        let steps = 0..self.definition.steps.len();
        let under_way = |step| matches!(self.status(step), StepStatus::Compensating | StepStatus::Retrying);
        if steps.clone().any(under_way) {
            return;
        }
        let is_refused = |step: &usize| {
            let progress = self.state.step(*step);
            progress.status == StepStatus::Parked && progress.open_compensation.is_none()
        };
        if let Some(step) = steps.rev().find(is_refused) {
            self.compensate(step);
        }
    }

    fn compensate(&mut self, step: usize) {
        if let Some(compensation) = self.definition.steps[step].compensation {
            self.act(Action::Compensate { step });
            self.set_timer(step, WaitsFor::Compensation, compensation.timeout_ms);
        }
    }
}
