//! Shipping: what was ordered is sent, and called back when the order doesn't come about.
//!
//! It hears what the order's saga asks for, has its provider do it, and appends what the provider said to the shipment's
//! stream ([`shipment`]). The provider is asked at least once, under the event's id; what it said is appended once.

mod sandbox;
mod shipment;

use std::rc::Rc;

use selvedge::decide::{self, Context, Rejection};
use selvedge::http::{Problem, Request, Response};
use selvedge::provider::{self, Provider, Verdict};
use selvedge::{Error, Event, Function, Host, Outcome};
use serde_json::json;

use crate::shipment::{Command, Refusal, Request as ShipmentRequest, Shipment, View};

selvedge::export!(function);

/// The provider and where it is; `None` for the sandbox.
type Outside<'p> = Option<(&'p Provider, &'p str)>;

fn function() -> Function {
    let provider = Rc::new(Provider::new("shipping-provider"));
    Function::new("shipping")
        .publishes(&["shipping.*.*"])
        .subscribes(&["shipping.*.requested"])
        .upstream(provider.upstream())
        .get("/shipments/:order", show)
        .effect(move |host, events| settle(host, provider.clone(), events))
}

async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    let order = request.parameter("order");
    match decide::load::<Shipment>(&host, order)? {
        Some(shipment) => Ok(Response::ok(&View::of(order, &shipment)).etag(shipment.version)),
        None => Err(Problem::not_found(
            "There is no shipment for this order, or its provider hasn't answered yet. The order's timeline says which.",
        )),
    }
}

async fn settle(host: Host, provider: Rc<Provider>, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    let url = host.variable("shipping_provider_url").await?;
    let provider = url.as_deref().map(|url| (&*provider, url));
    Ok(provider::settle_each(&events, |event| settle_one(&host, provider, event)).await)
}

async fn settle_one(host: &Host, provider: Outside<'_>, event: &Event) -> Outcome {
    let Some(order) = event.subject.as_deref() else {
        return Outcome::drop("the event names no order: its subject must be the order's id");
    };
    let answered = match &*event.event_type {
        shipment::REQUESTED => dispatch(host, provider, event, order).await,
        shipment::CANCELLATION_REQUESTED => cancel(host, provider, event, order).await,
        other => return Outcome::drop(format!("shipping doesn't know what {other} asks for")),
    };
    match answered {
        Ok(()) => Outcome::Success,
        Err(rejection) => {
            rejection.outcome(|Refusal::NothingDispatched| Outcome::drop("nothing was dispatched for this order"))
        }
    }
}

async fn dispatch(host: &Host, provider: Outside<'_>, event: &Event, order: &str) -> Result<(), Rejection<Refusal>> {
    let request: ShipmentRequest = event.data_as().map_err(Error::from)?;
    if decide::load::<Shipment>(host, order)?.is_some() {
        return Ok(());
    }
    let verdict = match provider {
        None => sandbox::dispatch(event, &request, host.now_ms())?,
        Some((provider, url)) => {
            let body = json!({ "orderId": order, "userId": request.user_id, "items": request.items });
            provider.ask(host, url, "/shipments", event, &body).await?
        }
    };
    let command = match verdict {
        Verdict::Done { reference } => Command::Dispatch { reference },
        Verdict::Refused { reason } => Command::Fail { reason },
    };
    decide::change::<Shipment>(host, order, &command, Context::caused_by(event)).map(drop)
}

async fn cancel(host: &Host, provider: Outside<'_>, event: &Event, order: &str) -> Result<(), Rejection<Refusal>> {
    let shipment = decide::load::<Shipment>(host, order)?;
    let shipment = shipment.ok_or(Rejection::Refused(Refusal::NothingDispatched))?.state;
    if !shipment.is_cancellable()? {
        return Ok(());
    }
    let verdict = match provider {
        None => sandbox::cancel(event),
        Some((provider, url)) => {
            let body = json!({ "orderId": order, "shipmentId": shipment.reference() });
            provider.ask(host, url, "/cancellations", event, &body).await?
        }
    };
    let command = match verdict {
        Verdict::Done { .. } => Command::Cancel,
        Verdict::Refused { reason } => Command::RefuseCancellation { reason },
    };
    decide::change::<Shipment>(host, order, &command, Context::caused_by(event)).map(drop)
}
