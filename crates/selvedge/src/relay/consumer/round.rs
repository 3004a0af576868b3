//! Brings events of a topic to the function that hears them, and writes down what became of them, as the relay does with a range of
//! the journal.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{Either, select};
use selvedge_kafka::Received;

use super::{End, Work, intake};
use crate::lease::{self, Leased};
use crate::relay::batch::Encoded;
use crate::relay::parcel::{Cause, Delivered, Parcel};
use crate::relay::plan::{Range, View};
use crate::relay::settlement::Settlement;
use crate::relay::{deliver, outbox, pack, record};
use crate::subscription::Subscriptions;
use crate::{Error, limits};

impl Work {
    /// Brings what these records are to the function. `None` when all of them are done, or written down as exceptions: then, and only
    /// then, their offsets may be committed.
    pub(super) async fn bring(&mut self, records: &[Received]) -> Result<Option<End>, Error> {
        let topic = match &self.subscription.from {
            Some(crate::subscription::Address::Kafka { topic }) => topic.clone(),
            _ => unreachable!("only such subscriptions are consumed"),
        };
        let mut events = intake::take(&self.host, &self.subscription, &topic, records, &self.consumer.admit)?;
        while !events.is_empty() {
            let token: Rc<str> = self.host.new_token().into();
            let leased = match self.lease(&token).await? {
                Ok(leased) => leased,
                Err(end) => return Ok(Some(end)),
            };
            let (parcel, delivered) = self.deliver(&leased, &token, &mut events).await?;
            if !self.settle(&leased, parcel, delivered)? {
                return Ok(Some(End::Left));
            }
        }
        Ok(None)
    }

    /// Takes the subscription's lease. Where somebody has it, or as many events are under way as may be, it waits as long as there is
    /// time.
    async fn lease(&mut self, token: &str) -> Result<Result<Leased, End>, Error> {
        loop {
            let taken = lease::take(&self.host, &[&self.subscription], token, self.host.now_ms())?;
            if let Some(leased) = taken.into_iter().next() {
                return Ok(Ok(leased));
            }
            self.host.wait(limits::CONSUME_LOOK_MS).await;
            if let Some(end) = self.is_over()? {
                return Ok(Err(end));
            }
        }
    }

    /// Delivers as many of the events as one delivery may have, and takes them off.
    async fn deliver(
        &mut self,
        leased: &Leased,
        token: &Rc<str>,
        events: &mut Vec<Encoded>,
    ) -> Result<(Parcel, Delivered), Error> {
        let name = &self.subscription.name;
        let ordered: Vec<&str> = self
            .subscription
            .is_ordered()
            .then_some(name.as_str())
            .into_iter()
            .collect();
        let seen = pack::Seen {
            view: &View {
                head: i64::MAX,
                ..View::default()
            },
            blocked: outbox::blocked(&self.host, &ordered, events)?,
            unsettled: HashMap::new(),
            events: std::mem::take(events),
        };
        // Topics have their own order: it isn't the journal's positions that say what comes next.
        let range = Range {
            after: 0,
            limit: 0,
            leased: vec![Leased {
                cursor: 0,
                ..leased.clone()
            }],
        };
        let only = Subscriptions::of(Arc::clone(&self.subscription));
        let mut outgoing = pack::range(&range, &seen, &only, token, self.host.now_ms());
        let outgoing = outgoing.pop().expect("the subscription is leased");
        let Cause::Range { cursor_after } = outgoing.parcel.cause else {
            unreachable!("it is packed as a range");
        };
        *events = seen.events;
        let last = events.iter().position(|event| event.position == cursor_after);
        events.drain(..last.map_or(events.len(), |last| last + 1));
        let mut sending = Box::pin(deliver::send(self.host.clone(), outgoing));
        loop {
            match select(&mut sending, self.host.wait(limits::RENEW_EVERY_MS.unsigned_abs())).await {
                Either::Left((delivered, _)) => return Ok(delivered),
                Either::Right(_) => {
                    lease::renew(&self.host, std::slice::from_ref(token), self.host.now_ms())?;
                    self.place.keep(&self.host)?;
                }
            }
        }
    }

    /// Writes down what became of a delivery. False when somebody else has taken over: then nothing was written.
    fn settle(&self, leased: &Leased, mut parcel: Parcel, delivered: Delivered) -> Result<bool, Error> {
        parcel.cause = Cause::Range {
            cursor_after: leased.cursor,
        };
        let mut settlement = Settlement::default();
        let random = &mut || self.host.random_fraction();
        settlement.add(&parcel, delivered, self.host.now_ms(), random);
        Ok(!record::settle(&self.host, &settlement)?.is_empty())
    }
}
