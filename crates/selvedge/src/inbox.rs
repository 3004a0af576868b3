//! The inbox: a delivered event has its effect once, however often it is delivered.
//!
//! What is done is marked in the key-value store, read and written for a whole batch at once. A marker is written after
//! the effect, so a crash between the two repeats the effect: an effect in SQL therefore carries the event's id as a
//! unique key as well, which also settles two deliveries of one event at the same moment.

use std::collections::HashSet;
use std::fmt::Write;

use selvedge_events::{Event, TypePattern};
use sha2::{Digest, Sha256};

use crate::delivery::Outcome;
use crate::function::Effect;
use crate::{Error, Host, limits, mutant, order};

/// What came with one delivery.
#[derive(Debug)]
pub struct Delivered<'d> {
    /// The subscription that brings it.
    pub subscription: &'d str,
    /// The events.
    pub events: Vec<Event>,
    /// The number of each event's stream where a stream's events are to take effect one after the other. Then what stands
    /// behind an event that didn't succeed isn't tried.
    pub streams: Option<Vec<usize>>,
    /// The types that the function takes; `None` for all.
    pub scope: Option<&'d [TypePattern]>,
}

/// Has every event of a delivery take effect that hasn't yet, and says what became of each, in the delivery's order.
///
/// # Errors
/// What the effect or the store fails with: then nothing is known of any event, and all of them come again.
pub async fn receive(host: &Host, delivered: Delivered<'_>, effect: &Effect) -> Result<Vec<Outcome>, Error> {
    let Delivered {
        subscription,
        events,
        streams,
        scope,
    } = delivered;
    let streams = streams.as_deref();
    let keys: Vec<_> = events
        .iter()
        .map(|event| marker(subscription, &event.source, &event.id))
        .collect();
    let done: HashSet<String> = host.get_many(keys.clone())?.into_iter().map(|(key, _)| key).collect();
    let mut outcomes = vec![Outcome::Success; events.len()];
    let mut pending: Vec<_> = events.into_iter().map(Some).collect();
    let rounds = streams.map_or_else(|| vec![(0..pending.len()).collect()], order::rounds);

    let (mut markers, mut stopped, mut failed) = (Vec::new(), HashSet::new(), Ok(()));
    for round in rounds {
        let (mut places, mut batch) = (Vec::new(), Vec::new());
        for place in round.into_iter().filter(|place| !done.contains(&keys[*place])) {
            if streams.is_some_and(|streams| stopped.contains(&streams[place])) {
                outcomes[place] = Outcome::retry("it waits behind an event of its stream");
            } else if let Some(event) = pending[place].take() {
                if scope.is_some_and(|scope| !TypePattern::any_matches(scope, &event.event_type)) {
                    let reason = format!("{} is outside of what the function subscribes to", event.event_type);
                    outcomes[place] = Outcome::drop(reason);
                    streams.map(|streams| stopped.insert(streams[place]));
                    continue;
                }
                places.push(place);
                batch.push(event);
            }
        }
        if batch.is_empty() {
            continue;
        }
        if mutant::is("marker_before_effect") {
            host.set_many(places.iter().map(|place| (keys[*place].clone(), Vec::new())).collect())?;
        }
        let results = match effect(host.clone(), batch).await {
            Ok(results) => results,
            Err(error) => {
                failed = Err(error);
                break;
            }
        };
        assert_eq!(
            results.len(),
            places.len(),
            "an effect says of every event what became of it"
        );
        for (place, outcome) in places.into_iter().zip(results) {
            if outcome == Outcome::Success || mutant::is("marker_for_what_failed") {
                markers.push((keys[place].clone(), Vec::new()));
            } else if let Some(streams) = streams {
                stopped.insert(streams[place]);
            }
            outcomes[place] = outcome;
        }
    }
    if !markers.is_empty() {
        host.set_many(markers)?;
    }
    failed.map(|()| outcomes)
}

/// The key under which it is marked that a subscription is done with an event.
///
/// ```
/// let key = selvedge::inbox::marker("analytics", "/todos", "019b76da-a800-7000-8000-000000000000");
/// assert_eq!(key, "done/analytics//todos/019b76da-a800-7000-8000-000000000000");
/// ```
pub fn marker(subscription: &str, source: &str, id: &str) -> String {
    key("done", subscription, source, id, None)
}

/// A key of this kind for an event, and for one attempt on it where there is such a number.
pub(crate) fn key(kind: &str, name: &str, source: &str, id: &str, attempt: Option<u32>) -> String {
    let attempt = attempt.map(|attempt| format!("/{attempt}")).unwrap_or_default();
    let key = format!("{kind}/{name}/{source}/{id}{attempt}");
    if key.len() <= limits::STORE_KEY_BYTES_MAX {
        return key;
    }
    let mut hashed = format!("{kind}/{name}/");
    let mut hash = Sha256::new();
    hash.update((source.len() as u64).to_be_bytes());
    hash.update(source);
    hash.update(id);
    for byte in hash.finalize() {
        write!(hashed, "{byte:02x}").expect("a String takes any text");
    }
    hashed + &attempt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_are_hashed_and_stay_apart() {
        let long = "x".repeat(300);
        let key = marker("analytics", "/todos", &long);
        assert!(key.len() <= limits::STORE_KEY_BYTES_MAX, "{key}");
        assert_ne!(key, marker("analytics", "/other", &long));
        assert_ne!(key, marker("other", "/todos", &long));
        assert_eq!(key, marker("analytics", "/todos", &long));
    }
}
