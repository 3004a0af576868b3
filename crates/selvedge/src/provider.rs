//! A provider outside: it is asked under a key that stays the same until it says yes or no.
//!
//! The call is made at least once. The key is the id of the event that leads to it, so a provider that heard it before
//! gives its first answer again. Whatever isn't a yes or a no (no answer, a server's error, too many requests) leaves
//! open whether it was done: it is asked again.

use http::StatusCode;
use selvedge_events::Event;
use serde::{Deserialize, Serialize};

use crate::http::Call;
use crate::{Error, Host, limits};

/// What a provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done: any 2xx.
    Done {
        /// The provider's own id for it: `id` of its answer.
        reference: Option<String>,
    },
    /// It won't be done: 400, 402 or 422.
    Refused {
        /// Why: `reason` of its answer.
        reason: String,
    },
}

/// What is read of a provider's answer.
#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// POSTs `body` to a path of the provider at `url`, on behalf of `event`.
///
/// # Errors
/// [`Error::Timeout`], [`Error::Unreachable`] and [`Error::Answer`]: it may be done or not. Ask again for the same event.
pub async fn ask(host: &Host, url: &str, path: &str, event: &Event, body: &impl Serialize) -> Result<Verdict, Error> {
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let body = serde_json::to_vec(body).map_err(|source| selvedge_events::Error::DataNotSerializable { source })?;
    let call = Call::post(url, "application/json", body).header(Call::IDEMPOTENCY_KEY, &*event.id);
    let target = call.target();
    let answer = host.send_within(call, limits::PROVIDER_TIMEOUT_MS).await?;
    let said = || serde_json::from_slice::<Said>(&answer.body).unwrap_or_default();
    match answer.status {
        status if status.is_success() => Ok(Verdict::Done {
            reference: said().id.map(bounded),
        }),
        StatusCode::BAD_REQUEST | StatusCode::PAYMENT_REQUIRED | StatusCode::UNPROCESSABLE_ENTITY => {
            let status = answer.status.as_u16();
            let reason = said().reason.map(bounded);
            Ok(Verdict::Refused {
                reason: reason.unwrap_or_else(|| format!("the provider answered with status {status}")),
            })
        }
        _ => Err(answer
            .successful(&target)
            .expect_err("every success was dealt with above")),
    }
}

/// What a provider says goes into an event: as much of it as a reason may have.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::REASON_BYTES_MAX));
    text
}
