//! Settled by its consumers: an event that goes a way on which it may get lost is done when the consumers say so.
//!
//! They leave word in the key-value store ([`crate::message`]): a done marker, or an outcome. The relay looks for it until
//! it is there of every event and consumer, or the delivery has taken as long as it may. Then the event is published again
//! with the next attempt; before that it is looked at once more who was done with it meanwhile.

use std::collections::HashMap;

use futures::future::{Either, select};
use selvedge_events::{ExtensionValue, json};
use serde::Deserialize;

use super::within;
use crate::delivery::Outcome;
use crate::message::{self, DELIVERY_ATTEMPT, DELIVERY_STREAM};
use crate::relay::parcel::{Cause, Delivered, Item, Parcel};
use crate::subscription::Broker;
use crate::{Error, Host, inbox, limits, mutant, order};

/// Publishes what isn't done yet by `send`, which gets the events as consumers take them, and waits for word of it.
pub(super) async fn publish<F>(
    host: &Host,
    parcel: &Parcel,
    broker: &Broker,
    bodies: &[Vec<u8>],
    send: impl FnOnce(Vec<Vec<u8>>) -> F,
) -> Result<Delivered, Error>
where
    F: Future<Output = Result<Vec<Outcome>, Error>>,
{
    let mut words = Words::new(&broker.consumers, &parcel.items, bodies);
    if parcel.cause == Cause::Retry {
        // Whoever was too slow for the attempt before may be done by now.
        words.look(host, words.open_places())?;
    }
    let open = words.open_places();
    if !open.is_empty() {
        let letters = letters(parcel, bodies, &open);
        let published = within(host, parcel, &broker.address, send(letters)).await.flatten();
        let published = published.unwrap_or_else(|error| vec![Outcome::retry(error.to_string()); open.len()]);
        for (place, outcome) in open.into_iter().zip(published) {
            if outcome != Outcome::Success {
                words.give_up(place, outcome);
            }
        }
        let heard = words.listen(host);
        let is_all_heard = match select(std::pin::pin!(heard), host.wait(parcel.subscription.timeout_ms)).await {
            Either::Left((heard, _)) => heard.map(|()| true)?,
            Either::Right(_) => false,
        };
        if !is_all_heard {
            // There may be word of events behind the one that was waited for.
            words.look(host, words.open_places())?;
        }
        if mutant::is("silence_is_success") {
            for place in words.open_places() {
                words.give_up(place, Outcome::Success);
            }
        }
    }
    words.forget(host)?;
    Ok(words.into_delivered(&broker.address.to_string(), parcel.subscription.timeout_ms))
}

/// The events at these places as consumers take them: with what the relay has to say about them.
fn letters(parcel: &Parcel, bodies: &[Vec<u8>], places: &[usize]) -> Vec<Vec<u8>> {
    let streams = places.iter().map(|place| &*parcel.items[*place].stream);
    let streams: Vec<_> = match parcel.subscription.is_ordered() {
        true => order::numbers(streams).map(Some).collect(),
        false => vec![None; places.len()],
    };
    let letter = |(place, stream): (&usize, Option<usize>)| {
        let attempt = parcel.items[*place].attempt_ever;
        address(&bodies[*place], attempt, stream)
    };
    places.iter().zip(streams).map(letter).collect()
}

/// A structured CloudEvent with its attempt, and the number of its stream.
fn address(body: &[u8], attempt: u32, stream: Option<usize>) -> Vec<u8> {
    let is_used = |name: &str| {
        let quoted = format!("\"{name}\"");
        body.windows(quoted.len()).any(|bytes| bytes == quoted.as_bytes())
    };
    let mut letter = match is_used(DELIVERY_ATTEMPT) || is_used(DELIVERY_STREAM) {
        false => body.to_vec(),
        // An event that came in with such an attribute: it isn't the relay's.
        true => {
            let mut event = json::decode(body).expect("the relay wrote a CloudEvent");
            event
                .extensions
                .retain(|name, _: &mut ExtensionValue| name != DELIVERY_ATTEMPT && name != DELIVERY_STREAM);
            serde_json::to_vec(&event).expect("an event can be written as JSON")
        }
    };
    let end = letter.pop();
    assert_eq!(end, Some(b'}'), "a structured CloudEvent is a JSON object");
    letter.extend_from_slice(format!(",\"{DELIVERY_ATTEMPT}\":{attempt}").as_bytes());
    if let Some(stream) = stream {
        letter.extend_from_slice(format!(",\"{DELIVERY_STREAM}\":{stream}").as_bytes());
    }
    letter.push(b'}');
    letter
}

/// What an event is known by.
#[derive(Deserialize)]
struct Known {
    source: String,
    id: String,
}

/// What the consumers have said so far.
struct Words<'p> {
    consumers: &'p [String],
    items: &'p [Item],
    events: Vec<Known>,
    /// What became of an event, by consumer; all of them where nobody was even asked.
    heard: Vec<Vec<Option<Outcome>>>,
}

