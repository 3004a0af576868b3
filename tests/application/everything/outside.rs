//! Events of other producers: by `POST /events` in all its modes, and by Dapr's publish API; again, changed, forged, and
//! expired.

use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use selvedge_events::Timestamp;
use selvedge_testkit::client::Insisted;
use selvedge_testkit::simulation::clock::START_NS;
use serde_json::{Value, json};

use super::client::Client;

/// When every simulated run begins, in milliseconds since the Unix epoch.
const BEGIN_MS: i64 = (START_NS / 1_000_000).cast_signed();
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const SOURCE: &str = "/sensors";
const TYPES: [&str; 3] = ["weather.report.published", "a.b.c", "weather.storm.over"];
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn event(client: &Client<'_>, chance: &mut StdRng, id: &str) -> Value {
    let event_type = TYPES.choose(chance).expect("there are some");
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": event_type, "data": { "celsius": 21, "mark": id },
    });
    if chance.random_ratio(1, 3) {
        event["partitionkey"] = json!("paris");
    }
    // Without a cron nobody would bring it when it is due.
    if !client.is_calm && chance.random_ratio(1, 4) {
        let due_ms = i64::try_from(client.world.clock.now_ms()).unwrap_or(0) + chance.random_range(-5_000..40_000);
        event["deliverat"] = json!(Timestamp::from_unix_ms(due_ms).to_string());
    }
    if chance.random_ratio(1, 3) {
        expire(client, chance, &mut event);
    }
    event
}

/// Has an event expire: before the run began, or at some time in it or after it, before it may be delivered or not.
fn expire(client: &Client<'_>, chance: &mut StdRng, event: &mut Value) {
    let now_ms = i64::try_from(client.world.clock.now_ms()).unwrap_or(0);
    let expires_at_ms = match chance.random_range(0..4) {
        0 => BEGIN_MS - 1,
        // In a calm run it would have been delivered by then, and chance would have no say in it.
        1 | 2 if !client.is_calm => now_ms + chance.random_range(0..40_000),
        _ => now_ms + DAY_MS,
    };
    event["expirytime"] = json!(Timestamp::from_unix_ms(expires_at_ms).to_string());
}

/// Whether it expires before it may be delivered.
fn is_doomed(event: &Value) -> bool {
    let at_ms = |name: &str| Some(event[name].as_str()?.parse::<Timestamp>().ok()?.unix_ms());
    let due_ms = at_ms("deliverat").unwrap_or(BEGIN_MS).max(BEGIN_MS);
    at_ms("expirytime").is_some_and(|expires_at_ms| expires_at_ms <= due_ms)
}

pub async fn post(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    let mark = client.mark();
    let event = event(client, chance, &mark);
    match chance.random_range(0..6) {
        0 => batch(client, chance).await,
        1 => forged(client, chance, event).await,
        2 => binary(client, &mark).await,
        kind => {
            let body = event.to_string();
            let taken = client
                .insist(Method::POST, "/events", &[STRUCTURED], body.clone())
                .await?;
            let stream = taken_as(client, &taken, &event)?;
            if kind == 3 {
                let again = client.insist(Method::POST, "/events", &[STRUCTURED], body).await?;
                client.expect("the same event again", &again.answer, &[202]);
                if again.answer.json() != json!({ "appended": 0, "known": 1 }) {
                    client.broken(format!("an event that is known was taken as {}", again.answer.json()));
                }
                let mut changed = event;
                changed["data"] = json!({ "other": true });
                let other = client
                    .insist(Method::POST, "/events", &[STRUCTURED], changed.to_string())
                    .await?;
                client.expect("another event of the same id", &other.answer, &[409]);
            }
            stream
        }
    }
}

/// Notes what was taken. The stream is its own where it has no partition key.
#[expect(
    clippy::option_option,
    reason = "not taken, taken into a shared stream, taken into one of its own"
)]
fn taken_as(client: &Client<'_>, taken: &Insisted, event: &Value) -> Option<Option<String>> {
    client.expect("an event", &taken.answer, &[202]);
    if taken.answer.status != 202 {
        return None;
    }
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let (source, id) = (text("source"), text("id"));
    let stream = event["partitionkey"]
        .is_null()
        .then(|| format!("external/id/{source}/{id}"));
    let mut told = client.told();
    if is_doomed(event) {
        told.doomed.push((source.clone(), id.clone()));
    }
    told.events.push((source, id));
    Some(stream)
}

