//! The consumer of Kafka topics: brings what they have to the functions that hear them. What it does is the kernel's
//! [`selvedge::relay::consumer`]; here are its bell, and what may come from outside.

use std::path::Path;
use std::rc::Rc;

use selvedge::http::{Problem, Response, StatusCode};
use selvedge::relay::consumer::{COMPONENT, Consumer};
use selvedge::subscription::Subscriptions;
use selvedge::{Event, Function, Host, bell};
use selvedge_events::schema_uri;
use selvedge_schemas::Schemas;

selvedge::export!(function);

fn function() -> Function {
    let consumer = Rc::new(consumer());
    Function::new(COMPONENT).post(bell::PATH, move |host, _| ring(consumer.clone(), host))
}

fn consumer() -> Result<Rc<Consumer>, String> {
    let schemas = Schemas::read(Path::new(selvedge_schemas::FOLDER)).map_err(|error| error.to_string())?;
    let subscriptions = Subscriptions::from_file().map_err(|error| error.to_string())?;
    Ok(Consumer::new(subscriptions, move |event| admit(&schemas, event)))
}

/// Whether an event that the journal doesn't know may come from outside: it claims to be nobody else's, and has what its type promises.
fn admit(schemas: &Schemas, event: &mut Event) -> Result<(), String> {
    schemas.check_outside(event).map_err(|forged| forged.to_string())?;
    schemas.check(event).map_err(|mistakes| {
        let told = mistakes
            .iter()
            .map(|mistake| format!("data{} {}", mistake.path, mistake.reason));
        let told: Vec<_> = told.collect();
        format!("the data isn't what its type promises: {}", told.join("; "))
    })?;
    if event.dataschema.is_none() && schemas.get(&event.event_type).is_some() {
        event.dataschema = Some(schema_uri(&event.event_type));
    }
    Ok(())
}

/// Answers at once, and goes on from there.
async fn ring(consumer: Rc<Result<Rc<Consumer>, String>>, host: Host) -> Result<Response, Problem> {
    match &*consumer {
        Ok(consumer) => {
            consumer.ring(&host);
            Ok(Response::empty(StatusCode::ACCEPTED))
        }
        Err(error) => Err(Problem::internal(error, false)),
    }
}
