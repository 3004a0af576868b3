//! A message: events that come to a function by a broker's trigger instead of a request.
//!
//! A trigger has nobody to answer to, and its broker may lose what it brings. So a consumer says in the key-value store what
//! became of an event, where whoever published it looks: a done marker ([`inbox::marker`](crate::inbox::marker)) under the
//! function's own name for a success, an [`outcome_key`] for anything else. Whoever publishes goes on until one of them is there.
//! Of an event there is one word at most, that of the last attempt: what comes too late to be heard doesn't pile up.
//!
//! Every replica of a function may get the same message at the same moment. The first to [claim](claim_key) it takes it; what
//! slips through is stopped by markers and unique keys, as everywhere.

use selvedge_events::{Event, ExtensionValue, TypePattern, json};

use crate::delivery::Outcome;
use crate::function::Effect;
use crate::inbox::{self, Delivered};
use crate::{Error, Host};

/// The extension attribute that says how often an event was published for its subscription, counted from 1. The number
/// isn't used twice, also not after a redrive. An event without it comes from someone who doesn't ask what became of it.
pub const DELIVERY_ATTEMPT: &str = "deliveryattempt";

/// The extension attribute that gives the number of an event's stream within its message, where a stream's events are to take
/// effect one after the other: see [`crate::order`].
pub const DELIVERY_STREAM: &str = "deliverystream";

/// Who takes messages: a function, by its name, the types that it takes, and what an event does.
pub(crate) struct Consumer<'c> {
    pub(crate) name: &'c str,
    pub(crate) scope: Option<&'c [TypePattern]>,
    pub(crate) effect: &'c Effect,
}

/// Has the events of a message take effect, once, and leaves word of what became of each.
///
/// # Errors
/// [`Error::Event`] when the message holds no events; whatever the store fails with; [`Error::Unheard`] when events failed
/// that nobody sends again.
pub(crate) async fn receive(host: &Host, consumer: &Consumer<'_>, payload: &[u8]) -> Result<(), Error> {
    let Some(letter) = Letter::read(payload)? else {
        return Ok(());
    };
    let claim = letter.claim(consumer.name);
    if let Some(claim) = &claim
        && host.increment(claim, 1)? != 1
    {
        return Ok(());
    }
    let Letter {
        events,
        attempts,
        streams,
    } = letter;
    let names: Vec<_> = events
        .iter()
        .map(|event| (event.source.clone(), event.id.clone()))
        .collect();
    let delivered = Delivered {
        subscription: consumer.name,
        events,
        streams,
        scope: consumer.scope,
    };
    let outcomes = match inbox::receive(host, delivered, consumer.effect).await {
        Ok(outcomes) => outcomes,
        Err(error) => vec![Outcome::retry(error.to_string()); names.len()],
    };
    let (mut words, mut unheard) = (Vec::new(), Vec::new());
    for (((source, id), attempt), outcome) in names.iter().zip(attempts).zip(&outcomes) {
        match (outcome, attempt) {
            (Outcome::Success, _) => {}
            (_, Some(attempt)) => {
                let word = encode_outcome(outcome, attempt);
                words.extend(word.map(|word| (outcome_key(consumer.name, source, id), word)));
            }
            (_, None) => unheard.push(outcome),
        }
    }
    if !words.is_empty() {
        host.set_many(words)?;
    }
    // Word was left of every event: a replica that is late finds it, or does no harm.
    if let Some(claim) = claim {
        host.delete_many(vec![claim])?;
    }
    match unheard.first() {
        None => Ok(()),
        Some(Outcome::Success) => unreachable!("no word is left of a success"),
        Some(Outcome::Retry { reason } | Outcome::Drop { reason }) => Err(Error::Unheard {
            failed: unheard.len(),
            reason: reason.clone(),
        }),
    }
}

/// The events of a message, and what the relay wrote on them.
struct Letter {
    events: Vec<Event>,
    attempts: Vec<Option<u32>>,
    streams: Option<Vec<usize>>,
}

