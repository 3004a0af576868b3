//! What has to be written down after deliveries. Pure.

use std::rc::Rc;
use std::sync::Arc;

use crate::delivery::Outcome;
use crate::mutant;
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
}

/// What became of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The function said of every event what became of it.
    Answered(Vec<Outcome>),
    /// The delivery failed as a whole, for this reason: nothing is known of any event.
    Failed(String),
}

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

/// What an event that isn't settled waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The next attempt.
    Retry,
    /// The time that it asks for.
    Scheduled,
    /// Someone's decision: it is a dead letter.
    Dead,
}

impl State {
    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Scheduled => "scheduled",
            Self::Dead => "dead",
        }
    }
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

impl Settlement {
    /// Adds what became of a parcel. `random` gives numbers from 0 up to 1.
    ///
    /// Every event of a parcel that failed as a whole is delivered alone from then on, so that one that kills its
    /// function takes no other with it.
    pub fn add(&mut self, parcel: &Parcel, delivered: Delivered, now_ms: i64, random: &mut dyn FnMut() -> f64) {
        let (outcomes, whole_failed) = match delivered {
            Delivered::Answered(outcomes) => (outcomes, false),
            Delivered::Failed(_) if mutant::is("failure_is_success") => {
                (vec![Outcome::Success; parcel.items.len()], false)
            }
            Delivered::Failed(reason) => (vec![Outcome::retry(reason); parcel.items.len()], true),
        };
        assert_eq!(outcomes.len(), parcel.items.len(), "every event has an outcome");
        for (item, outcome) in parcel.items.iter().zip(outcomes) {
            let (reason, delay_ms) = match outcome {
                Outcome::Drop { .. } if mutant::is("drop_is_success") => {
                    self.add_success(parcel, item);
                    continue;
                }
                Outcome::Success => {
                    self.add_success(parcel, item);
                    continue;
                }
                Outcome::Drop { reason } => (reason, None),
                Outcome::Retry { reason } => (reason, parcel.subscription.retry.delay_ms(item.attempt, random())),
            };
            if delay_ms.is_none() && mutant::is("dead_letter_forgotten") {
                self.add_success(parcel, item);
                continue;
            }
            let (state, due_at_ms) = match delay_ms {
                Some(delay_ms) => (State::Retry, now_ms.saturating_add_unsigned(delay_ms)),
                None => (State::Dead, 0),
            };
            let exception = Exception {
                attempt: item.attempt,
                isolated: item.isolated || whole_failed,
                reason,
                failed_at_ms: now_ms,
                ..exception(parcel, item, state, due_at_ms)
            };
            match parcel.cause {
                Cause::Range { .. } => self.failed.push(exception),
                Cause::Retry => self.again.push(exception),
            }
        }
        self.failed
            .extend(parcel.aside.iter().map(|aside| set_aside(parcel, aside)));
        if let Cause::Range { cursor_after } = parcel.cause {
            let subscription = parcel.subscription.name.clone();
            self.moved.push(Moved {
                subscription,
                token: parcel.token.clone(),
                cursor: cursor_after,
            });
        }
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

/// An event whose delivery was put off.
fn set_aside(parcel: &Parcel, aside: &Aside) -> Exception {
    match aside.why {
        Why::Scheduled { due_at_ms } => exception(parcel, &aside.item, State::Scheduled, due_at_ms),
    }
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
        attempt: item.attempt - 1,
        isolated: item.isolated,
        reason: String::new(),
        failed_at_ms: 0,
        trace: item.trace.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::subscription::Subscriptions;

    const NOW_MS: i64 = 1_000_000;

    fn parcel(cause: Cause, attempts: &[u32]) -> Parcel {
        let text =
            "[[subscription]]\nname = \"a\"\ntypes = [\"*\"]\ntarget = \"function:x\"\nmax_attempts = 3\njitter = 0\n";
        let item = |(position, attempt): (i64, &u32)| Item {
            position,
            id: position.to_string().into(),
            stream: "s/1".into(),
            trace: None,
            attempt: *attempt,
            isolated: false,
        };
        Parcel {
            subscription: Subscriptions::parse(text)
                .expect("valid")
                .get("a")
                .expect("there")
                .clone(),
            token: "token".into(),
            cause,
            items: (1..).zip(attempts).map(item).collect(),
            aside: Vec::new(),
        }
    }

    fn settled(parcel: &Parcel, delivered: Delivered) -> Settlement {
        let mut settlement = Settlement::default();
        settlement.add(parcel, delivered, NOW_MS, &mut || 0.0);
        settlement
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Success),
            Just(Outcome::retry("later")),
            Just(Outcome::drop("never"))
        ]
    }

    proptest! {
        #[test]
        fn every_event_is_settled_in_one_way(
            outcomes in prop::collection::vec((outcome(), 1..=3_u32), 0..30),
            is_retry in any::<bool>(),
            whole_failed in any::<bool>(),
        ) {
            let (outcomes, attempts): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
            let cause = if is_retry { Cause::Retry } else { Cause::Range { cursor_after: 99 } };
            let parcel = parcel(cause, &attempts);
            let delivered = if whole_failed {
                Delivered::Failed("it trapped".to_owned())
            } else {
                Delivered::Answered(outcomes.clone())
            };
            let settlement = settled(&parcel, delivered);

            let exceptions = if is_retry { &settlement.again } else { &settlement.failed };
            let mut positions: Vec<_> = exceptions.iter().map(|exception| exception.position).collect();
            if is_retry {
                positions.extend(settlement.done.iter().map(|done| done.position));
                prop_assert!(settlement.moved.is_empty() && settlement.failed.is_empty());
            } else {
                let succeeded = |(position, outcome): (i64, &Outcome)| {
                    (*outcome == Outcome::Success && !whole_failed).then_some(position)
                };
                positions.extend((1..).zip(&outcomes).filter_map(succeeded));
                prop_assert_eq!(settlement.moved.iter().map(|moved| moved.cursor).collect::<Vec<_>>(), [99]);
                prop_assert!(settlement.done.is_empty() && settlement.again.is_empty());
            }
            positions.sort_unstable();
            prop_assert_eq!(positions, parcel.items.iter().map(|item| item.position).collect::<Vec<_>>());
            prop_assert!(exceptions.iter().all(|exception| exception.isolated == whole_failed));
        }
    }

    #[test]
    fn retries_back_off_until_the_last_attempt_makes_a_dead_letter() {
        let settlement = settled(&parcel(Cause::Retry, &[1, 2, 3]), Delivered::Failed("gone".to_owned()));
        let due: Vec<_> = settlement
            .again
            .iter()
            .map(|again| (again.state, again.due_at_ms))
            .collect();
        let expected = [
            (State::Retry, NOW_MS + 1_000),
            (State::Retry, NOW_MS + 2_000),
            (State::Dead, 0),
        ];
        assert_eq!(due, expected);
        assert_eq!(settlement.again[2].reason, "gone");
    }

    #[test]
    fn a_drop_is_a_dead_letter_at_once() {
        let parcel = parcel(Cause::Range { cursor_after: 1 }, &[1]);
        let settlement = settled(&parcel, Delivered::Answered(vec![Outcome::drop("no such user")]));
        assert_eq!(settlement.failed[0].state, State::Dead);
        assert_eq!(settlement.failed[0].attempt, 1);
    }

    #[test]
    fn once_isolated_always_isolated() {
        let mut parcel = parcel(Cause::Retry, &[1]);
        parcel.items[0].isolated = true;
        assert!(settled(&parcel, Delivered::Answered(vec![Outcome::retry("later")])).again[0].isolated);
    }
}