impl<'p> Words<'p> {
    fn new(consumers: &'p [String], items: &'p [Item], bodies: &[Vec<u8>]) -> Self {
        let known = |body: &Vec<u8>| serde_json::from_slice(body).expect("the relay wrote a CloudEvent");
        Self {
            consumers,
            items,
            events: bodies.iter().map(known).collect(),
            heard: vec![vec![None; consumers.len()]; items.len()],
        }
    }

    /// The events of which somebody has yet to say what became of them.
    fn open_places(&self) -> Vec<usize> {
        let is_open = |place: &usize| self.heard[*place].contains(&None);
        (0..self.items.len()).filter(is_open).collect()
    }

    /// The first such event of each consumer: a consumer takes a message as a whole, so its first event tells when to look at
    /// the others.
    fn scouts(&self) -> Vec<usize> {
        let of = |consumer: usize| self.heard.iter().position(|heard| heard[consumer].is_none());
        let mut places: Vec<_> = (0..self.consumers.len()).filter_map(of).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Looks until there is nothing left to wait for, at most [`limits::WORD_POLL_MS_MAX`] apart.
    async fn listen(&mut self, host: &Host) -> Result<(), Error> {
        let mut pause_ms = 1;
        loop {
            let scouts = self.scouts();
            if scouts.is_empty() {
                return Ok(());
            }
            if self.look(host, scouts)? {
                self.look(host, self.open_places())?;
                pause_ms = 1;
            } else {
                host.wait(pause_ms).await;
                pause_ms = (2 * pause_ms).min(limits::WORD_POLL_MS_MAX);
            }
        }
    }

    /// Looks for word of these events. True when there is some that wasn't there before.
    fn look(&mut self, host: &Host, places: Vec<usize>) -> Result<bool, Error> {
        let mut wanted = HashMap::new();
        for place in places {
            for (consumer, name) in self.consumers.iter().enumerate() {
                if self.heard[place][consumer].is_none() {
                    let Known { source, id } = &self.events[place];
                    wanted.insert(inbox::marker(name, source, id), (place, consumer));
                    wanted.insert(self.outcome_key(place, name), (place, consumer));
                }
            }
        }
        let mut is_news = false;
        for (key, value) in host.get_many(wanted.keys().cloned().collect())? {
            let Some((place, consumer)) = wanted.get(&key).copied() else {
                continue;
            };
            let heard = &mut self.heard[place][consumer];
            if key.starts_with("done/") {
                *heard = Some(Outcome::Success);
            } else if heard.is_none() {
                // Word of an attempt before came too late, and is no news.
                *heard = message::decode_outcome(&value, self.items[place].attempt_ever);
            }
            is_news |= heard.is_some();
        }
        Ok(is_news)
    }

    /// An event that nobody was asked about.
    fn give_up(&mut self, place: usize, outcome: Outcome) {
        let open = self.heard[place].iter_mut().filter(|heard| heard.is_none());
        open.for_each(|heard| *heard = Some(outcome.clone()));
    }

    /// Removes what is left in the store of attempts that failed: their numbers don't come again. And of attempts after the first
    /// that succeeded: a consumer that died with its marker written left its claim, and collecting removes no later ones.
    fn forget(&self, host: &Host) -> Result<(), Error> {
        let mut keys = Vec::new();
        for (place, heard) in self.heard.iter().enumerate() {
            let attempt = self.items[place].attempt_ever;
            let left = heard
                .iter()
                .zip(self.consumers)
                .filter(|(heard, _)| attempt > 1 || **heard != Some(Outcome::Success));
            for (_, consumer) in left {
                let Known { source, id } = &self.events[place];
                keys.push(self.outcome_key(place, consumer));
                keys.push(message::claim_key(consumer, source, id, attempt));
            }
        }
        match keys.is_empty() {
            true => Ok(()),
            false => host.delete_many(keys),
        }
    }

    fn outcome_key(&self, place: usize, consumer: &str) -> String {
        let Known { source, id } = &self.events[place];
        message::outcome_key(consumer, source, id)
    }

    /// An event is dropped when one consumer drops it, and comes again when one wants it again. Nothing is known of it when
    /// one didn't say.
    fn into_delivered(self, address: &str, timeout_ms: u64) -> Delivered {
        let verdict = |heard: Vec<Option<Outcome>>| {
            let heard: Vec<Outcome> = heard.into_iter().collect::<Option<_>>()?;
            let is_dropped = |outcome: &&Outcome| matches!(outcome, Outcome::Drop { .. });
            let is_failed = |outcome: &&Outcome| **outcome != Outcome::Success;
            let worst = heard.iter().find(is_dropped).or_else(|| heard.iter().find(is_failed));
            Some(worst.cloned().unwrap_or(Outcome::Success))
        };
        let silent: Vec<&str> = (0..self.consumers.len())
            .filter(|consumer| self.heard.iter().any(|heard| heard[*consumer].is_none()))
            .map(|consumer| self.consumers[consumer].as_str())
            .collect();
        if silent.is_empty() {
            let verdicts = self.heard.into_iter().filter_map(verdict);
            return Delivered::Answered(verdicts.collect());
        }
        let reason = format!(
            "{address}: {} didn't say within {timeout_ms} ms that it is done: the message was lost, or it takes longer",
            silent.join(", ")
        );
        Delivered::Partly(self.heard.into_iter().map(verdict).collect(), reason)
    }
}
