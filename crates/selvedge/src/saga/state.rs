//! What a saga is after some of its actions.

use serde::Serialize;

use super::{Action, StepOutcome};

/// How far a saga is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It hasn't begun.
    #[default]
    New,
    /// Its steps are being done.
    Running,
    /// Its steps are being undone.
    Cancelling,
    /// All steps are done. It stays so.
    Completed,
    /// The steps are undone or parked. It stays so; what succeeds late is still compensated.
    Cancelled,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StepStatus {
    /// It isn't its turn.
    #[default]
    Waiting,
    /// It was asked for.
    Commanded,
    /// It is done.
    Succeeded,
    /// It won't be done.
    Failed,
    /// It gave no answer in time. One may still come.
    TimedOut,
    /// It was asked to be undone.
    Compensating,
    /// That was refused; it is asked again later.
    Retrying,
    /// It is undone.
    Compensated,
    /// It isn't undone, and needs someone's attention.
    Parked,
}

/// A step as its records have made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub status: StepStatus,
    /// How often it was asked to be undone.
    pub compensation_attempts: u32,
    /// The id of the last command to undo it that wasn't refused yet.
    pub(super) open_compensation: Option<String>,
}

/// A saga as its actions have made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// How far it is.
    pub status: Status,
    /// Why it went back.
    pub reason: Option<String>,
    steps: Vec<Progress>,
}

impl State {
    /// How far the step at this place is.
    pub fn step(&self, step: usize) -> Progress {
        self.steps.get(step).cloned().unwrap_or_default()
    }

    /// Whether a step needs someone's attention.
    pub fn has_parked(&self) -> bool {
        self.steps.iter().any(|progress| progress.status == StepStatus::Parked)
    }

    /// Takes in what was done; `event_id` is the id of the action's event.
    pub fn evolve(&mut self, action: &Action, event_id: &str) {
        match action {
            Action::Command { step } => {
                self.status = Status::Running;
                self.step_mut(*step).status = StepStatus::Commanded;
            }
            Action::Compensate { step } => {
                let progress = self.step_mut(*step);
                progress.status = StepStatus::Compensating;
                progress.compensation_attempts = progress.compensation_attempts.saturating_add(1);
                progress.open_compensation = Some(event_id.to_owned());
            }
            Action::SetTimer(_) => {}
            Action::Record {
                step, outcome, reason, ..
            } => self.record(*step, *outcome, reason.as_deref()),
            Action::Complete => self.status = Status::Completed,
            Action::Cancel { .. } => self.status = Status::Cancelled,
        }
    }

    fn record(&mut self, step: usize, outcome: StepOutcome, reason: Option<&str>) {
        let goes_back = matches!(outcome, StepOutcome::Failed | StepOutcome::TimedOut);
        if goes_back && self.status == Status::Running {
            self.status = Status::Cancelling;
            self.reason = reason.map(str::to_owned);
        }
        let progress = self.step_mut(step);
        progress.status = match outcome {
            StepOutcome::Succeeded => StepStatus::Succeeded,
            StepOutcome::Failed => StepStatus::Failed,
            StepOutcome::TimedOut => StepStatus::TimedOut,
            StepOutcome::Compensated => StepStatus::Compensated,
            StepOutcome::CompensationRefused => {
                progress.open_compensation = None;
                StepStatus::Retrying
            }
            StepOutcome::Parked => StepStatus::Parked,
        };
    }

    fn step_mut(&mut self, step: usize) -> &mut Progress {
        if self.steps.len() <= step {
            self.steps.resize_with(step + 1, Progress::default);
        }
        &mut self.steps[step]
    }
}
