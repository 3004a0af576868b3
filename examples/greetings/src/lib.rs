//! Greetings: whoever greets someone is told 202, and the greeting is written down once.
#![cfg(target_family = "wasm")]

use selvedge::http::{Problem, Request, Response};
use selvedge::idempotency::Key;
use selvedge::ingest::{self, Refused};
use selvedge::schema::Tables;
use selvedge::{Error, Event, Function, Host, Outcome, bell};
use serde_json::{Value, json};

selvedge::export!(function);

const TABLES: Tables = Tables {
    owner: "greetings",
    migrations: &[&["CREATE TABLE IF NOT EXISTS greetings (
        source TEXT NOT NULL, event_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (source, event_id))"]],
};

fn function() -> Function {
    Function::new("greetings").tables(TABLES).post("/greetings", greet).effect(write_down)
}

#[derive(serde::Deserialize)]
struct Greeting {
    name: String,
}

async fn greet(host: Host, request: Request) -> Result<Response, Problem> {
    let Greeting { name } = request.json()?;
    let id = Key::of(&request, "/greetings")?.map_or_else(|| host.new_id(), |key| key.entity_id());
    let event = Event::new(&id, "/greetings", "greetings.greeting.sent").with_json(&json!({ "name": name }));
    let event = event.map_err(Error::from)?;
    let taken = ingest::ingest(&host, vec![event], request.header("traceparent")).map_err(|refused| match refused {
        Refused::Failed(error) => error.into(),
        _ => Problem::key_reused(),
    })?;
    if let Some(append) = taken.append {
        bell::ring_after(&host, append);
    }
    Ok(Response::accepted(format!("/greetings/{id}"), &json!({ "id": id })))
}

async fn write_down(host: Host, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    let statement = "INSERT INTO greetings (source, event_id, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    for event in &events {
        let name = event.data_as::<Value>()?["name"].as_str().unwrap_or_default().to_owned();
        host.execute(statement, vec![(*event.source).into(), (*event.id).into(), name.into()])?;
    }
    Ok(vec![Outcome::Success; events.len()])
}
