//! `order = "stream"`: a stream's events take effect one after the other.
//!
//! One delivery may carry several events of a stream. The relay says which belong together ([`STREAMS`]), and the inbox
//! lets them take effect in [`rounds`]: one event of each stream at a time. A stream stops at the first event that doesn't succeed, and
//! [`Stops`] tells the relay what that means for the events behind it. All of it is pure.

use std::collections::HashMap;
use std::rc::Rc;

use http::HeaderName;

/// The header that gives, for each event of a delivery, the number of its stream within it: `0,1,0`. It is there for
/// ordered subscriptions only.
pub const STREAMS: HeaderName = HeaderName::from_static("selvedge-streams");

/// The value of [`STREAMS`] for events of these streams.
///
/// ```
/// use selvedge::order::{decode, encode};
///
/// assert_eq!(encode(["a", "b", "a"]), "0,1,0");
/// assert_eq!(decode("0,1,0"), Some(vec![0, 1, 0]));
/// assert_eq!(decode("0,x"), None);
/// ```
pub fn encode<'s>(streams: impl IntoIterator<Item = &'s str>) -> String {
    let numbers = numbers(streams).map(|number| number.to_string());
    numbers.collect::<Vec<_>>().join(",")
}

/// The number of each of these streams within a delivery: they are counted as they come.
pub fn numbers<'s>(streams: impl IntoIterator<Item = &'s str>) -> impl Iterator<Item = usize> {
    let mut numbers = HashMap::new();
    streams.into_iter().map(move |stream| {
        let next = numbers.len();
        *numbers.entry(stream).or_insert(next)
    })
}

/// The numbers in a value of [`STREAMS`]; `None` when it is none.
pub fn decode(value: &str) -> Option<Vec<usize>> {
    value.split(',').map(|number| number.trim().parse().ok()).collect()
}

/// What takes effect together: the first event of each stream, then the second of each, and so on. `streams` has the
/// number of each event's stream; the rounds have the events' places.
///
/// ```
/// assert_eq!(selvedge::order::rounds(&[0, 1, 0, 0]), [vec![0, 1], vec![2], vec![3]]);
/// ```
pub fn rounds(streams: &[usize]) -> Vec<Vec<usize>> {
    let mut seen = HashMap::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for (place, stream) in streams.iter().enumerate() {
        let round = seen.entry(*stream).or_insert(0);
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(place);
        *round += 1;
    }
    rounds
}

/// Where an event stands in its stream after a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing stopped its stream before it: what became of it counts.
    Free,
    /// What stopped its stream is a dead letter by now: it is next.
    Next,
    /// It waits behind the event at this position.
    Behind(i64),
}

/// The streams that stopped within one delivery of a subscription. Without order none does.
#[derive(Debug)]
pub struct Stops {
    ordered: bool,
    /// The last position that holds a stream up; `None` when it is a dead letter.
    stopped: HashMap<Rc<str>, Option<i64>>,
}

impl Stops {
    /// No stop yet.
    pub fn new(ordered: bool) -> Self {
        Self {
            ordered,
            stopped: HashMap::new(),
        }
    }

    /// Where the next event of this stream stands.
    pub fn standing(&self, stream: &str) -> Standing {
        match self.stopped.get(stream) {
            None => Standing::Free,
            Some(None) => Standing::Next,
            Some(Some(position)) => Standing::Behind(*position),
        }
    }

    /// A stream stops at the event at this position, which is to be delivered again, or at a dead letter.
    pub fn stop(&mut self, stream: &Rc<str>, position: Option<i64>) {
        if self.ordered {
            self.stopped.insert(stream.clone(), position);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_event_is_in_one_round_and_a_streams_events_are_in_rising_ones(
            streams in prop::collection::vec(0..5_usize, 0..60),
        ) {
            let rounds = rounds(&streams);
            let mut places: Vec<_> = rounds.iter().flatten().copied().collect();
            for round in &rounds {
                let mut of_round: Vec<_> = round.iter().map(|place| streams[*place]).collect();
                let count = of_round.len();
                of_round.sort_unstable();
                of_round.dedup();
                prop_assert_eq!(of_round.len(), count, "a stream has one event in a round");
            }
            for stream in 0..5 {
                let of_stream: Vec<_> =
                    places.iter().copied().filter(|place| streams[*place] == stream).collect();
                prop_assert!(of_stream.is_sorted());
            }
            places.sort_unstable();
            prop_assert_eq!(places, (0..streams.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stream_stops_and_no_other() {
        let mut stops = Stops::new(true);
        stops.stop(&"a".into(), Some(3));
        stops.stop(&"b".into(), None);
        let standings = ["a", "b", "c"].map(|stream| stops.standing(stream));
        assert_eq!(standings, [Standing::Behind(3), Standing::Next, Standing::Free]);
        let mut unordered = Stops::new(false);
        unordered.stop(&"a".into(), Some(3));
        assert_eq!(unordered.standing("a"), Standing::Free);
    }
}
