//! The W3C trace context: which requests and events belong together.

use std::borrow::Cow;

use crate::Host;

/// The header, and the event extension, that carries the trace.
pub const HEADER: &str = selvedge_events::extension::TRACE_PARENT;

/// The caller's `traceparent` where it is valid, otherwise a new one that asks to be sampled.
pub fn continued<'a>(received: Option<&'a str>, host: &Host) -> Cow<'a, str> {
    match received {
        Some(received) if is_valid(received) => Cow::Borrowed(received),
        _ => {
            let span = &host.new_token()[16..];
            Cow::Owned(format!("00-{}-{span}-01", host.new_token()))
        }
    }
}

/// Whether a text is a `traceparent` of version 00.
///
/// ```
/// use selvedge::trace::is_valid;
///
/// assert!(is_valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
/// assert!(!is_valid("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
/// assert!(!is_valid("hello"));
/// ```
pub fn is_valid(text: &str) -> bool {
    let hexadecimal =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |part: &str| part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("00"), Some(trace), Some(span), Some(flags), None) => {
            hexadecimal(trace, 32)
                && not_zero(trace)
                && hexadecimal(span, 16)
                && not_zero(span)
                && hexadecimal(flags, 2)
        }
        _ => false,
    }
}
