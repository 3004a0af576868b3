//! What has to be written down after deliveries. Pure.

#[cfg(test)]
mod tests;

use std::rc::Rc;

use super::parcel::{Aside, Cause, Delivered, Item, Parcel, State, Why};
use crate::delivery::Outcome;
use crate::mutant;
use crate::order::{Standing, Stops};

/// Everything that has to be written down.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    /// Cursors that move on; their leases end.
    pub moved: Vec<Moved>,
    /// Events of a range that failed, or weren't delivered now.
    pub failed: Vec<Exception>,
    /// Retries that failed once more.
    pub again: Vec<Exception>,
    /// Retries that succeeded.
    pub done: Vec<Done>,
    /// Streams of ordered subscriptions that nothing holds up any more.
    pub freed: Vec<Freed>,
}

/// A cursor that moves on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The subscription's name.
    pub subscription: String,
    /// The token that must still be there.
    pub token: Rc<str>,
    /// Where the cursor is now.
    pub cursor: i64,
}

/// A retry that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The subscription's name.
    pub subscription: String,
    /// The event's place in the journal.
    pub position: i64,
    /// The token that must still be there.
    pub token: Rc<str>,
}

/// A stream whose next event may be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// The subscription's name.
    pub subscription: String,
    /// The stream.
    pub stream: Rc<str>,
    /// The token of those that were settled.
    pub token: Rc<str>,
    /// When they were, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// An event that isn't on the happy path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The subscription's name.
    pub subscription: String,
    /// The event's place in the journal.
    pub position: i64,
    /// Its stream.
    pub stream: Rc<str>,
    /// The token that must still be there.
    pub token: Rc<str>,
    /// What it waits for.
    pub state: State,
    /// When it is due, in milliseconds since the Unix epoch; 0 for a dead letter.
    pub due_at_ms: i64,
    /// The position of the event that it waits behind, when that is written down with it; 0 otherwise.
    pub behind: i64,
    /// How many attempts were made.
    pub attempt: u32,
    /// Whether it is delivered alone from now on.
    pub isolated: bool,
    /// What went wrong; empty as long as nothing did.
    pub reason: String,
    /// When it failed, in milliseconds since the Unix epoch; 0 as long as it didn't.
    pub failed_at_ms: i64,
    /// Its `traceparent`.
    pub trace: Option<Rc<str>>,
}

/// What became of one event of a delivery.
struct Verdict {
    outcome: Outcome,
    /// Whether nobody said so: it is a guess, about the worst of what may have happened.
    is_unknown: bool,
    /// When it may be tried again at the soonest, in milliseconds since the Unix epoch; 0 when nobody asked for a time.
    not_before_ms: i64,
}

impl Verdict {
    fn said(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_unknown: false,
            not_before_ms: 0,
        }
    }

    fn unknown(reason: &str) -> Self {
        Self {
            is_unknown: true,
            ..Self::said(Outcome::retry(reason))
        }
    }
}

/// One for each event of the parcel.
fn verdicts(parcel: &Parcel, delivered: Delivered) -> Vec<Verdict> {
    let verdicts: Vec<_> = match delivered {
        Delivered::Answered(outcomes) => outcomes.into_iter().map(Verdict::said).collect(),
        Delivered::Deferred(outcomes, not_before_ms) => {
            let deferred = |(outcome, not_before_ms): (Outcome, Option<i64>)| Verdict {
                not_before_ms: not_before_ms.unwrap_or(0),
                ..Verdict::said(outcome)
            };
            outcomes.into_iter().zip(not_before_ms).map(deferred).collect()
        }
        Delivered::Failed(_) if mutant::is("failure_is_success") => {
            parcel.items.iter().map(|_| Verdict::said(Outcome::Success)).collect()
        }
        Delivered::Failed(reason) => parcel.items.iter().map(|_| Verdict::unknown(&reason)).collect(),
        Delivered::Partly(outcomes, reason) => outcomes
            .into_iter()
            .map(|outcome| outcome.map_or_else(|| Verdict::unknown(&reason), Verdict::said))
            .collect(),
    };
    assert_eq!(verdicts.len(), parcel.items.len(), "every event has an outcome");
    verdicts
}

impl Settlement {
    /// Adds what became of a parcel. `random` gives numbers from 0 up to 1.
    ///
    /// Every event of which nothing is known is delivered alone from then on, so that one that kills its function takes no
    /// other with it.
    ///
    /// In an ordered subscription a stream stops at its first event that is to be tried again: those behind it are held,
    /// and no attempt of theirs counts.
    pub fn add(&mut self, parcel: &Parcel, delivered: Delivered, now_ms: i64, random: &mut dyn FnMut() -> f64) {
        let mut stops = Stops::new(parcel.subscription.is_ordered());
        let mut exceptions = Vec::new();
        for (item, verdict) in parcel.items.iter().zip(verdicts(parcel, delivered)) {
            let Verdict {
                outcome,
                is_unknown,
                not_before_ms,
            } = verdict;
            if outcome == Outcome::Success || is_forgotten(parcel, item, &outcome) {
                self.add_success(parcel, item);
                continue;
            }
            let held = hold(parcel, item, &mut stops, now_ms);
            let mut exception = held.unwrap_or_else(|| {
                let failed = fail(parcel, item, outcome, now_ms, random);
                // Behind a dead letter nothing was tried either.
                let is_dead = failed.state == State::Dead;
                stops.stop(&item.stream, (!is_dead).then_some(item.position));
                failed
            });
            exception.isolated |= is_unknown;
            if exception.state == State::Retry {
                exception.due_at_ms = exception.due_at_ms.max(not_before_ms);
            }
            exceptions.push(exception);
        }
        for aside in &parcel.aside {
            match put_aside(parcel, aside, &mut stops, now_ms) {
                Some(exception) => exceptions.push(exception),
                None => self.add_success(parcel, &aside.item),
            }
        }
        match parcel.cause {
            Cause::Range { cursor_after } => {
                self.failed.extend(exceptions);
                self.moved.push(Moved {
                    subscription: parcel.subscription.name.clone(),
                    token: parcel.token.clone(),
                    cursor: cursor_after,
                });
            }
            Cause::Retry => {
                self.again.extend(exceptions);
                self.free(parcel, &stops, now_ms);
            }
        }
    }

