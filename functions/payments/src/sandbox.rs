//! The sandbox: the provider while `payment_provider_url` is empty. What comes of a payment follows from its token alone.
//!
//! | Token | What comes of it |
//! |---|---|
//! | `tok_visa` | It is captured. |
//! | `tok_chargeDeclined` | It is declined. |
//! | `tok_timeout` | No answer for 90 s, which is too late for an order. Then it is captured. |
//! | `tok_refundFail` | It is captured, and every refund is refused. |
//! | any other | It is declined. |

use selvedge::provider::Verdict;
use selvedge::{Error, Event};

use crate::payment::{Payment, Request};

/// How long `tok_timeout` gives no answer, in milliseconds.
const SILENT_MS: i64 = 90_000;
/// The ids of payments whose refunds are refused begin so.
const UNREFUNDABLE: &str = "sandbox-unrefundable-";

pub fn capture(event: &Event, request: &Request, now_ms: i64) -> Result<Verdict, Error> {
    let captured = |prefix| {
        Ok(Verdict::Done {
            reference: Some(format!("{prefix}{}", event.id)),
        })
    };
    let asked_at_ms = event.time.map_or(now_ms, |time| time.unix_ms());
    match &*request.payment_method {
        "tok_visa" => captured("sandbox-"),
        "tok_refundFail" => captured(UNREFUNDABLE),
        "tok_timeout" if now_ms - asked_at_ms >= SILENT_MS => captured("sandbox-"),
        "tok_timeout" => Err(Error::Unreachable {
            target: "the payment sandbox".to_owned(),
            detail: "tok_timeout gives no answer for 90 s".to_owned(),
        }),
        "tok_chargeDeclined" => Ok(Verdict::Refused {
            reason: "the card was declined".to_owned(),
        }),
        _ => Ok(Verdict::Refused {
            reason: "the sandbox doesn't know this payment method: use tok_visa, or set payment_provider_url"
                .to_owned(),
        }),
    }
}

pub fn refund(event: &Event, payment: &Payment) -> Verdict {
    let unrefundable = payment
        .reference()
        .is_some_and(|reference| reference.starts_with(UNREFUNDABLE));
    if unrefundable {
        return Verdict::Refused {
            reason: "tok_refundFail is never refunded".to_owned(),
        };
    }
    Verdict::Done {
        reference: Some(format!("sandbox-{}", event.id)),
    }
}
