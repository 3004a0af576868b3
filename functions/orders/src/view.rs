//! An order as callers see it: what was ordered, how far it is, and what happened when and why.

use selvedge::decide::Versioned;
use selvedge::journal::Record;
use selvedge::saga::{Action, State, Status, StepOutcome, StepStatus};
use selvedge::{Error, Timestamp};
use serde::Serialize;

use crate::fulfilment::FULFILMENT;
use crate::order::{Item, Order};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    id: &'a str,
    status: &'static str,
    /// Why it is or will be cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Whether a compensation is parked: someone has to look.
    needs_attention: bool,
    user_id: &'a str,
    items: &'a [Item],
    total_cents: i64,
    steps: Vec<StepView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timeline: Vec<Entry<'a>>,
    version: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepView {
    name: &'static str,
    status: StepStatus,
    compensation_attempts: u32,
}

/// One event of the order's stream.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    at: Option<Timestamp>,
    id: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    /// The id of the event that led to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    /// The type of the answer that led to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When a timer is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
}

impl<'a> View<'a> {
    /// An order, and the timeline of these records; `None` when nothing was ordered.
    ///
    /// # Errors
    /// [`Error::Event`] when a record can't be read.
    pub fn of(id: &'a str, order: &'a Versioned<Order>, records: &'a [Record]) -> Result<Option<Self>, Error> {
        let Order { content, saga } = &order.state;
        let Some(content) = content else { return Ok(None) };
        let first = records.first().map(|record| &*record.event.id);
        let timeline: Result<_, _> = records.iter().map(|record| entry(record, first)).collect();
        Ok(Some(Self {
            id,
            status: status(saga),
            reason: saga.reason.as_deref(),
            needs_attention: saga.has_parked(),
            user_id: &content.user_id,
            items: &content.items,
            total_cents: content.total_cents,
            steps: steps(saga),
            timeline: timeline?,
            version: order.version,
        }))
    }
}

fn status(saga: &State) -> &'static str {
    match saga.status {
        Status::New | Status::Running => "pending",
        Status::Cancelling => "cancelling",
        Status::Completed => "confirmed",
        Status::Cancelled => "cancelled",
    }
}

fn steps(saga: &State) -> Vec<StepView> {
    let view = |(place, step): (usize, &selvedge::saga::Step)| {
        let progress = saga.step(place);
        StepView {
            name: step.name,
            status: progress.status,
            compensation_attempts: progress.compensation_attempts,
        }
    };
    FULFILMENT.steps.iter().enumerate().map(view).collect()
}

/// What came with the order itself was caused by its first event.
fn entry<'a>(record: &'a Record, first: Option<&'a str>) -> Result<Entry<'a>, Error> {
    let event = &record.event;
    let cause = event.causationid().or(first.filter(|first| *first != event.id));
    let mut entry = Entry {
        at: event.time,
        id: &event.id,
        r#type: &event.event_type,
        cause,
        ..Entry::default()
    };
    let step_name = |step: usize| FULFILMENT.steps.get(step).map(|step| step.name);
    match FULFILMENT.action(event)? {
        Some(Action::Command { step } | Action::Compensate { step }) => entry.step = step_name(step),
        Some(Action::SetTimer(timer)) => {
            entry.step = step_name(timer.step);
            entry.due_at = Some(timer.due_at);
        }
        Some(Action::Record {
            step,
            outcome,
            answer,
            reason,
        }) => {
            entry.step = step_name(step);
            entry.answer = answer;
            entry.reason = reason.filter(|_| outcome != StepOutcome::Succeeded);
        }
        Some(Action::Cancel { reason }) => entry.reason = Some(reason),
        Some(Action::Complete) | None => {}
    }
    Ok(entry)
}
