//! A provider outside: it is asked under a key that stays the same until it says yes or no.
//!
//! The call is made at least once. The key is the id of the event that leads to it, so a provider that heard it before
//! gives its first answer again. Whatever isn't a yes or a no (no answer, a server's error, too many requests) leaves
//! open whether it was done: it is asked again. While many calls fail, its circuit breaker keeps further ones back.

use futures::future::join_all;
use http::StatusCode;
use selvedge_events::Event;
use serde::{Deserialize, Serialize};

use crate::delivery::{Outcome, bounded};
use crate::http::{Answer, Call, Upstream};
use crate::{Error, Host, limits, mutant};

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

/// A provider. An instance makes one and keeps it, as it does an [`Upstream`].
#[derive(Debug)]
pub struct Provider(Upstream);

impl Provider {
    /// A provider whose circuit breaker has this name.
    pub fn new(name: &'static str) -> Self {
        let upstream = Upstream::new(name);
        Self(
            upstream
                .timeout_ms(limits::PROVIDER_TIMEOUT_MS)
                .total_ms(limits::PROVIDER_TIMEOUT_MS),
        )
    }

    /// Its upstream, for the function to declare.
    pub fn upstream(&self) -> &Upstream {
        &self.0
    }

    /// POSTs `body` to a path of the provider at `url`, on behalf of `event`. A quick failure is repeated at once.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Unreachable`], [`Error::CircuitOpen`] and [`Error::Answer`]: it may be done or not. Ask
    /// again for the same event.
    pub async fn ask(
        &self,
        host: &Host,
        url: &str,
        path: &str,
        event: &Event,
        body: &impl Serialize,
    ) -> Result<Verdict, Error> {
        let url = format!("{}{path}", url.trim_end_matches('/'));
        let body = serde_json::to_vec(body).map_err(|source| selvedge_events::Error::DataNotSerializable { source })?;
        let key = match mutant::is("provider_asked_under_new_key") {
            true => host.new_id(),
            false => event.id.clone(),
        };
        let call = Call::post(url, "application/json", body).header(Call::IDEMPOTENCY_KEY, &*key);
        let target = call.target();
        verdict(&target, self.0.send(host, call).await?)
    }
}

/// Has every event settled, [`limits::PROVIDER_CALLS_MAX`] of them at a time, and gives the outcomes in the events' order.
pub async fn settle_each<'e, F>(events: &'e [Event], settle: impl Fn(&'e Event) -> F) -> Vec<Outcome>
where
    F: Future<Output = Outcome>,
{
    let mut outcomes = Vec::with_capacity(events.len());
    for some in events.chunks(limits::PROVIDER_CALLS_MAX) {
        outcomes.extend(join_all(some.iter().map(&settle)).await);
    }
    outcomes
}

/// What an answer says.
fn verdict(target: &str, answer: Answer) -> Result<Verdict, Error> {
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
        status => Err(Error::Answer {
            target: target.to_owned(),
            reason: format!("with status {}, which is neither a yes nor a no", status.as_u16()),
        }),
    }
}
