//! Orders: someone buys something. It is paid, then it is shipped; if one of them doesn't work, the other is undone.
//!
//! An order is the sum of its events ([`order`]), and the saga that leads it is a part of them ([`fulfilment`]). A placed
//! order asks for its payment in the same INSERT. From then on this function hears what payments and shipping answer, and
//! the order's own timers.

mod fulfilment;
mod order;
mod validation;
mod view;

use selvedge::bearer;
use selvedge::decide::{self, Context};
use selvedge::http::{Problem, Request, Response};
use selvedge::idempotency::Key;
use selvedge::journal;
use selvedge::{Entity, Error, Event, Function, Host, Outcome, Timestamp};

use crate::fulfilment::FULFILMENT;
use crate::order::{Command, Order, Refusal};
use crate::validation::NewOrder;
use crate::view::View;

selvedge::export!(function);

fn function() -> Function {
    Function::new("orders")
        .publishes(&["orders.*.*", "payments.*.requested", "shipping.*.requested"])
        .subscribes(&["orders.timer.set", "payments.*.*", "shipping.*.*"])
        .post("/orders", place)
        .get("/orders/:id", show)
        .post("/orders/:id/resume", resume)
        .effect(hear)
}

async fn place(host: Host, request: Request) -> Result<Response, Problem> {
    let content = request.json::<NewOrder>()?.check().map_err(Problem::invalid)?;
    let key = Key::of(&request, Order::SOURCE)?;
    let id = key.as_ref().map_or_else(|| host.new_id(), Key::entity_id);
    let context = Context {
        key: key.as_ref(),
        trace: request.header("traceparent"),
        ..Context::default()
    };
    let now = Timestamp::from_unix_ms(host.now_ms());
    let placed = decide::create::<Order>(&host, &id, &Command::Place { content, now }, context)?;
    let view = View::of(&id, &placed, &[])?.ok_or(Refusal::NoSuchOrder)?;
    Ok(Response::accepted(format!("/orders/{id}"), &view).etag(placed.version))
}

async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    let id = request.parameter("id");
    let records = journal::read_stream(&host, &Order::stream(id))?;
    let order = decide::replay::<Order>(&records)?;
    let view = View::of(id, &order, &records)?.ok_or(Refusal::NoSuchOrder)?;
    Ok(Response::ok(&view).etag(order.version))
}

/// An operator has a parked compensation commanded once more, say because the provider has put right what it refused.
async fn resume(host: Host, request: Request) -> Result<Response, Problem> {
    bearer::check(&host, &request, "admin_token").await?;
    let id = request.parameter("id");
    let key = Key::of(&request, Order::SOURCE)?;
    let context = Context {
        key: key.as_ref(),
        trace: request.header("traceparent"),
        ..Context::default()
    };
    let now = Timestamp::from_unix_ms(host.now_ms());
    let resumed = decide::change::<Order>(&host, id, &Command::Resume { now }, context)?;
    let view = View::of(id, &resumed, &[])?.ok_or(Refusal::NoSuchOrder)?;
    Ok(Response::accepted(format!("/orders/{id}"), &view).etag(resumed.version))
}

async fn hear(host: Host, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    Ok(events.iter().map(|event| advance(&host, event)).collect())
}

/// Has the event's order go on. Two answers to one order at once meet at its stream's version, and the second is decided
/// anew on what the first made of it.
fn advance(host: &Host, event: &Event) -> Outcome {
    let input = match FULFILMENT.input(event) {
        Ok(Some(input)) => input,
        Ok(None) => return Outcome::Success,
        Err(error) => return Outcome::drop(error.to_string()),
    };
    let Some(id) = event.subject.as_deref() else {
        return Outcome::drop("the event names no order: its subject must be the order's id");
    };
    let now = Timestamp::from_unix_ms(host.now_ms());
    match decide::change::<Order>(host, id, &Command::Hear { input, now }, Context::caused_by(event)) {
        Ok(_) => Outcome::Success,
        Err(rejection) => rejection.outcome(|refusal| match refusal {
            Refusal::NotDue(not_due) => Outcome::retry(not_due.to_string()),
            Refusal::NoSuchOrder => Outcome::drop(format!("there is no order {id}")),
            Refusal::AlreadyPlaced | Refusal::NothingToResume => Outcome::retry("the command is refused"),
        }),
    }
}
