//! The next batch of a subscription. Pure.

use std::collections::HashSet;
use std::rc::Rc;

use selvedge_events::Timestamp;

use super::parcel::Why;
use crate::subscription::Subscription;
use crate::{limits, mutant};

/// An event as it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its place in the journal.
    pub position: i64,
    /// Its stream.
    pub stream: Rc<str>,
    /// When it asks to be delivered, in milliseconds since the Unix epoch.
    pub deliver_at_ms: Option<i64>,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<i64>,
    /// Its id.
    pub id: Rc<str>,
    /// Its type.
    pub event_type: String,
    /// Its `traceparent`.
    pub trace: Option<Rc<str>>,
    /// The event in CloudEvents' JSON format.
    pub json: String,
}

/// The part of a range that one delivery brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where its events stand in the range; none when there is nothing to deliver now.
    pub places: Vec<usize>,
    /// Where those stand that are heard, but not now, and why.
    pub aside: Vec<(usize, Why)>,
    /// Where the cursor is once it is settled.
    pub cursor_after: i64,
}

/// What a subscription's next batch depends on.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'t> {
    /// For whom it is.
    pub subscription: &'t Subscription,
    /// The position up to which it is settled.
    pub cursor: i64,
    /// The last position that it may go to.
    pub end: i64,
    /// How many events it may have.
    pub size: u32,
    /// The streams that are held up, when the subscription is ordered.
    pub blocked: &'t HashSet<Rc<str>>,
    /// The positions of events that the live subscription isn't done with, when its projection is being built anew.
    pub unsettled: &'t HashSet<i64>,
    /// The time.
    pub now_ms: i64,
}

/// The next batch of a subscription: as many events as fit. The cursor goes past every event that was taken, put aside,
/// or isn't heard, and no further. No two events of a batch have the same id, since the answer tells them apart by it.
pub fn next(turn: &Turn<'_>, range: &[Encoded]) -> Batch {
    let mut batch = Batch {
        places: Vec::new(),
        aside: Vec::new(),
        cursor_after: turn.cursor,
    };
    let (mut ids, mut streams) = (HashSet::new(), HashSet::new());
    let mut bytes = 0;
    for (place, event) in range
        .iter()
        .enumerate()
        .filter(|(_, event)| event.position > turn.cursor && event.position <= turn.end)
    {
        let heard = turn.hears(event);
        if heard != Ok(false) {
            if batch.places.len() + batch.aside.len() >= turn.size as usize {
                if mutant::is("batch_skips_what_does_not_fit") {
                    batch.cursor_after = event.position;
                    continue;
                }
                break;
            }
            if let Some(why) = turn.wait(event).or_else(|| heard.err()).or_else(|| turn.put_off(event)) {
                batch.aside.push((place, why));
            } else if turn.subscription.is_one_per_stream() && !streams.insert(&event.stream) {
                break;
            } else {
                let fits = batch.places.is_empty() || bytes + event.json.len() <= limits::BATCH_BYTES_MAX;
                if !fits || !ids.insert(&event.id) {
                    break;
                }
                bytes += event.json.len();
                batch.places.push(place);
            }
        }
        batch.cursor_after = event.position;
    }
    batch
}

impl Turn<'_> {
    /// Whether the subscription hears an event.
    fn hears(&self, event: &Encoded) -> Result<bool, Why> {
        if !self.subscription.hears(&event.event_type) {
            return Ok(false);
        }
        event.meets(self.subscription)
    }

    /// Whether it waits until it is known what becomes of it in the live projection.
    fn wait(&self, event: &Encoded) -> Option<Why> {
        let due_at_ms = limits::NEVER_MS;
        self.unsettled
            .contains(&event.position)
            .then_some(Why::Scheduled { due_at_ms })
    }

    /// Why an event isn't delivered now, if it isn't.
    fn put_off(&self, event: &Encoded) -> Option<Why> {
        if let Some(why) = event.expired(self.subscription, self.now_ms) {
            return Some(why);
        }
        match event.deliver_at_ms {
            Some(due_at_ms) if due_at_ms > self.now_ms => Some(Why::Scheduled { due_at_ms }),
            _ => self.blocked.contains(&event.stream).then_some(Why::Held),
        }
    }
}

impl Encoded {
    /// Whether it meets the `match` of a subscription that hears its type. What can't be asked is a dead letter, so that
    /// it isn't lost.
    fn meets(&self, subscription: &Subscription) -> Result<bool, Why> {
        let Some(filter) = &subscription.filter else {
            return Ok(true);
        };
        filter.matches(&self.json).map_err(|reason| Why::Dead {
            reason: format!("its `match` can't be evaluated: {reason}"),
        })
    }

