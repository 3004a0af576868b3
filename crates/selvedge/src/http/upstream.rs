//! Calls to someone who may be down: timeout, retry, circuit breaker.

use http::{Method, StatusCode};

use super::{Answer, Call};
use crate::breaker::BreakerPolicy;
use crate::breaker::shared::SharedBreaker;
use crate::retry::RetryPolicy;
use crate::{Error, Host, limits};

/// Someone whom a function calls: another function, or a provider outside. An instance makes one and keeps it, since it
/// remembers for a moment what it saw of the breaker's state.
///
/// - A call ends in time: each attempt after the timeout, all of them together after the total.
/// - A failed call is made again only where that is safe: GET, HEAD, PUT, DELETE, or any method with an
///   `Idempotency-Key`. Between attempts is the retry policy's backoff.
/// - Timeouts, connections that fail, 5xx and 429 count as failures; every other answer is a success, 4xx too: whoever
///   says that is up.
/// - While the circuit breaker of its name is open no call is made. All functions that name it share the breaker.
///
/// ```
/// use selvedge::Host;
/// use selvedge::http::{Call, Method, Upstream};
///
/// async fn is_known(users: &Upstream, host: &Host, id: &str) -> Result<bool, selvedge::Error> {
///     let call = Call::chained(Method::GET, "users", &format!("/users/{id}"));
///     Ok(users.send(host, call).await?.status.is_success())
/// }
/// let users = Upstream::new("users").timeout_ms(500);
/// # _ = is_known;
/// ```
#[derive(Debug)]
pub struct Upstream {
    timeout_ms: u64,
    total_ms: u64,
    retry: RetryPolicy,
    policy: BreakerPolicy,
    breaker: SharedBreaker,
}

impl Upstream {
    /// An upstream with a breaker of this name. Its calls may take [`limits::UPSTREAM_TIMEOUT_MS`] each and
    /// [`limits::UPSTREAM_TOTAL_MS`] together, and are made up to three times, 100 ms and 200 ms apart.
    pub fn new(name: &'static str) -> Self {
        let retry = RetryPolicy {
            max_attempts: 3,
            initial_interval_ms: 100,
            ..RetryPolicy::default()
        };
        let policy = BreakerPolicy::default();
        Self {
            timeout_ms: limits::UPSTREAM_TIMEOUT_MS,
            total_ms: limits::UPSTREAM_TOTAL_MS,
            retry,
            breaker: SharedBreaker::new(name, policy.clone()),
            policy,
        }
        .adjusted()
    }

    /// How long one attempt may take, in milliseconds.
    pub fn timeout_ms(self, timeout_ms: u64) -> Self {
        Self { timeout_ms, ..self }.adjusted()
    }

    /// How long a call may take with all its attempts and the time between them, in milliseconds.
    pub fn total_ms(self, total_ms: u64) -> Self {
        Self { total_ms, ..self }
    }

    /// How often and how fast a failed call is made again where that is safe.
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// When its breaker opens and for how long. A probe may take at least as long as an attempt.
    pub fn breaker(self, policy: BreakerPolicy) -> Self {
        Self { policy, ..self }.adjusted()
    }

    /// The name of its breaker.
    pub fn name(&self) -> &str {
        self.breaker.name()
    }

    /// Makes a call and gives its answer, which is neither a 5xx nor a 429.
    ///
    /// # Errors
    /// [`Error::CircuitOpen`] when no call may be made; otherwise what the last attempt failed with: [`Error::Timeout`],
    /// [`Error::Unreachable`], or [`Error::Answer`] for a 5xx or a 429.
    pub async fn send(&self, host: &Host, call: Call) -> Result<Answer, Error> {
        let begun_ms = host.now_ms();
        let mut attempt = 1;
        loop {
            let permit = self.breaker.admit(host)?;
            let left_ms = self.left_ms(begun_ms, host.now_ms());
            let answered = host.send_within(call.clone(), self.timeout_ms.min(left_ms)).await;
            let answered = answered.and_then(|answer| usable(answer, &call));
            self.breaker.settle(host, permit, answered.is_ok());
            let error = match answered {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let delay_ms = self.retry.delay_ms(attempt, host.random_fraction());
            let left_ms = self.left_ms(begun_ms, host.now_ms());
            // A probe that failed has opened the breaker again.
            match delay_ms.filter(|delay_ms| *delay_ms < left_ms && may_be_repeated(&call) && !permit.is_probe) {
                Some(delay_ms) => host.wait(delay_ms).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// What is left of the total. A clock that was set back gives no more than there was.
    fn left_ms(&self, begun_ms: i64, now_ms: i64) -> u64 {
        let passed_ms = u64::try_from(now_ms.saturating_sub(begun_ms)).unwrap_or(0);
        self.total_ms.saturating_sub(passed_ms)
    }

    /// A probe is taken for dead only when its attempt must have ended.
    fn adjusted(mut self) -> Self {
        let longest_ms = self.timeout_ms.saturating_add(limits::PROBE_MARGIN_MS);
        self.policy.probe_ms = self.policy.probe_ms.max(i64::try_from(longest_ms).unwrap_or(i64::MAX));
        self.breaker = SharedBreaker::new(self.breaker.name(), self.policy.clone());
        self
    }
}

/// The answer of someone who is up.
fn usable(answer: Answer, call: &Call) -> Result<Answer, Error> {
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        // It is no success, so this gives the error that names its status.
        return answer.successful(&call.target());
    }
    Ok(answer)
}

/// Whether a call does no harm when it is made twice.
fn may_be_repeated(call: &Call) -> bool {
    let is_keyed = call.headers.iter().any(|(name, _)| *name == Call::IDEMPOTENCY_KEY);
    is_keyed || matches!(call.method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE)
}
