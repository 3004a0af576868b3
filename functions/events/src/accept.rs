//! `POST /events`: CloudEvents from outside, in any of HTTP's three modes.

use selvedge::http::{FieldProblem, Problem, Request, Response, StatusCode};
use selvedge::ingest::{self, Refused};
use selvedge::{Event, Host, bell, limits};
use selvedge_events::{EventName, http_binding, schema_uri};
use selvedge_schemas::Schemas;
use serde_json::json;

use crate::{Read, usable};

/// Takes all events of the request, or none.
pub async fn answer(schemas: Read, host: Host, request: Request) -> Result<Response, Problem> {
    let schemas = usable(&schemas)?;
    let mut events = http_binding::decode(&request.headers, &request.body).map_err(unreadable)?;
    let (count, limit) = (events.len(), limits::APPEND_EVENTS_MAX);
    if count > limit {
        let detail = format!("The batch has {count} events, the limit is {limit}. Send smaller batches.");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let mut problems = Vec::new();
    for (index, event) in events.iter_mut().enumerate() {
        let place = if count == 1 {
            String::new()
        } else {
            format!("[{index}].")
        };
        problems.extend(check(schemas, &place, event)?);
        if event.dataschema.is_none() && schemas.get(&event.event_type).is_some() {
            event.dataschema = Some(schema_uri(&event.event_type));
        }
    }
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    if events.is_empty() {
        return Ok(Response::json(
            StatusCode::ACCEPTED,
            &json!({ "appended": 0, "known": 0 }),
        ));
    }
    let ingested = ingest::ingest(&host, events, request.header("traceparent")).map_err(refused)?;
    if let Some(appended) = ingested.append {
        bell::ring_after(&host, appended);
    }
    let told = json!({ "appended": ingested.appended, "known": ingested.known });
    Ok(Response::json(StatusCode::ACCEPTED, &told))
}

/// What is wrong with an event that is a CloudEvent.
///
/// # Errors
/// An event that isn't its sender's to send, or is too large, whatever else is wrong.
fn check(schemas: &Schemas, place: &str, event: &Event) -> Result<Vec<FieldProblem>, Problem> {
    let length_bytes = event.size_bytes();
    if length_bytes > limits::INGEST_EVENT_BYTES_MAX {
        let (id, limit) = (&event.id, limits::INGEST_EVENT_BYTES_MAX);
        let detail = format!(
            "The event {id:?} has {length_bytes} bytes, the limit is {limit}. Keep large content elsewhere and refer to it."
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    if let Err(error) = EventName::parse(&event.event_type) {
        return Ok(vec![FieldProblem::new(format!("{place}type"), error.to_string())]);
    }
    if let Err(forged) = schemas.check_outside(event) {
        return Err(Problem::new(StatusCode::FORBIDDEN, format!("{place}{forged}.")));
    }
    let mistakes = schemas.check(event).err().unwrap_or_default();
    let field = |path: &str| format!("{place}data{}", path.replace('/', "."));
    Ok(mistakes
        .into_iter()
        .map(|mistake| FieldProblem::new(field(&mistake.path), mistake.reason))
        .collect())
}

fn unreadable(error: selvedge_events::Error) -> Problem {
    use selvedge_events::Error as Wrong;

    let is_malformed = |error: &Wrong| {
        matches!(
            error,
            Wrong::InvalidJson { .. } | Wrong::InvalidUtf8 { .. } | Wrong::InvalidBase64 { .. }
        )
    };
    let status = match &error {
        _ if error.is_too_large() => StatusCode::PAYLOAD_TOO_LARGE,
        _ if error.is_unsupported_format() => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Wrong::InBatch { source, .. } if is_malformed(source) => StatusCode::BAD_REQUEST,
        _ if is_malformed(&error) => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Problem::new(status, format!("The request isn't accepted: {error}."))
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Different { source_uri, id } => Problem::conflict(format!(
            "There is an event {id:?} of {source_uri:?} already, and its content is another one. Nothing of this request \
             was taken. Give a new event a new id."
        )),
        Refused::Failed(error) => error.into(),
        other => Problem::internal(other, false),
    }
}
