//! Packs parcels: what is sent to one subscription at once. Pure.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::batch::{self, Encoded, Turn};
use super::claim::Claimed;
use super::parcel::{Aside, Cause, Item, Parcel, Why};
use super::plan::{Range, View};
use crate::limits;
use crate::subscription::{Subscription, Subscriptions, Target};

/// A parcel, and what is in it.
pub(super) struct Outgoing {
    pub(super) parcel: Parcel,
    /// The bodies of its requests: one for all events where the target is a function, else one for each.
    pub(super) bodies: Vec<Vec<u8>>,
}

/// What was read for a range.
pub(super) struct Seen<'v> {
    pub(super) view: &'v View,
    pub(super) events: Vec<Encoded>,
    /// The streams that are held up, by subscription.
    pub(super) blocked: HashMap<String, HashSet<Rc<str>>>,
    /// The positions of events that wait for the live subscription, by the one that builds its projection anew.
    pub(super) unsettled: HashMap<String, HashSet<i64>>,
}

/// The next parcel of every subscription of a range.
pub(super) fn range(
    range: &Range,
    seen: &Seen<'_>,
    subscriptions: &Subscriptions,
    token: &Rc<str>,
    now_ms: i64,
) -> Vec<Outgoing> {
    let events = &seen.events;
    let (nothing, nowhere) = (HashSet::new(), HashSet::new());
    let pack_leased = |leased: &crate::lease::Leased| {
        let subscription = subscriptions.get(&leased.name)?.clone();
        let turn = Turn {
            subscription: &subscription,
            cursor: leased.cursor,
            end: seen.view.end_of(&leased.name),
            size: subscription.batch_beside(leased.busy),
            blocked: seen.blocked.get(&leased.name).unwrap_or(&nothing),
            unsettled: seen.unsettled.get(&leased.name).unwrap_or(&nowhere),
            now_ms,
        };
        let batch = batch::next(&turn, events);
        let mut packing = Packing::new(subscription.clone());
        for place in batch.places {
            packing.add(&events[place], item(&events[place], 0, 0, false));
        }
        let put_aside = |(place, why): (usize, Why)| Aside {
            item: item(&events[place], 0, 0, false),
            why,
        };
        packing.aside.extend(batch.aside.into_iter().map(put_aside));
        let cause = Cause::Range {
            cursor_after: batch.cursor_after,
        };
        Some(packing.finish(token, cause))
    };
    range.leased.iter().filter_map(pack_leased).collect()
}

/// Parcels for exceptions: those that were in a batch that failed as a whole go alone, all others of a subscription and
/// attempt go together. What is held behind another event goes with that one, or waits on.
pub(super) fn exceptions(claimed: &[Claimed], token: &Rc<str>, now_ms: i64) -> Vec<Outgoing> {
    let mut packings: Vec<Packing> = Vec::new();
    // In which parcel a stream's first event is, and whether those that follow it may still be added.
    let mut heads: HashMap<(&str, &str), (usize, bool)> = HashMap::new();
    for one in claimed {
        let stream = (one.subscription.name.as_str(), &*one.event.stream);
        let item = item(&one.event, one.attempts, one.earlier_attempts, one.isolated);
        let head = heads.get(&stream).copied().filter(|_| one.follows);
        let place = match head {
            Some((place, _)) => place,
            None => packings
                .iter()
                .position(|packing| packing.takes(one))
                .unwrap_or_else(|| {
                    packings.push(Packing::new(one.subscription.clone()));
                    packings.len() - 1
                }),
        };
        let packing = &mut packings[place];
        let is_open = head.is_none_or(|(_, is_open)| is_open && packing.has_room_for(&one.event));
        heads.insert(stream, (place, is_open));
        if let Some(why) = one.event.rest(&one.subscription, now_ms) {
            packing.aside.push(Aside { item, why });
        } else if is_open {
            packing.open &= !one.isolated;
            packing.attempts = packing.attempts.or((!one.follows).then_some(one.attempts));
            packing.add(&one.event, item);
        } else {
            packing.aside.push(Aside { item, why: Why::Held });
        }
    }
    packings
        .into_iter()
        .map(|packing| packing.finish(token, Cause::Retry))
        .collect()
}

/// A parcel that is being packed.
struct Packing {
    subscription: Arc<Subscription>,
    items: Vec<Item>,
    aside: Vec<Aside>,
    bodies: Vec<Vec<u8>>,
    bytes: usize,
    /// How many attempts were made before on those that go together; `None` as long as there is none.
    attempts: Option<u32>,
    /// Whether others may be added.
    open: bool,
}

impl Packing {
    fn new(subscription: Arc<Subscription>) -> Self {
        Self {
            subscription,
            items: Vec::new(),
            aside: Vec::new(),
            bodies: Vec::new(),
            bytes: 0,
            attempts: None,
            open: true,
        }
    }

    /// Whether a retry goes with those that are here.
    fn takes(&self, retry: &Claimed) -> bool {
        self.open
            && !retry.isolated
            && self.subscription.name == retry.subscription.name
            && self.attempts.is_none_or(|attempts| attempts == retry.attempts)
            && self.has_room_for(&retry.event)
    }

    fn has_room_for(&self, event: &Encoded) -> bool {
        self.items.len() < self.subscription.batch as usize
            && (self.items.is_empty() || self.bytes + event.json.len() <= limits::BATCH_BYTES_MAX)
            && self.items.iter().all(|item| item.id != event.id)
    }

    fn add(&mut self, event: &Encoded, item: Item) {
        let json = event.json.as_bytes();
        match (&self.subscription.target, self.bodies.last_mut()) {
            (Target::Webhook { .. } | Target::DaprApp { .. } | Target::Broker(_), _) => self.bodies.push(json.to_vec()),
            (Target::Function { .. }, None) => self.bodies.push([b"[", json].concat()),
            (Target::Function { .. }, Some(batch)) => {
                batch.push(b',');
                batch.extend_from_slice(json);
            }
        }
        self.bytes += json.len();
        self.items.push(item);
    }

    fn finish(mut self, token: &Rc<str>, cause: Cause) -> Outgoing {
        if let (Target::Function { .. }, Some(batch)) = (&self.subscription.target, self.bodies.last_mut()) {
            batch.push(b']');
        }
        Outgoing {
            parcel: Parcel {
                subscription: self.subscription,
                token: token.clone(),
                cause,
                items: self.items,
                aside: self.aside,
            },
            bodies: self.bodies,
        }
    }
}

/// The next attempt on an event, after this many of them since and before its last redrive.
fn item(event: &Encoded, attempts: u32, earlier_attempts: u32, isolated: bool) -> Item {
    let attempt = attempts.saturating_add(1);
    Item {
        position: event.position,
        id: event.id.clone(),
        stream: event.stream.clone(),
        trace: event.trace.clone(),
        attempt,
        attempt_ever: attempt.saturating_add(earlier_attempts),
        isolated,
    }
}
