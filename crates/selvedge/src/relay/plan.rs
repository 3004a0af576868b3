//! What a relay does next. Pure: it takes what was seen and the time, and gives back what to do.

use crate::lease::{self, Leased};
use crate::subscription::{Subscription, Subscriptions};
use crate::{limits, projection};

/// What a look at the outbox shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The position of the journal's last event; 0 when it is empty.
    pub head: i64,
    /// Whether a retry is due that nobody works on.
    pub retry_due: bool,
    /// Whether a replay may make its next step.
    pub replay_due: bool,
    /// When done markers were last collected, in milliseconds since the Unix epoch.
    pub collected_at_ms: i64,
    /// How far each subscription is.
    pub progress: Vec<Progress>,
}

/// How far a subscription is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its name.
    pub name: String,
    /// The generation of its function's projection that it builds.
    pub generation: i64,
    /// The position up to which it is settled.
    pub cursor: i64,
    /// The position up to which its rate lets it go, if it has one.
    pub allowed: Option<i64>,
    /// When the lease on it ends, in milliseconds since the Unix epoch.
    pub leased_until_ms: i64,
    /// Whether an operator paused it.
    pub paused: bool,
    /// How many of its retries are under way; counted where any subscription says `max_in_flight`.
    pub busy: u32,
}

impl View {
    /// The last position that a subscription may be brought now. A projection that is being built doesn't overtake the live one.
    pub fn end_of(&self, name: &str) -> i64 {
        let find = |name: &str| self.progress.iter().find(|progress| progress.name == name);
        let allowed = find(name).and_then(|progress| progress.allowed).unwrap_or(i64::MAX);
        let live = projection::is_being_built(name).then(|| find(projection::subscription_of(name)));
        let settled = live.map_or(self.head, |live| live.map_or(0, |live| live.cursor));
        settled.min(allowed)
    }
}

/// The subscriptions that have work, are free, aren't paused, and have room for it.
pub fn wanted<'s>(view: &View, subscriptions: &'s Subscriptions, now_ms: i64) -> Vec<&'s Subscription> {
    let is_ready = |progress: &&Progress| {
        progress.cursor < view.end_of(&progress.name)
            && !progress.paused
            && lease::is_free(progress.leased_until_ms, now_ms)
    };
    let known = |progress: &Progress| {
        let subscription = subscriptions.get(&progress.name)?;
        // What comes from a topic its consumer brings.
        let is_fed = subscription.from.is_none();
        (is_fed && subscription.batch_beside(progress.busy) > 0).then_some(&**subscription)
    };
    view.progress.iter().filter(is_ready).filter_map(known).collect()
}

/// A part of the journal that is read once for several subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The position after which it begins.
    pub after: i64,
    /// How many events are read at most.
    pub limit: u32,
    /// For whom.
    pub leased: Vec<Leased>,
}

/// Which parts of the journal to read. Subscriptions that are close together share one; one that is far behind has its
/// own, so that nobody waits for it.
pub fn ranges(mut leased: Vec<Leased>) -> Vec<Range> {
    leased.sort_by_key(|leased| leased.cursor);
    let mut ranges: Vec<Range> = Vec::new();
    for leased in leased {
        match ranges.last_mut() {
            Some(range) if leased.cursor - range.after < i64::from(limits::BATCH_EVENTS_MAX) => {
                // The last to join sees a full batch too.
                let distance = u32::try_from(leased.cursor - range.after).unwrap_or(0);
                range.limit = limits::BATCH_EVENTS_MAX + distance;
                range.leased.push(leased);
            }
            _ => ranges.push(Range {
                after: leased.cursor,
                limit: limits::BATCH_EVENTS_MAX,
                leased: vec![leased],
            }),
        }
    }
    ranges
}

/// The ordered subscriptions of a range.
pub fn ordered<'r>(range: &'r Range, subscriptions: &Subscriptions) -> Vec<&'r str> {
    let is_ordered = |name: &&str| {
        subscriptions
            .get(name)
            .is_some_and(|subscription| subscription.is_ordered())
    };
    range
        .leased
        .iter()
        .map(|leased| &*leased.name)
        .filter(is_ordered)
        .collect()
}

/// Whether a pass that brought this many events in this time says that more of them are coming. At rest it doesn't, and
/// the next event is brought at once.
///
/// ```
/// use selvedge::relay::plan::is_busy;
///
/// assert!(!is_busy(1, 0));
/// assert!(is_busy(20, 8));
/// assert!(!is_busy(20, 300));
/// ```
pub fn is_busy(events: usize, took_ms: i64) -> bool {
    events >= limits::BUSY_EVENTS_MIN && i64::try_from(events).is_ok_and(|events| events >= took_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_leased_subscription_is_in_one_range_that_reaches_its_next_batch(
            cursors in prop::collection::vec(0..3_000_i64, 0..12),
        ) {
            let leased = cursors.iter().map(|cursor| Leased { name: format!("s{cursor}"), cursor: *cursor, busy: 0 }).collect();
            let ranges = ranges(leased);
            prop_assert_eq!(ranges.iter().map(|range| range.leased.len()).sum::<usize>(), cursors.len());
            for range in &ranges {
                prop_assert!(range.limit < 2 * limits::BATCH_EVENTS_MAX);
                for leased in &range.leased {
                    prop_assert!(leased.cursor >= range.after);
                    prop_assert!(
                        range.after + i64::from(range.limit) >= leased.cursor + i64::from(limits::BATCH_EVENTS_MAX)
                    );
                }
            }
        }

        #[test]
        fn only_what_has_work_and_room_and_is_free_is_wanted(
            head in 0..5_i64,
            cursor in 0..5_i64,
            leased_until_ms in 0..10_i64,
            now_ms in 0..10_i64,
            paused in any::<bool>(),
            busy in 0..4_u32,
        ) {
            let subscriptions = Subscriptions::parse(
                "[[subscription]]\nname = \"a\"\ntypes = [\"*\"]\ntarget = \"function:x\"\nmax_in_flight = 2\n",
            ).expect("valid");
            let progress = |name: &str| Progress {
                name: name.to_owned(), generation: 0, cursor, allowed: None, leased_until_ms, paused, busy,
            };
            let view = View { head, progress: vec![progress("a"), progress("removed")], ..View::default() };
            let ready = cursor < head && leased_until_ms <= now_ms && !paused && busy < 2;
            let found: Vec<_> = wanted(&view, &subscriptions, now_ms).iter().map(|found| &*found.name).collect();
            prop_assert_eq!(found, Vec::from_iter(ready.then_some("a")));
        }
    }
}
