//! What is sent to one subscription at once, and what becomes of it.

use std::rc::Rc;
use std::sync::Arc;

use crate::delivery::Outcome;
use crate::subscription::Subscription;

/// What was sent to one subscription at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// For whom.
    pub subscription: Arc<Subscription>,
    /// The token of the lease under which it was sent.
    pub token: Rc<str>,
    /// Why it was sent.
    pub cause: Cause,
    /// Its events; there may be none when the cause is a range.
    pub items: Vec<Item>,
    /// Events that the delivery leaves out, and that are written down with it.
    pub aside: Vec<Aside>,
}

/// Why there is a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The journal went on.
    Range {
        /// Where the cursor is once it is settled.
        cursor_after: i64,
    },
    /// Earlier deliveries failed and are due again.
    Retry,
}

/// One event within a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the journal.
    pub position: i64,
    /// Its id.
    pub id: Rc<str>,
    /// Its stream.
    pub stream: Rc<str>,
    /// Its `traceparent`.
    pub trace: Option<Rc<str>>,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    /// Which attempt this is, those before a redrive counted as well: no number comes twice.
    pub attempt_ever: u32,
    /// Whether it is delivered alone.
    pub isolated: bool,
}

/// An event that isn't delivered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The event, with the number of the attempt that its delivery would have been.
    pub item: Item,
    /// Why it isn't.
    pub why: Why,
}

/// Why an event isn't delivered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It asks for a later time.
    Scheduled {
        /// That time, in milliseconds since the Unix epoch.
        due_at_ms: i64,
    },
    /// An earlier event of its stream isn't settled.
    Held,
    /// Its subscription doesn't hear it any more: it is settled.
    Unheard,
    /// It won't ever be: it is a dead letter.
    Dead {
        /// Why.
        reason: String,
    },
}

/// What became of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The function said of every event what became of it.
    Answered(Vec<Outcome>),
    /// The same, and of every event before when its receiver wants no other attempt, in milliseconds since the Unix epoch.
    Deferred(Vec<Outcome>, Vec<Option<i64>>),
    /// The delivery failed as a whole, for this reason: nothing is known of any event.
    Failed(String),
    /// It was said of some events what became of them. Nothing is known of the others, for this reason.
    Partly(Vec<Option<Outcome>>, String),
}

/// What an event that isn't settled waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The next attempt.
    Retry,
    /// The time that it asks for.
    Scheduled,
    /// An earlier event of its stream.
    Held,
    /// Someone's decision: it is a dead letter.
    Dead,
}

impl State {
    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Scheduled => "scheduled",
            Self::Held => "held",
            Self::Dead => "dead",
        }
    }
}
