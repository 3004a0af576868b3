//! The sandbox: the provider while `shipping_provider_url` is empty. What comes of a shipment follows from its skus alone.
//!
//! | Sku | What comes of it |
//! |---|---|
//! | `unshippable` | The shipment fails. |
//! | `overdue` | No answer for 90 s, which is too late for an order. Then it is dispatched. |
//! | any other | It is dispatched. |

use selvedge::provider::Verdict;
use selvedge::{Error, Event};

use crate::shipment::Request;

/// How long `overdue` gives no answer, in milliseconds.
const SILENT_MS: i64 = 90_000;

pub fn dispatch(event: &Event, request: &Request, now_ms: i64) -> Result<Verdict, Error> {
    let has = |sku: &str| request.items.iter().any(|goods| goods.sku == sku);
    let asked_at_ms = event.time.map_or(now_ms, |time| time.unix_ms());
    if has("unshippable") {
        return Ok(Verdict::Refused {
            reason: "unshippable can't be shipped".to_owned(),
        });
    }
    if has("overdue") && now_ms - asked_at_ms < SILENT_MS {
        return Err(Error::Unreachable {
            target: "the shipping sandbox".to_owned(),
            detail: "overdue gives no answer for 90 s".to_owned(),
        });
    }
    Ok(done(event))
}

pub fn cancel(event: &Event) -> Verdict {
    done(event)
}

fn done(event: &Event) -> Verdict {
    Verdict::Done {
        reference: Some(format!("sandbox-{}", event.id)),
    }
}
