//! Publishing: what others publish becomes events of the journal, as what comes by `POST /events` does.

use std::rc::Rc;

use selvedge::dapr::bulk::{self, Entry};
use selvedge::dapr::envelope::Published;
use selvedge::dapr::publishing::Metadata;
use selvedge::http::{Problem, Request, Response, StatusCode};
use selvedge::ingest::{self, Ingested};
use selvedge::{Event, Host, bell, limits};
use selvedge_events::schema_uri;
use selvedge_schemas::Schemas;

use crate::refusal::Refusal;
use crate::sidecar;

/// The schemas, or nothing where their folder has a mistake.
type Read = Rc<Result<Schemas, selvedge_schemas::Error>>;

/// The topics that may be published on, with commas between them. Empty: all.
const TOPICS_VARIABLE: &str = "dapr_allowed_topics";

/// One payload.
pub async fn one(schemas: Read, host: Host, request: Request) -> Result<Response, Problem> {
    let schemas = usable(&schemas)?;
    if let Err(refusal) = admit(&host, &request).await? {
        return Ok(refusal.response());
    }
    let metadata = Metadata::from_query(request.query.as_deref().unwrap_or_default());
    let content_type = request.header("content-type");
    let published = event(&host, &request, content_type, &request.body, &metadata, schemas)
        .and_then(|event| Ok(ingest::ingest(&host, vec![event], request.header("traceparent"))?));
    match published {
        Ok(ingested) => {
            ring(&host, [ingested]);
            Ok(Response::empty(StatusCode::NO_CONTENT))
        }
        Err(refusal) => Ok(refusal.response()),
    }
}

/// Many payloads, each taken or refused by itself.
pub async fn many(schemas: Read, host: Host, request: Request) -> Result<Response, Problem> {
    let schemas = usable(&schemas)?;
    if let Err(refusal) = admit(&host, &request).await? {
        return Ok(refusal.response());
    }
    let entries = match bulk::entries(&request.body) {
        Ok(entries) => entries,
        Err(refused) => return Ok(Refusal::from(refused).response()),
    };
    let of_all = Metadata::from_query(request.query.as_deref().unwrap_or_default());
    let (mut events, mut failed) = (Vec::new(), Vec::new());
    for Entry {
        id,
        content_type,
        payload,
        metadata,
    } in entries
    {
        let made = payload
            .map_err(|reason| Refusal::new(StatusCode::BAD_REQUEST, "ERR_PUBSUB_EVENTS_SER", reason))
            .and_then(|bytes| {
                event(
                    &host,
                    &request,
                    Some(&content_type),
                    &bytes,
                    &of_all.and(&metadata),
                    schemas,
                )
            });
        match made {
            Ok(event) => events.push((id, event)),
            Err(refusal) => failed.push((id, refusal.message().to_owned())),
        }
    }
    for some in events.chunks(limits::APPEND_EVENTS_MAX) {
        failed.extend(append(&host, some, request.header("traceparent")));
    }
    if failed.is_empty() {
        return Ok(Response::empty(StatusCode::NO_CONTENT));
    }
    Ok(Response {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        headers: vec![(http::header::CONTENT_TYPE, "application/json".to_owned())],
        body: bulk::failure(failed),
    })
}

/// A request that names no topic.
pub async fn nowhere(host: Host, request: Request) -> Result<Response, Problem> {
    if let Err(refusal) = admit(&host, &request).await? {
        return Ok(refusal.response());
    }
    let message = format!("topic is empty in pubsub {}", request.parameter("pubsub"));
    Ok(Refusal::new(StatusCode::NOT_FOUND, "ERR_TOPIC_EMPTY", message).response())
}