    /// Why it isn't delivered again, if it isn't: it has expired, or a `match` leaves it out that is new, or that the
    /// replay which brings it doesn't look at.
    pub fn rest(&self, subscription: &Subscription, now_ms: i64) -> Option<Why> {
        match self.meets(subscription) {
            Err(why) => Some(why),
            Ok(false) => Some(Why::Unheard),
            Ok(true) => self.expired(subscription, now_ms),
        }
    }

    /// Why it isn't delivered any more, once it has expired. What was delivered in time is part of a projection for good.
    fn expired(&self, subscription: &Subscription, now_ms: i64) -> Option<Why> {
        if subscription.is_being_built() || mutant::is("expiry_ignored") {
            return None;
        }
        let expires_at_ms = self.expires_at_ms.filter(|expires_at_ms| *expires_at_ms <= now_ms)?;
        let reason = format!("it expired at {}", Timestamp::from_unix_ms(expires_at_ms));
        Some(Why::Dead { reason })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::subscription::Subscriptions;

    fn subscription(batch: u32) -> Subscription {
        let text = format!(
            "[[subscription]]\nname = \"a\"\ntypes = [\"todos.task.*\"]\ntarget = \"function:x\"\nbatch = {batch}\n"
        );
        Subscription::clone(Subscriptions::parse(&text).expect("valid").get("a").expect("there"))
    }

    fn encoded(position: i64, id: &str, heard: bool, bytes: usize) -> Encoded {
        let event_type = if heard {
            "todos.task.created"
        } else {
            "orders.order.placed"
        };
        Encoded {
            position,
            stream: "s/1".into(),
            deliver_at_ms: None,
            expires_at_ms: None,
            id: id.into(),
            event_type: event_type.to_owned(),
            trace: None,
            json: "x".repeat(bytes),
        }
    }

    fn events() -> impl Strategy<Value = Vec<Encoded>> {
        let event = (
            1..4_i64,
            0..40_u8,
            any::<bool>(),
            prop_oneof![Just(10_usize), Just(1_000_000)],
            prop_oneof![Just(None), Just(Some(0)), Just(Some(1))],
        );
        prop::collection::vec(event, 0..40).prop_map(|events| {
            let mut position = 0;
            let place = |(step, id, heard, bytes, deliver_at_ms)| {
                position += step;
                Encoded {
                    deliver_at_ms,
                    ..encoded(position, &format!("id-{id}"), heard, bytes)
                }
            };
            events.into_iter().map(place).collect()
        })
    }

    proptest! {
        #[test]
        fn batch_after_batch_brings_or_puts_off_every_heard_event_once_and_in_order(events in events(), size in 1..20_u32) {
            let subscription = subscription(size);
            let head = events.last().map_or(0, |event| event.position);
            let (mut cursor, mut brought, mut put_off) = (0, Vec::new(), Vec::new());
            while cursor < head {
                let blocked = HashSet::new();
                let turn = Turn {
                    subscription: &subscription, cursor, end: head, size, blocked: &blocked, unsettled: &HashSet::new(),
                    now_ms: 0,
                };
                let batch = next(&turn, &events);
                prop_assert!(batch.cursor_after > cursor, "every batch moves the cursor");
                prop_assert!(batch.places.len() + batch.aside.len() <= size as usize);
                let bytes: usize = batch.places.iter().map(|place| events[*place].json.len()).sum();
                prop_assert!(bytes <= limits::BATCH_BYTES_MAX || batch.places.len() == 1);
                let ids: HashSet<_> = batch.places.iter().map(|place| &events[*place].id).collect();
                prop_assert_eq!(ids.len(), batch.places.len());
                brought.extend(batch.places.iter().map(|place| events[*place].position));
                put_off.extend(batch.aside.iter().map(|(place, _)| events[*place].position));
                cursor = batch.cursor_after;
            }
            let heard = |delayed: bool| {
                let chosen = events.iter().filter(move |event| {
                    event.event_type.starts_with("todos") && event.deliver_at_ms.is_some_and(|time| time > 0) == delayed
                });
                chosen.map(|event| event.position).collect::<Vec<_>>()
            };
            prop_assert_eq!(brought, heard(false));
            prop_assert_eq!(put_off, heard(true));
        }
    }
}
