//! A saga: steps done one after the other by other functions, and undone in reverse when one of them doesn't work.
//!
//! A process manager leads it, and the process manager is pure: [`Definition::apply`] takes what the saga is, what came
//! in and the time, and gives back what to do. Everything that it does is an event of the saga's own stream: commands,
//! which other functions hear, timers, which come back to the saga when they are due, and records of what became of each
//! step. So the state is the sum of the stream, one decision is one INSERT, and the stream is the timeline.
//!
//! - A step that fails, or gives no answer in time, ends the saga: the steps that succeeded are compensated, the last one
//!   first, one after the other. Then the saga is cancelled.
//! - A step that succeeds after its timeout is compensated as well, whenever that is.
//! - A compensation that is refused is commanded again after a while, under a new id. One whose attempts are used up, or
//!   that gets no answer in time, is parked: it shows, and the others go on. An answer that comes later still counts.
//! - An operator may have one that is parked after a refusal commanded once more.
//! - One that got no answer is never commanded twice: the command is being delivered, or it is a dead letter that can be
//!   redriven.

mod apply;
mod state;
mod wire;

use selvedge_events::Timestamp;
use serde::{Deserialize, Serialize};

use crate::retry::RetryPolicy;

pub use state::{Progress, State, Status, StepStatus};

/// A kind of saga, as data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definition {
    /// The source of the saga's own events, a URI-reference: `/orders`. Timers are taken from nobody else.
    pub source: &'static str,
    /// What is done, in this order.
    pub steps: &'static [Step],
    /// The names of the saga's own events.
    pub records: Records,
}

/// One step: a command to another function, and the events by which that answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What people call it: `payment`. It is written in the saga's records and never changes.
    pub name: &'static str,
    /// The source of the answers, to the compensation's command too: `/payments`. They are taken from nobody else.
    pub source: &'static str,
    /// The type of the event that asks for it.
    pub command: &'static str,
    /// The types that say that it is done.
    pub succeeded: &'static [&'static str],
    /// The types that say that it isn't, and won't be.
    pub failed: &'static [&'static str],
    /// How long it may take until the saga goes back, in milliseconds.
    pub timeout_ms: u64,
    /// How it is undone; `None` when nothing has to be.
    pub compensation: Option<Compensation>,
}

/// How a step is undone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compensation {
    /// The type of the event that asks for it.
    pub command: &'static str,
    /// The types that say that it is undone.
    pub succeeded: &'static [&'static str],
    /// The types that say that this command didn't undo it. They name the command as their cause (`causationid`).
    pub failed: &'static [&'static str],
    /// How long it may take until it is parked, in milliseconds.
    pub timeout_ms: u64,
    /// When it is commanded again after it was refused, and how often. Its jitter isn't used.
    pub retry: &'static RetryPolicy,
}

/// The types of a saga's own events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// A timer was set; the event is delivered when it is due.
    pub timer_set: &'static str,
    /// A step is done.
    pub step_succeeded: &'static str,
    /// A step won't be done.
    pub step_failed: &'static str,
    /// A step gave no answer in time.
    pub step_timed_out: &'static str,
    /// A step is undone.
    pub step_compensated: &'static str,
    /// A step wasn't undone by the last command.
    pub compensation_refused: &'static str,
    /// A step can't be undone for now, and needs someone's attention.
    pub step_parked: &'static str,
    /// All steps are done.
    pub completed: &'static str,
    /// All steps that could be undone are.
    pub cancelled: &'static str,
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The saga begins.
    Start,
    /// Another function answered a command.
    Answer {
        /// The place of the step in [`Definition::steps`].
        step: usize,
        /// What it says.
        answer: Answer,
        /// The type of the event that says it.
        event_type: String,
        /// The id of the command that it answers, if it says so.
        cause: Option<String>,
        /// Why, if it says so.
        reason: Option<String>,
    },
    /// A timer came back.
    Timer(Timer),
    /// An operator has what is parked after a refusal commanded once more.
    Resume,
}

/// What another function's event says of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Succeeded,
    /// It won't be done.
    Failed,
    /// It is undone.
    Compensated,
    /// The command to undo it was refused.
    CompensationRefused,
}

/// A timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// The place of the step in [`Definition::steps`].
    pub step: usize,
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// The attempt to compensate that it belongs to; 0 for the step itself.
    pub attempt: u32,
    /// When it is due.
    pub due_at: Timestamp,
}

/// What a timer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WaitsFor {
    /// The step's answer.
    Answer,
    /// The answer to the command that undoes it.
    Compensation,
    /// The time to command that again.
    NextAttempt,
}

/// What a saga does: each is one event of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Asks for a step.
    Command {
        /// The step's place.
        step: usize,
    },
    /// Asks for a step to be undone.
    Compensate {
        /// The step's place.
        step: usize,
    },
    /// Sets a timer.
    SetTimer(Timer),
    /// Records what became of a step.
    Record {
        /// The step's place.
        step: usize,
        /// What became of it.
        outcome: StepOutcome,
        /// The type of the event that said so; `None` for a timer.
        answer: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// Ends it: all steps are done.
    Complete,
    /// Ends it: all steps that could be undone are.
    Cancel {
        /// Why it went back.
        reason: String,
    },
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// It is done.
    Succeeded,
    /// It won't be done.
    Failed,
    /// It gave no answer in time.
    TimedOut,
    /// It is undone.
    Compensated,
    /// The last command didn't undo it.
    CompensationRefused,
    /// It can't be undone for now.
    Parked,
}

/// A timer came before it was due: it is to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the timer is due at {due_at}, not yet: deliver it again then")]
pub struct NotDue {
    /// When it is due.
    pub due_at: Timestamp,
}