async fn binary(client: &Client<'_>, mark: &str) -> Option<String> {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", mark),
        ("ce-source", SOURCE),
        ("ce-type", "weather.picture.taken"),
        ("content-type", "image/x-raw"),
    ];
    let taken = client
        .insist(Method::POST, "/events", &headers, &b"\xff\x00\xfe"[..])
        .await?;
    taken_as(client, &taken, &json!({ "source": SOURCE, "id": mark }))?
}

/// All events of a batch are taken, or none: one of them may be forged.
async fn batch(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    let ids: Vec<_> = (0..3).map(|place| format!("{}-{place}", client.mark())).collect();
    let mut events: Vec<_> = ids.iter().map(|id| event(client, chance, id)).collect();
    let is_forged = chance.random_ratio(1, 3);
    if is_forged {
        events[1]["type"] = json!("todos.task.created");
    }
    let body = Value::from(events.clone()).to_string();
    let answered = client.insist(Method::POST, "/events", &[BATCH], body).await?;
    if is_forged {
        client.expect("a batch with a forged event", &answered.answer, &[403]);
        client.told().refused.extend(ids);
        return None;
    }
    let streams: Vec<_> = events
        .iter()
        .filter_map(|event| taken_as(client, &answered, event))
        .collect();
    streams.into_iter().flatten().next()
}

async fn forged(client: &Client<'_>, chance: &mut StdRng, mut event: Value) -> Option<String> {
    match chance.random_range(0..4) {
        0 => event["source"] = json!("/todos"),
        1 => event["source"] = json!("/payments/elsewhere"),
        2 => event["type"] = json!("payments.payment.captured"),
        _ => event["type"] = json!("orders.order.confirmed"),
    }
    let refused = client
        .insist(Method::POST, "/events", &[STRUCTURED], event.to_string())
        .await?;
    client.expect("a forged event", &refused.answer, &[403]);
    client.told().refused.push(client.mark());
    None
}

/// Dapr's publish API: one payload, or several.
pub async fn publish(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    let mark = client.mark();
    let json = ("content-type", "application/json");
    if chance.random_ratio(1, 3) {
        return bulk(client, chance).await;
    }
    let event_type = TYPES.choose(chance)?;
    let path = format!(
        "/v1.0/publish/pubsub/weather?metadata.cloudevent.id={mark}&metadata.cloudevent.source=/dapr-client\
         &metadata.cloudevent.type={event_type}"
    );
    let published = client.insist(Method::POST, &path, &[json], r#"{"celsius":21}"#).await?;
    client.expect("a published payload", &published.answer, &[204]);
    client.told().events.push(("/dapr-client".to_owned(), mark.clone()));
    Some(format!("external/id//dapr-client/{mark}"))
}

async fn bulk(client: &Client<'_>, chance: &mut StdRng) -> Option<String> {
    let ids: Vec<_> = (0..3).map(|place| format!("{}-{place}", client.mark())).collect();
    let entry = |id: &String| {
        let event = json!({
            "specversion": "1.0", "id": id, "source": SOURCE, "type": "weather.report.published", "data": { "mark": id },
        });
        json!({ "entryId": id, "event": event, "contentType": "application/cloudevents+json" })
    };
    let mut entries: Vec<_> = ids.iter().map(entry).collect();
    let is_forged = chance.random_ratio(1, 4);
    if is_forged {
        entries[1]["event"]["source"] = json!("/orders");
    }
    let (path, json) = (
        "/v1.0/publish/bulk/pubsub/weather",
        ("content-type", "application/json"),
    );
    let body = Value::from(entries).to_string();
    if is_forged {
        // Dapr says 500 where some of them weren't taken: nobody insists.
        selvedge_testkit::client::once(client.world, Method::POST, path, &[json], body).await;
        client.told().refused.push(ids[1].clone());
        return None;
    }
    let published = client.insist(Method::POST, path, &[json], body).await?;
    client.expect("a bulk of payloads", &published.answer, &[204]);
    let mut told = client.told();
    told.events.extend(ids.iter().map(|id| (SOURCE.to_owned(), id.clone())));
    Some(format!("external/id/{SOURCE}/{}", ids[0]))
}
