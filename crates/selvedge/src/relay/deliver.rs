//! Sends parcels to functions.

use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use selvedge_events::json::BATCH_MEDIA_TYPE;

use super::batch::{self, Encoded};
use super::outbox::Claimed;
use super::plan::Range;
use super::settlement::{Aside, Cause, Delivered, Item, Parcel};
use crate::delivery;
use crate::http::Call;
use crate::subscription::{Subscription, Subscriptions, Target};
use crate::{Host, trace};

/// A parcel, and what is in it.
pub(super) struct Outgoing {
    pub(super) parcel: Parcel,
    body: Vec<u8>,
}

/// The next parcel of every subscription of a range.
pub(super) fn pack_range(
    range: &Range,
    events: &[Encoded],
    subscriptions: &Subscriptions,
    token: &Rc<str>,
    now_ms: i64,
) -> Vec<Outgoing> {
    let pack_leased = |leased: &crate::lease::Leased| {
        let subscription = subscriptions.get(&leased.name)?.clone();
        let batch = batch::next(&subscription, leased.cursor, events, now_ms);
        let cause = Cause::Range {
            cursor_after: batch.cursor_after,
        };
        let chosen = batch.places.into_iter().map(|place| (&events[place], 1, false));
        let mut outgoing = pack(subscription, token, cause, chosen);
        let aside = batch.aside.into_iter().map(|(place, why)| Aside {
            item: item(&events[place], 1, false),
            why,
        });
        outgoing.parcel.aside.extend(aside);
        Some(outgoing)
    };
    range.leased.iter().filter_map(pack_leased).collect()
}

/// Parcels for retries: those that were in a batch that failed as a whole go alone, all others of a subscription and
/// attempt go together.
pub(super) fn pack_retries(claimed: &[Claimed], token: &Rc<str>) -> Vec<Outgoing> {
    let mut groups: Vec<Vec<&Claimed>> = Vec::new();
    for retry in claimed {
        let together = |group: &&mut Vec<&Claimed>| {
            let first = group[0];
            !retry.isolated
                && !first.isolated
                && first.attempts == retry.attempts
                && first.subscription.name == retry.subscription.name
                && group.len() < retry.subscription.batch as usize
                && group.iter().all(|other| other.event.id != retry.event.id)
        };
        match groups.iter_mut().find(together) {
            Some(group) => group.push(retry),
            None => groups.push(vec![retry]),
        }
    }
    let pack_group = |group: Vec<&Claimed>| {
        let chosen = group
            .iter()
            .map(|retry| (&retry.event, retry.attempts.saturating_add(1), retry.isolated));
        pack(group[0].subscription.clone(), token, Cause::Retry, chosen)
    };
    groups.into_iter().map(pack_group).collect()
}

fn pack<'e>(
    subscription: Arc<Subscription>,
    token: &Rc<str>,
    cause: Cause,
    chosen: impl Iterator<Item = (&'e Encoded, u32, bool)>,
) -> Outgoing {
    let mut items = Vec::new();
    let mut body = vec![b'['];
    for (event, attempt, isolated) in chosen {
        if !items.is_empty() {
            body.push(b',');
        }
        body.extend_from_slice(event.json.as_bytes());
        items.push(item(event, attempt, isolated));
    }
    body.push(b']');
    Outgoing {
        parcel: Parcel {
            subscription,
            token: token.clone(),
            cause,
            items,
            aside: Vec::new(),
        },
        body,
    }
}

fn item(event: &Encoded, attempt: u32, isolated: bool) -> Item {
    Item {
        position: event.position,
        id: event.id.clone(),
        stream: event.stream.clone(),
        trace: event.trace.clone(),
        attempt,
        isolated,
    }
}

/// Delivers a parcel and waits for the function's answer, as long as its subscription lets it take. A parcel without
/// events is delivered by doing nothing.
pub(super) async fn send(host: Host, outgoing: Outgoing) -> (Parcel, Delivered) {
    let Outgoing { parcel, body } = outgoing;
    let Some(first) = parcel.items.first() else {
        return (parcel, Delivered::Answered(Vec::new()));
    };
    let Target::Function { component } = &parcel.subscription.target;
    let mut call = Call::chained(Method::POST, component, &delivery::path(&parcel.subscription.name))
        .header(http::header::CONTENT_TYPE, BATCH_MEDIA_TYPE)
        .header(delivery::ATTEMPT, first.attempt.to_string());
    if let Some(trace) = &first.trace {
        call = call.header(http::HeaderName::from_static(trace::HEADER), &**trace);
    }
    call.body = body;
    let target = call.target();
    let answered = async {
        let answer = host
            .send_within(call, parcel.subscription.timeout_ms)
            .await?
            .successful(&target)?;
        delivery::decode_answer(&target, &answer.body, parcel.items.iter().map(|item| &*item.id))
    };
    let delivered = match answered.await {
        Ok(outcomes) => Delivered::Answered(outcomes),
        Err(error) => Delivered::Failed(error.to_string()),
    };
    (parcel, delivered)
}
