//! Payments: money is captured for an order, and given back when the order doesn't come about.
//!
//! It hears what the order's saga asks for, has its provider do it, and appends what the provider said to the payment's
//! stream ([`payment`]). The provider is asked at least once, under the event's id; what it said is appended once.

mod payment;
mod sandbox;

use std::rc::Rc;

use selvedge::decide::{self, Context, Rejection};
use selvedge::http::{Problem, Request, Response};
use selvedge::provider::{self, Provider, Verdict};
use selvedge::{Error, Event, Function, Host, Outcome};
use serde_json::json;

use crate::payment::{Command, Payment, RefundRequest, Refusal, Request as PaymentRequest, View};

selvedge::export!(function);

/// The provider and where it is; `None` for the sandbox.
type Outside<'p> = Option<(&'p Provider, &'p str)>;

fn function() -> Function {
    let provider = Rc::new(Provider::new("payment-provider"));
    Function::new("payments")
        .publishes(&["payments.*.*"])
        .subscribes(&["payments.*.requested"])
        .upstream(provider.upstream())
        .get("/payments/:order", show)
        .effect(move |host, events| settle(host, provider.clone(), events))
}

async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    let order = request.parameter("order");
    match decide::load::<Payment>(&host, order)? {
        Some(payment) => Ok(Response::ok(&View::of(order, &payment)).etag(payment.version)),
        None => Err(Problem::not_found(
            "There is no payment for this order, or its provider hasn't answered yet. The order's timeline says which.",
        )),
    }
}

async fn settle(host: Host, provider: Rc<Provider>, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    let url = host.variable("payment_provider_url").await?;
    let provider = url.as_deref().map(|url| (&*provider, url));
    Ok(provider::settle_each(&events, |event| settle_one(&host, provider, event)).await)
}

async fn settle_one(host: &Host, provider: Outside<'_>, event: &Event) -> Outcome {
    let Some(order) = event.subject.as_deref() else {
        return Outcome::drop("the event names no order: its subject must be the order's id");
    };
    let answered = match &*event.event_type {
        payment::REQUESTED => capture(host, provider, event, order).await,
        payment::REFUND_REQUESTED => refund(host, provider, event, order).await,
        other => return Outcome::drop(format!("payments doesn't know what {other} asks for")),
    };
    match answered {
        Ok(()) => Outcome::Success,
        Err(rejection) => {
            rejection.outcome(|Refusal::NothingCaptured| Outcome::drop("nothing was captured for this order"))
        }
    }
}

async fn capture(host: &Host, provider: Outside<'_>, event: &Event, order: &str) -> Result<(), Rejection<Refusal>> {
    let request: PaymentRequest = event.data_as().map_err(Error::from)?;
    if decide::load::<Payment>(host, order)?.is_some() {
        return Ok(());
    }
    let verdict = match provider {
        None => sandbox::capture(event, &request, host.now_ms())?,
        Some((provider, url)) => {
            let body = json!({
                "orderId": order, "amountCents": request.amount_cents, "paymentMethod": request.payment_method,
            });
            provider.ask(host, url, "/payments", event, &body).await?
        }
    };
    let amount_cents = request.amount_cents;
    let command = match verdict {
        Verdict::Done { reference } => Command::Capture {
            amount_cents,
            reference,
        },
        Verdict::Refused { reason } => Command::Decline { amount_cents, reason },
    };
    decide::change::<Payment>(host, order, &command, Context::caused_by(event)).map(drop)
}

async fn refund(host: &Host, provider: Outside<'_>, event: &Event, order: &str) -> Result<(), Rejection<Refusal>> {
    let RefundRequest { amount_cents } = event.data_as().map_err(Error::from)?;
    let payment = decide::load::<Payment>(host, order)?;
    let payment = payment.ok_or(Rejection::Refused(Refusal::NothingCaptured))?.state;
    if !payment.is_refundable(amount_cents)? {
        return Ok(());
    }
    let verdict = match provider {
        None => sandbox::refund(event, &payment),
        Some((provider, url)) => {
            let body = json!({ "orderId": order, "amountCents": amount_cents, "paymentId": payment.reference() });
            provider.ask(host, url, "/refunds", event, &body).await?
        }
    };
    let command = match verdict {
        Verdict::Done { reference } => Command::Refund {
            amount_cents,
            reference,
        },
        Verdict::Refused { reason } => Command::RefuseRefund { amount_cents, reason },
    };
    decide::change::<Payment>(host, order, &command, Context::caused_by(event)).map(drop)
}
