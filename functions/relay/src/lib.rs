//! The relay: brings the journal's events to whoever subscribed. What it does is the kernel's [`selvedge::relay`]; here
//! are its bell, for the other functions, and its public door, for whoever calls on a schedule.

use std::rc::Rc;

use selvedge::http::{Problem, Response, StatusCode};
use selvedge::subscription::Subscriptions;
use selvedge::{Error, Function, Host, Relay, bell};

selvedge::export!(function);

fn function() -> Function {
    let relay = Rc::new(Subscriptions::from_file().map(|all| Relay::new(all.of_relay())));
    let door = relay.clone();
    Function::new("relay")
        .post(bell::PATH, move |host, _| ring(relay.clone(), host))
        .post("/relay/drain", move |host, _| ring(door.clone(), host))
}

/// Answers at once, and goes on from there.
async fn ring(relay: Rc<Result<Rc<Relay>, Error>>, host: Host) -> Result<Response, Problem> {
    match &*relay {
        Ok(relay) => {
            relay.ring(&host);
            Ok(Response::empty(StatusCode::ACCEPTED))
        }
        Err(error) => Err(Problem::internal(error, error.is_retryable())),
    }
}
