//! A function for tests of everything between publisher and subscriber: it takes any events, and writes down what it hears. An event's
//! data may ask for something to go wrong first.

use selvedge::http::{Problem, Request, Response, StatusCode};
use selvedge::ingest::Refused;
use selvedge::schema::Tables;
use selvedge::{Error, Event, Function, Host, Outcome, bell, ingest, limits};
use selvedge_events::http_binding;
use serde::Deserialize;
use serde_json::json;

selvedge::export!(function);

const TABLES: Tables = Tables {
    owner: "probe",
    migrations: &[&[
        "CREATE TABLE IF NOT EXISTS heard (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            event TEXT NOT NULL
        )",
        "CREATE TABLE IF NOT EXISTS calls (number INTEGER PRIMARY KEY, id TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS calls_by_id ON calls (id)",
    ]],
};

fn function() -> Function {
    Function::new("probe")
        .tables(TABLES)
        .post("/probe/events", append)
        .body_bytes_max_on("/probe/events", limits::INGEST_BODY_BYTES_MAX)
        .effect(hear)
}

async fn append(host: Host, request: Request) -> Result<Response, Problem> {
    let events = http_binding::decode(&request.headers, &request.body)
        .map_err(|error| Problem::bad_request(format!("These are no CloudEvents: {error}.")))?;
    let ingested = ingest::ingest(&host, events, None).map_err(|refused| match refused {
        Refused::Failed(error) => error.into(),
        other => Problem::conflict(other.to_string()),
    })?;
    if let Some(appended) = ingested.append {
        bell::ring_after(&host, appended);
    }
    Ok(Response::json(
        StatusCode::ACCEPTED,
        &json!({ "appended": ingested.appended }),
    ))
}

/// What is to happen to an event, as its data says.
#[derive(Deserialize)]
struct Wish {
    behave: Behaviour,
    /// The calls that it happens to; after them the event has its effect.
    #[serde(default)]
    times: i64,
    /// How long a call takes that is to wait, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    Retry,
    Drop,
    Trap,
    Wait,
}

async fn hear(host: Host, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        outcomes.push(take(&host, &event).await?);
    }
    Ok(outcomes)
}

async fn take(host: &Host, event: &Event) -> Result<Outcome, Error> {
    host.execute("INSERT INTO calls (id) VALUES (?)", vec![(*event.id).into()])?;
    if let Ok(wish) = event.data_as::<Wish>()
        && calls(host, event)? <= wish.times
    {
        match wish.behave {
            Behaviour::Retry => return Ok(Outcome::retry("it was asked for")),
            Behaviour::Drop => return Ok(Outcome::drop("it was asked for")),
            Behaviour::Trap => panic!("it was asked for"),
            Behaviour::Wait => host.wait(wish.wait_ms).await,
        }
    }
    let text = serde_json::to_string(event).expect("an event can be written as JSON");
    let statement = "INSERT INTO heard (id, event) VALUES (?, ?) ON CONFLICT DO NOTHING";
    host.execute(statement, vec![(*event.id).into(), text.into()])?;
    Ok(Outcome::Success)
}

/// How often an event came, this time included.
fn calls(host: &Host, event: &Event) -> Result<i64, Error> {
    let statement = "SELECT COUNT(*) FROM calls WHERE id = ?";
    match host.execute(statement, vec![(*event.id).into()])?.first_mut() {
        Some(row) => row.integer(),
        None => Ok(0),
    }
}