/// Whether the request may publish to where it wants to.
async fn admit(host: &Host, request: &Request) -> Result<Result<(), Refusal>, Problem> {
    if let Err(refusal) = sidecar::check_token(host, request).await? {
        return Ok(Err(refusal));
    }
    let name = request.parameter("pubsub");
    let refused = |status, code, message: String| Ok(Err(Refusal::new(status, code, message)));
    match sidecar::pubsub(host).await? {
        None => {
            let message = "pubsub is not configured: set the variable dapr_pubsub_name".to_owned();
            return refused(StatusCode::BAD_REQUEST, "ERR_PUBSUB_NOT_CONFIGURED", message);
        }
        Some(known) if known != name => {
            let message = format!("pubsub {name} not found: it is named {known} here");
            return refused(StatusCode::NOT_FOUND, "ERR_PUBSUB_NOT_FOUND", message);
        }
        Some(_) => {}
    }
    let topics = host.variable(TOPICS_VARIABLE).await?;
    let Some((topics, topic)) = topics.zip(request.optional_parameter("topic")) else {
        return Ok(Ok(()));
    };
    if topics.split(',').any(|allowed| allowed.trim() == topic) {
        return Ok(Ok(()));
    }
    let message = format!("topic {topic} is not allowed: the variable {TOPICS_VARIABLE} doesn't name it");
    refused(StatusCode::FORBIDDEN, "ERR_PUBSUB_FORBIDDEN", message)
}

/// The event that a payload becomes, when it may come from outside.
fn event(
    host: &Host,
    request: &Request,
    content_type: Option<&str>,
    payload: &[u8],
    metadata: &Metadata,
    schemas: &Schemas,
) -> Result<Event, Refusal> {
    let published = Published {
        pubsub: request.parameter("pubsub"),
        topic: request.parameter("topic"),
        content_type,
        payload,
        metadata,
        trace: request.header("traceparent"),
        id: host.new_id(),
        now_ms: host.now_ms(),
    };
    let mut event = published.event()?;
    let (length_bytes, limit) = (event.size_bytes(), limits::EVENT_BYTES_MAX);
    if length_bytes > limit {
        let message = format!("the event has {length_bytes} bytes, the limit is {limit}");
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "ERR_PUBSUB_PUBLISH_MESSAGE",
            message,
        ));
    }
    if let Err(forged) = schemas.check_outside(&event) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "ERR_PUBSUB_FORBIDDEN",
            forged.to_string(),
        ));
    }
    if let Err(mistakes) = schemas.check(&event) {
        let told: Vec<_> = mistakes
            .iter()
            .map(|mistake| format!("data{} {}", mistake.path, mistake.reason))
            .collect();
        let message = format!("the data isn't what its type promises: {}", told.join("; "));
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "ERR_PUBSUB_CLOUD_EVENTS_SER",
            message,
        ));
    }
    if event.dataschema.is_none() && schemas.get(&event.event_type).is_some() {
        event.dataschema = Some(schema_uri(&event.event_type));
    }
    Ok(event)
}

/// Appends all of these events, or each by itself where one of them is in the way; says which weren't, and why.
fn append(host: &Host, events: &[(String, Event)], trace: Option<&str>) -> Vec<(String, String)> {
    let all = events.iter().map(|(_, event)| event.clone()).collect();
    match ingest::ingest(host, all, trace) {
        Ok(ingested) => {
            ring(host, [ingested]);
            return Vec::new();
        }
        Err(ingest::Refused::Different { .. }) if events.len() > 1 => {}
        Err(refused) => {
            let message = Refusal::from(refused).message().to_owned();
            return events.iter().map(|(id, _)| (id.clone(), message.clone())).collect();
        }
    }
    let (mut taken, mut failed) = (Vec::new(), Vec::new());
    for (id, event) in events {
        match ingest::ingest(host, vec![event.clone()], trace) {
            Ok(ingested) => taken.push(ingested),
            Err(refused) => failed.push((id.clone(), Refusal::from(refused).message().to_owned())),
        }
    }
    ring(host, taken);
    failed
}

fn ring(host: &Host, ingested: impl IntoIterator<Item = Ingested>) {
    if let Some(appended) = ingested.into_iter().filter_map(|ingested| ingested.append).last() {
        bell::ring_after(host, appended);
    }
}

/// The schemas, once they could be read.
fn usable(schemas: &Read) -> Result<&Schemas, Problem> {
    schemas
        .as_ref()
        .as_ref()
        .map_err(|error| Problem::internal(error, false))
}
