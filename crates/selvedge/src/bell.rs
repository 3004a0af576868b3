//! The bell: tells the relay that there is work, after the response, and only when no relay is awake anyway.
//!
//! A bell may be lost. Then the next one, or the cron, brings the event; the bell makes it fast, never certain.

use http::Method;

use crate::http::Call;
use crate::journal::Appended;
use crate::{Host, lease, limits, mutant};

/// The relay's component.
pub const RELAY: &str = "relay";
/// Where the relay hears the bell. No public route leads there.
pub const PATH: &str = "/_selvedge/bell";

/// Rings if no relay was awake when the events were appended.
pub fn ring_after(host: &Host, appended: Appended) {
    if !mutant::is("bell_never_rung") && !is_awake(appended.relay_awake_until_ms, host.now_ms()) {
        ring(host);
    }
}

/// Rings, in a task of its own that outlives the response.
pub fn ring(host: &Host) {
    let bell = host.clone();
    host.spawn(Box::pin(async move {
        let call = Call::chained(Method::POST, RELAY, PATH);
        if let Err(error) = bell.send_within(call, limits::BELL_TIMEOUT_MS).await {
            eprintln!("warning: the relay didn't hear the bell ({error}); the cron will wake it");
        }
    }));
}

/// Whether a mark that ends at `awake_until_ms` says that a relay is awake now. One that ends later than any relay
/// would say was written before the clock was set back, and says nothing.
///
/// ```
/// use selvedge::bell::is_awake;
///
/// assert!(is_awake(1_001, 1_000));
/// assert!(!is_awake(1_000, 1_000));
/// assert!(!is_awake(3_600_000, 1_000));
/// ```
pub fn is_awake(awake_until_ms: i64, now_ms: i64) -> bool {
    awake_until_ms > now_ms && awake_until_ms <= lease::latest_ms(now_ms + limits::AWAKE_MS)
}
