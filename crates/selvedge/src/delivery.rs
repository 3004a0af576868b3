//! A delivery: what the relay sends to a function, and what the function answers.
//!
//! The relay POSTs a batch of CloudEvents to [`path`]. The answer names each event's [`Outcome`] by its id, in the shape
//! that Dapr's bulk subscriptions have. Any other answer is a failed attempt for every event of the batch.

use std::borrow::Cow;
use std::collections::HashMap;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::{Error, limits};

/// The header that says which attempt this is, counted from 1.
pub const ATTEMPT: HeaderName = HeaderName::from_static("selvedge-attempt");

/// The route pattern of [`path`].
pub const ROUTE: &str = "/_selvedge/deliver/:subscription";

/// Where a function hears the events of a subscription. No public route leads there.
pub fn path(subscription: &str) -> String {
    format!("/_selvedge/deliver/{subscription}")
}

/// What became of one delivered event. There is no fourth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; it won't come again.
    Success,
    /// It didn't work this time; it comes again later, or becomes a dead letter after the last attempt.
    Retry {
        /// What went wrong, for the operator.
        reason: String,
    },
    /// It can never work; it becomes a dead letter at once.
    Drop {
        /// What is wrong with it, for the operator.
        reason: String,
    },
}

impl Outcome {
    /// It didn't work this time.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: bounded(reason.into()),
        }
    }

    /// It can never work.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop {
            reason: bounded(reason.into()),
        }
    }
}

/// A reason as it is kept: cut at [`limits::REASON_BYTES_MAX`].
pub(crate) fn bounded(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(limits::REASON_BYTES_MAX));
    reason
}

#[derive(Serialize, Deserialize)]
struct Statuses<'a> {
    #[serde(borrow)]
    statuses: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    entry_id: Cow<'a, str>,
    status: Status,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    Retry,
    Drop,
}

/// The answer's body for these events and what became of them.
pub fn encode_answer<'a>(outcomes: impl IntoIterator<Item = (&'a str, &'a Outcome)>) -> Vec<u8> {
    let entry = |(id, outcome): (&'a str, &'a Outcome)| {
        let (status, reason) = match outcome {
            Outcome::Success => (Status::Success, None),
            Outcome::Retry { reason } => (Status::Retry, Some(reason.as_str().into())),
            Outcome::Drop { reason } => (Status::Drop, Some(reason.as_str().into())),
        };
        Entry {
            entry_id: id.into(),
            status,
            reason,
        }
    };
    let statuses = Statuses {
        statuses: outcomes.into_iter().map(entry).collect(),
    };
    serde_json::to_vec(&statuses).expect("texts can be written as JSON")
}

/// What became of each of these events, in their order. An event that the answer doesn't name is to be tried again.
///
/// # Errors
/// [`Error::Answer`] when the body isn't such an answer.
pub fn decode_answer<'a>(
    target: &str,
    body: &[u8],
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Outcome>, Error> {
    let Statuses { statuses } = serde_json::from_slice(body).map_err(|error| Error::Answer {
        target: target.to_owned(),
        reason: format!("with no statuses: {error}"),
    })?;
    let mut by_id: HashMap<Cow<'_, str>, (Status, Option<Cow<'_, str>>)> = statuses
        .into_iter()
        .map(|entry| (entry.entry_id, (entry.status, entry.reason)))
        .collect();
    let outcome = |id| match by_id.remove(id) {
        None => Outcome::retry("the function's answer has no status for this event"),
        Some((Status::Success, _)) => Outcome::Success,
        Some((Status::Retry, reason)) => Outcome::retry(reason.unwrap_or("the function gave no reason".into())),
        Some((Status::Drop, reason)) => Outcome::drop(reason.unwrap_or("the function gave no reason".into())),
    };
    Ok(ids.into_iter().map(outcome).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Success),
            ".{0,300}".prop_map(Outcome::retry),
            ".{0,300}".prop_map(Outcome::drop),
        ]
    }

    proptest! {
        #[test]
        fn an_answer_is_read_as_it_was_written(outcomes in prop::collection::vec(outcome(), 0..20)) {
            let ids: Vec<_> = (0..outcomes.len()).map(|index| format!("id-\"{index}\"")).collect();
            let body = encode_answer(ids.iter().map(String::as_str).zip(&outcomes));
            let read = decode_answer("x", &body, ids.iter().map(String::as_str)).expect("an answer");
            prop_assert_eq!(read, outcomes);
        }
    }

    #[test]
    fn an_event_without_a_status_is_tried_again() {
        let body = br#"{"statuses":[{"entryId":"other","status":"SUCCESS"}]}"#;
        let outcomes = decode_answer("x", body, ["1"]).expect("an answer");
        assert!(matches!(&outcomes[..], [Outcome::Retry { reason }] if reason.contains("no status")));
    }

    #[test]
    fn anything_else_is_no_answer() {
        for body in [
            &b""[..],
            b"ok",
            b"{}",
            br#"{"statuses":[{"entryId":"1","status":"MAYBE"}]}"#,
            b"\xff",
        ] {
            assert!(matches!(decode_answer("x", body, ["1"]), Err(Error::Answer { .. })));
        }
    }
}