    /// Streams of which everything in a parcel of retries is settled.
    fn free(&mut self, parcel: &Parcel, stops: &Stops, now_ms: i64) {
        if !parcel.subscription.is_ordered() {
            return;
        }
        let items = parcel.items.iter().chain(parcel.aside.iter().map(|aside| &aside.item));
        let mut streams: Vec<_> = items.map(|item| &item.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let free = streams
            .into_iter()
            .filter(|stream| !matches!(stops.standing(stream), Standing::Behind(_)));
        self.freed.extend(free.map(|stream| Freed {
            subscription: parcel.subscription.name.clone(),
            stream: stream.clone(),
            token: parcel.token.clone(),
            at_ms: now_ms,
        }));
    }

    /// A first delivery that succeeded leaves nothing but the cursor's move.
    fn add_success(&mut self, parcel: &Parcel, item: &Item) {
        if parcel.cause == Cause::Retry {
            let subscription = parcel.subscription.name.clone();
            self.done.push(Done {
                subscription,
                position: item.position,
                token: parcel.token.clone(),
            });
        }
    }
}

/// What becomes of an event behind which its stream has stopped; `None` when it hasn't.
fn hold(parcel: &Parcel, item: &Item, stops: &mut Stops, now_ms: i64) -> Option<Exception> {
    let held = match stops.standing(&item.stream) {
        Standing::Free => return None,
        Standing::Next => exception(parcel, item, State::Retry, now_ms),
        Standing::Behind(behind) => Exception {
            behind,
            ..exception(parcel, item, State::Held, now_ms)
        },
    };
    stops.stop(&item.stream, Some(item.position));
    Some(held)
}

/// Mistakes that a test may ask for: a dead letter that is none.
fn is_forgotten(parcel: &Parcel, item: &Item, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Success => false,
        Outcome::Drop { .. } => mutant::is("drop_is_success") || mutant::is("dead_letter_forgotten"),
        Outcome::Retry { .. } => {
            mutant::is("dead_letter_forgotten") && parcel.subscription.retry.delay_ms(item.attempt, 0.0).is_none()
        }
    }
}

/// An event whose delivery failed.
fn fail(parcel: &Parcel, item: &Item, outcome: Outcome, now_ms: i64, random: &mut dyn FnMut() -> f64) -> Exception {
    let (reason, delay_ms) = match outcome {
        Outcome::Success => unreachable!("a success isn't a failure"),
        Outcome::Drop { reason } => (reason, None),
        Outcome::Retry { reason } => (reason, parcel.subscription.retry.delay_ms(item.attempt, random())),
    };
    let (state, due_at_ms) = match delay_ms {
        Some(delay_ms) => (State::Retry, now_ms.saturating_add_unsigned(delay_ms)),
        None => (State::Dead, 0),
    };
    Exception {
        attempt: item.attempt,
        reason,
        failed_at_ms: now_ms,
        ..exception(parcel, item, state, due_at_ms)
    }
}

/// An event that the delivery left out; `None` when it is settled.
fn put_aside(parcel: &Parcel, aside: &Aside, stops: &mut Stops, now_ms: i64) -> Option<Exception> {
    let item = &aside.item;
    Some(match &aside.why {
        Why::Unheard => return None,
        Why::Scheduled { due_at_ms } => exception(parcel, item, State::Scheduled, *due_at_ms),
        Why::Dead { reason } => Exception {
            reason: reason.clone(),
            failed_at_ms: now_ms,
            ..exception(parcel, item, State::Dead, 0)
        },
        Why::Held => hold(parcel, item, stops, now_ms).unwrap_or_else(|| {
            stops.stop(&item.stream, Some(item.position));
            // Of a range: an exception from before holds it up. Of retries: it was left out, and is next.
            let state = if parcel.cause == Cause::Retry {
                State::Retry
            } else {
                State::Held
            };
            exception(parcel, item, state, now_ms)
        }),
    })
}

/// An event in this state to which nothing has happened yet.
fn exception(parcel: &Parcel, item: &Item, state: State, due_at_ms: i64) -> Exception {
    Exception {
        subscription: parcel.subscription.name.clone(),
        position: item.position,
        stream: item.stream.clone(),
        token: parcel.token.clone(),
        state,
        due_at_ms,
        behind: 0,
        attempt: item.attempt - 1,
        isolated: item.isolated,
        reason: String::new(),
        failed_at_ms: 0,
        trace: item.trace.clone(),
    }
}
