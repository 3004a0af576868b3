//! Publishes to a topic of Dapr, by its sidecar's HTTP API.

use std::rc::Rc;

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use selvedge_events::json::MEDIA_TYPE;

use crate::dapr::{TOKEN, bulk};
use crate::delivery::{Outcome, bounded};
use crate::http::{Answer, Call};
use crate::subscription::Address;
use crate::{Error, Host};

/// Where the sidecar's HTTP API is.
const URL_VARIABLE: &str = "dapr_url";
/// What the sidecar wants to see of those who use its API.
const TOKEN_VARIABLE: &str = "dapr_api_token";
/// The versions of the API that publish in bulk: older sidecars know the second only.
const BULK_VERSIONS: [&str; 2] = ["v1.0", "v1.0-alpha1"];
/// What needs no escapes in a topic within a path. Slashes are a part of it.
const TOPIC: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Publishes each of these events, whose `traceparent`s stand beside them. The sidecar's success says that its broker has
/// them.
pub(super) async fn to_topic(
    host: &Host,
    address: &Address,
    (pubsub, topic): (&str, &str),
    traces: Vec<Option<Rc<str>>>,
    events: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    let place = format!(
        "{}/{}",
        utf8_percent_encode(pubsub, TOPIC),
        utf8_percent_encode(topic, TOPIC)
    );
    let count = events.len();
    if let [event] = &events[..] {
        let trace = traces.first().and_then(Option::as_deref);
        let call =
            |base: &str| Call::post(format!("{base}/v1.0/publish/{place}"), MEDIA_TYPE, event.clone()).traced(trace);
        let answer = send(host, address, call).await?;
        return whole(address, &answer).map(|()| vec![Outcome::Success; count]);
    }
    let body = bulk::request(&events);
    let mut answer = None;
    for version in BULK_VERSIONS {
        let url = |base: &str| format!("{base}/{version}/publish/bulk/{place}");
        let call = |base: &str| Call::post(url(base), "application/json", body.clone());
        let answered = send(host, address, call).await?;
        let is_unknown = answered.status == StatusCode::NOT_FOUND;
        answer.get_or_insert_with(|| answered.clone());
        if !is_unknown {
            answer = Some(answered);
            break;
        }
    }
    let answer = answer.expect("there is a version");
    match bulk::failed_entries(&answer.body) {
        Some(failed) if !answer.status.is_success() => Ok(each(count, &failed)),
        _ => whole(address, &answer).map(|()| vec![Outcome::Success; count]),
    }
}

/// Asks the sidecar whether it is well.
pub(super) async fn check(host: &Host, address: &Address) -> Result<(), Error> {
    let answer = send(host, address, |base| Call::get(format!("{base}/v1.0/healthz"))).await?;
    whole(address, &answer)
}

async fn send(host: &Host, address: &Address, call: impl FnOnce(&str) -> Call) -> Result<Answer, Error> {
    let url = host.variable(URL_VARIABLE).await?.ok_or_else(|| Error::Configuration {
        name: format!("the variable {URL_VARIABLE}"),
        reason: "isn't set: set it to the URL of Dapr's HTTP API, such as http://127.0.0.1:3500".to_owned(),
    })?;
    let mut call = call(url.trim_end_matches('/'));
    if let Some(token) = host.variable(TOKEN_VARIABLE).await? {
        call = call.header(TOKEN, token);
    }
    host.send(call).await.map_err(|error| Error::Broker {
        address: address.to_string(),
        reason: format!("{error}; look whether the sidecar runs, and whether {URL_VARIABLE} is where it listens"),
    })
}

/// What became of a request that failed for some of its events. A failure that names no event stands for all of them.
fn each(count: usize, failed: &[(String, String)]) -> Vec<Outcome> {
    let outcome = |place: usize| {
        let id = place.to_string();
        match failed.iter().find(|(failed, _)| *failed == id) {
            Some((_, error)) => Outcome::retry(format!("the sidecar didn't publish it: {error}")),
            None if failed.is_empty() => Outcome::retry("the sidecar doesn't say what it published"),
            None => Outcome::Success,
        }
    };
    (0..count).map(outcome).collect()
}

/// An answer that stands for all events.
fn whole(address: &Address, answer: &Answer) -> Result<(), Error> {
    if answer.status.is_success() {
        return Ok(());
    }
    let told = bounded(String::from_utf8_lossy(&answer.body).into_owned());
    Err(Error::Broker {
        address: address.to_string(),
        reason: format!("the sidecar answered with status {}: {told}", answer.status.as_u16()),
    })
}
