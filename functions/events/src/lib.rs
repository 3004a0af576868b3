//! Events: the journal's door to the outside.
//!
//! Others send their CloudEvents ([`accept`]), read the journal page by page ([`pages`]) or as it grows ([`live`]), and
//! find out what there is to hear: the schema of each type, and all of it as AsyncAPI ([`asyncapi`]).

mod accept;
mod asyncapi;
mod live;
mod pages;

use std::path::Path;
use std::rc::Rc;

use selvedge::http::{Problem, Request, Response, StatusCode};
use selvedge::subscription::Subscriptions;
use selvedge::{Function, limits};
use selvedge_schemas::Schemas;

selvedge::export!(function);

fn function() -> Function {
    let schemas = Rc::new(Schemas::read(Path::new(selvedge_schemas::FOLDER)));
    let (checked, served, told) = (schemas.clone(), schemas.clone(), schemas);
    Function::new("events")
        .body_bytes_max_on("/events", limits::INGEST_BODY_BYTES_MAX)
        .post_kept("/events", move |host, request| {
            accept::answer(checked.clone(), host, request)
        })
        .get("/events", pages::answer)
        .stream("/events/stream", live::answer)
        .get("/schemas/:file", move |_, request| schema(served.clone(), request))
        .get("/asyncapi.json", move |_, _| document(told.clone()))
}

/// The schemas, or nothing where their folder has a mistake.
type Read = Rc<Result<Schemas, selvedge_schemas::Error>>;

/// The schemas, once they could be read.
fn usable(schemas: &Read) -> Result<&Schemas, Problem> {
    schemas
        .as_ref()
        .as_ref()
        .map_err(|error| Problem::internal(error, false))
}

async fn schema(schemas: Read, request: Request) -> Result<Response, Problem> {
    let file = request.parameter("file");
    let all = usable(&schemas)?;
    let schema = file.strip_suffix(".json").and_then(|event_type| all.get(event_type));
    let schema = schema.ok_or_else(|| {
        Problem::not_found("There is no schema of this name. `/asyncapi.json` has all types that have one.")
    })?;
    Ok(Response {
        status: StatusCode::OK,
        headers: vec![(http::header::CONTENT_TYPE, "application/schema+json".to_owned())],
        body: schema.text().as_bytes().to_vec(),
    })
}

async fn document(schemas: Read) -> Result<Response, Problem> {
    let subscriptions = Subscriptions::from_file()?;
    Ok(Response::ok(&asyncapi::document(usable(&schemas)?, &subscriptions)))
}