impl Letter {
    /// `None` when it is empty.
    fn read(payload: &[u8]) -> Result<Option<Self>, Error> {
        let mut events = decode(payload)?;
        if events.is_empty() {
            return Ok(None);
        }
        let attempts = events.iter_mut().map(|event| take(event, DELIVERY_ATTEMPT)).collect();
        let streams = events.iter_mut().map(|event| take(event, DELIVERY_STREAM));
        // All are taken off, even when one is missing.
        let streams: Vec<_> = streams.collect();
        let streams = streams.into_iter().map(|stream| stream?.try_into().ok()).collect();
        Ok(Some(Self {
            events,
            attempts,
            streams,
        }))
    }

    /// The key by which the message is claimed, where its attempt is known. One for the whole message, since a claim is a
    /// call to the store: its first event stands for all of them.
    fn claim(&self, consumer: &str) -> Option<String> {
        let (event, attempt) = (self.events.first()?, *self.attempts.first()?);
        Some(claim_key(consumer, &event.source, &event.id, attempt?))
    }
}

/// Takes off what was added for the way, so that the event is as it was appended.
fn take(event: &mut Event, name: &str) -> Option<u32> {
    match event.extensions.remove(name)? {
        ExtensionValue::Integer(number) => number.try_into().ok(),
        ExtensionValue::String(text) => text.parse().ok(),
        ExtensionValue::Boolean(_) => None,
    }
}

/// Reads the events of a message: one in structured mode, or a batch.
///
/// # Errors
/// Those of [`json::decode`] and [`json::decode_batch`].
pub fn decode(payload: &[u8]) -> Result<Vec<Event>, Error> {
    match payload.trim_ascii_start().first() {
        Some(b'[') => Ok(json::decode_batch(payload)?),
        _ => Ok(vec![json::decode(payload)?]),
    }
}

/// The key that a replica of a consumer increments before it takes a message: who gets 1 takes it. It is removed when it
/// is known what became of the message's events.
///
/// ```
/// assert_eq!(selvedge::message::claim_key("analytics", "/todos", "1", 2), "claim/analytics//todos/1/2");
/// ```
pub fn claim_key(consumer: &str, source: &str, id: &str, attempt: u32) -> String {
    inbox::key("claim", consumer, source, id, Some(attempt))
}

/// The key under which a consumer leaves word of an event that didn't succeed.
///
/// ```
/// assert_eq!(selvedge::message::outcome_key("analytics", "/todos", "1"), "outcome/analytics//todos/1");
/// ```
pub fn outcome_key(consumer: &str, source: &str, id: &str) -> String {
    inbox::key("outcome", consumer, source, id, None)
}

const RETRY: &str = "RETRY ";
const DROP: &str = "DROP ";

/// What stands under an [`outcome_key`] after an attempt; `None` for a success, which has a marker.
fn encode_outcome(outcome: &Outcome, attempt: u32) -> Option<Vec<u8>> {
    let (verdict, reason) = match outcome {
        Outcome::Success => return None,
        Outcome::Retry { reason } => (RETRY, reason),
        Outcome::Drop { reason } => (DROP, reason),
    };
    Some(format!("{attempt} {verdict}{reason}").into_bytes())
}

/// Reads what stands under an [`outcome_key`]; `None` where it is of another attempt. What can't be read is a failed attempt.
///
/// ```
/// use selvedge::{Outcome, message::decode_outcome};
///
/// assert_eq!(decode_outcome(b"2 DROP no title", 2), Some(Outcome::drop("no title")));
/// assert_eq!(decode_outcome(b"2 DROP no title", 3), None);
/// ```
pub fn decode_outcome(word: &[u8], attempt: u32) -> Option<Outcome> {
    let word = String::from_utf8_lossy(word);
    let unreadable = || Outcome::retry("the consumer left a word that can't be read");
    let Some((of, word)) = word.split_once(' ') else {
        return Some(unreadable());
    };
    match of.parse::<u32>() {
        Ok(of) if attempt != of => None,
        Err(_) => Some(unreadable()),
        Ok(_) => Some(match (word.strip_prefix(DROP), word.strip_prefix(RETRY)) {
            (Some(reason), _) => Outcome::drop(reason),
            (None, Some(reason)) => Outcome::retry(reason),
            (None, None) => unreadable(),
        }),
    }
}
