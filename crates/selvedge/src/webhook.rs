//! Webhook targets: an event is POSTed to someone outside, signed as Standard Webhooks says.
//!
//! The signature covers id, time and body, so that a receiver can tell that the event is genuine, unchanged and fresh.
//! The id stays the same however often an event is sent: it is the receiver's idempotency key.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::{HeaderName, StatusCode};
use selvedge_events::derived_id;
use selvedge_events::json::MEDIA_TYPE;
use serde::Deserialize;
use sha2::Sha256;

use crate::delivery::Outcome;
use crate::http::Call;
use crate::{Error, Host, limits};

/// The header with the message's id: the same for every attempt.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// The header with the time of the attempt, in seconds since the Unix epoch.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The header with the signatures, one for each secret, with spaces between them.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// Secrets that are valid at the same time: while one is replaced there are two.
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads one or two secrets, `whsec_` and base64 each, with white space between them.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the variable that they come from, and never its value.
    pub fn parse(variable: &str, text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Configuration {
            name: format!("the variable {variable}"),
            reason: reason.to_owned(),
        };
        let read = |secret: &str| {
            let encoded = secret.strip_prefix(SECRET_PREFIX)?;
            let bytes = STANDARD.decode(encoded).ok()?;
            (limits::WEBHOOK_SECRET_BYTES_MIN..=limits::WEBHOOK_SECRET_BYTES_MAX)
                .contains(&bytes.len())
                .then_some(bytes)
        };
        let secrets: Option<Vec<_>> = text.split_whitespace().map(read).collect();
        match secrets {
            Some(secrets) if (1..=limits::WEBHOOK_SECRETS_MAX).contains(&secrets.len()) => Ok(Self(secrets)),
            _ => Err(wrong(
                "must have one webhook secret, or two while it is replaced: `whsec_` and the base64 of 24 to 64 bytes",
            )),
        }
    }

    /// The value of [`SIGNATURE`].
    ///
    /// ```
    /// use selvedge::webhook::Secrets;
    ///
    /// // The example that the specification's libraries share.
    /// let secrets = Secrets::parse("webhook_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
    /// let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    /// assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /// # Ok::<(), selvedge::Error>(())
    /// ```
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let sign = |secret: &Vec<u8>| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.update(format!("{id}.{timestamp_s}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

/// What the receiver's status means for the event. 2xx is success. 410 says that nobody wants it any more. Everything
/// else is a failed attempt, 4xx too: a wrong path or a secret that isn't known yet is put right one day, and until then
/// retries and dead letters keep the event.
pub fn outcome(target: &str, status: StatusCode) -> Outcome {
    match status {
        status if status.is_success() => Outcome::Success,
        StatusCode::GONE => Outcome::drop(format!("{target} answered with status 410: it is gone")),
        status => Outcome::retry(format!("{target} answered with status {}", status.as_u16())),
    }
}

/// An event that is to be sent.
pub(crate) struct Message<'m> {
    /// What stays the same when it is sent again.
    pub id: String,
    /// Its `traceparent`.
    pub trace: Option<&'m str>,
    /// The event in CloudEvents' JSON format.
    pub body: Vec<u8>,
}

/// What is known by its source and id.
#[derive(Deserialize)]
struct Known<'e> {
    #[serde(borrow)]
    source: Cow<'e, str>,
    #[serde(borrow)]
    id: Cow<'e, str>,
}

impl<'m> Message<'m> {
    /// The message by which a subscription brings an event.
    pub fn new(subscription: &str, trace: Option<&'m str>, body: Vec<u8>) -> Self {
        let known: Known<'_> = serde_json::from_slice(&body).expect("the relay wrote a CloudEvent");
        Self {
            id: derived_id(&known.source, &known.id, subscription, 0),
            trace,
            body,
        }
    }
}

/// Sends one event, and says what became of it, and before when the receiver wants no other attempt, in milliseconds since the
/// Unix epoch.
pub(crate) async fn send(
    host: &Host,
    url: &str,
    secrets: &Secrets,
    message: Message<'_>,
    timeout_ms: u64,
) -> (Outcome, Option<i64>) {
    let timestamp_s = host.now_ms().div_euclid(1_000);
    let signature = secrets.sign(&message.id, timestamp_s, &message.body);
    let call = Call::post(url, MEDIA_TYPE, message.body)
        .header(ID, message.id)
        .header(TIMESTAMP, timestamp_s.to_string())
        .header(SIGNATURE, signature)
        .traced(message.trace);
    let target = call.target();
    let outcome = match host.send_within(call, timeout_ms).await {
        Ok(answer) => {
            let now_ms = host.now_ms();
            let not_before_ms = answer.retry_after_ms(now_ms).map(|wait_ms| now_ms + wait_ms);
            return (outcome(&target, answer.status), not_before_ms);
        }
        Err(Error::Unreachable { detail, .. }) if detail.contains("HttpRequestDenied") => Outcome::retry(format!(
            "the relay may not reach {target}: add it to the relay's allowed_outbound_hosts in spin.toml"
        )),
        Err(error) => Outcome::retry(error.to_string()),
    };
    (outcome, None)
}
