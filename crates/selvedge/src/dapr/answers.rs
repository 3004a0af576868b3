//! What an application says of events that a sidecar brought it.

use std::collections::HashMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// The answer to one event.
#[derive(Serialize, Deserialize)]
struct Single {
    #[serde(default)]
    status: String,
}

/// The answer to several.
#[derive(Serialize, Deserialize)]
struct Bulk {
    statuses: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    // Dapr doesn't look at the case here either.
    #[serde(alias = "entryID", default)]
    entry_id: String,
    #[serde(default)]
    status: String,
}

const SUCCESS: &str = "SUCCESS";
const RETRY: &str = "RETRY";
const DROP: &str = "DROP";

/// What an application's answer to one event means. Of a success only the words RETRY and DROP say anything else, or a
/// word that nobody knows; 404 says that nobody wants the event.
///
/// ```
/// use selvedge::Outcome;
/// use selvedge::dapr::answers::outcome;
/// use selvedge::http::StatusCode;
///
/// assert_eq!(outcome("the app", StatusCode::OK, b""), Outcome::Success);
/// let dropped = outcome("the app", StatusCode::OK, br#"{"status":"DROP"}"#);
/// assert_eq!(dropped, Outcome::drop("the app said DROP"));
/// ```
pub fn outcome(target: &str, status: StatusCode, body: &[u8]) -> Outcome {
    if !status.is_success() {
        return failed(target, status);
    }
    let Ok(Single { status }) = serde_json::from_slice(body) else {
        return Outcome::Success;
    };
    match &*status {
        "" => Outcome::Success,
        status => said(target, status),
    }
}

/// What an application's answer to several events means for each of these ids, in their order. What it doesn't name is to
/// be tried again.
pub fn outcomes<'i>(
    target: &str,
    status: StatusCode,
    body: &[u8],
    ids: impl IntoIterator<Item = &'i str>,
) -> Vec<Outcome> {
    if !status.is_success() {
        return ids.into_iter().map(|_| failed(target, status)).collect();
    }
    let statuses = serde_json::from_slice(body).map_or_else(|_| Vec::new(), |Bulk { statuses }| statuses);
    let by_id: HashMap<&str, &str> = statuses
        .iter()
        .map(|entry| (&*entry.entry_id, &*entry.status))
        .collect();
    let outcome = |id| match by_id.get(id) {
        None | Some(&"") => Outcome::retry(format!("{target} gave no status for this event")),
        Some(status) => said(target, status),
    };
    ids.into_iter().map(outcome).collect()
}

fn said(target: &str, status: &str) -> Outcome {
    match status {
        SUCCESS => Outcome::Success,
        DROP => Outcome::drop(format!("{target} said DROP")),
        RETRY => Outcome::retry(format!("{target} said RETRY")),
        unknown => Outcome::retry(format!("{target} answered with the unknown status {unknown:?}")),
    }
}

fn failed(target: &str, status: StatusCode) -> Outcome {
    let told = format!("{target} answered with status {}", status.as_u16());
    if status == StatusCode::NOT_FOUND {
        Outcome::drop(format!("{told}: it has no such route"))
    } else {
        Outcome::retry(told)
    }
}

/// The body of an application's answer to one event.
pub fn single(outcome: &Outcome) -> Vec<u8> {
    let status = word(outcome).to_owned();
    serde_json::to_vec(&Single { status }).expect("texts can be written as JSON")
}

/// The body of an application's answer to several, by the ids of their entries.
pub fn bulk<'o>(outcomes: impl IntoIterator<Item = (&'o str, &'o Outcome)>) -> Vec<u8> {
    let entry = |(id, outcome): (&str, &Outcome)| Entry {
        entry_id: id.to_owned(),
        status: word(outcome).to_owned(),
    };
    let statuses = outcomes.into_iter().map(entry).collect();
    serde_json::to_vec(&Bulk { statuses }).expect("texts can be written as JSON")
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Success => SUCCESS,
        Outcome::Retry { .. } => RETRY,
        Outcome::Drop { .. } => DROP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Outcome {
        outcome(
            "the app",
            StatusCode::from_u16(status).expect("a status"),
            body.as_bytes(),
        )
    }

    fn each(status: u16, body: &str) -> Vec<&'static str> {
        let status = StatusCode::from_u16(status).expect("a status");
        outcomes("the app", status, body.as_bytes(), ["1", "2"])
            .iter()
            .map(word)
            .collect()
    }

    #[test]
    fn one_event_is_a_success_unless_the_application_says_something_else() {
        for body in [
            "",
            "OK",
            "{}",
            "{",
            "[]",
            "null",
            r#"{"status":""}"#,
            r#"{"status":"SUCCESS"}"#,
            r#"{"status":1}"#,
        ] {
            for status in [200, 201, 204, 299] {
                assert_eq!(of(status, body), Outcome::Success, "{status} {body}");
            }
        }
        for (status, body, expected) in [
            (200, r#"{"status":"RETRY"}"#, RETRY),
            (200, r#"{"status":"MAYBE"}"#, RETRY),
            (200, r#"{"status":"success"}"#, RETRY),
            (200, r#"{"status":"DROP"}"#, DROP),
            (404, "", DROP),
            (404, r#"{"status":"SUCCESS"}"#, DROP),
            (400, "", RETRY),
            (500, r#"{"status":"SUCCESS"}"#, RETRY),
            (500, r#"{"status":"DROP"}"#, RETRY),
            (302, "", RETRY),
        ] {
            assert_eq!(word(&of(status, body)), expected, "{status} {body}");
        }
    }

    #[test]
    fn of_several_each_needs_a_status() {
        let both = r#"{"statuses":[{"entryId":"2","status":"DROP"},{"entryId":"1","status":"SUCCESS"}]}"#;
        assert_eq!(each(200, both), [SUCCESS, DROP]);
        assert_eq!(
            each(200, r#"{"statuses":[{"entryID":"1","status":"SUCCESS"}]}"#),
            [SUCCESS, RETRY]
        );
        assert_eq!(
            each(
                200,
                r#"{"statuses":[{"entryId":"1"},{"entryId":"2","status":"MAYBE"}]}"#
            ),
            [RETRY, RETRY]
        );
        for body in ["", "OK", "{}", r#"{"statuses":{}}"#, r#"{"status":"SUCCESS"}"#] {
            assert_eq!(each(200, body), [RETRY, RETRY], "{body}");
        }
        assert_eq!(each(404, both), [DROP, DROP]);
        assert_eq!(each(500, both), [RETRY, RETRY]);
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let all = [Outcome::Success, Outcome::retry("a"), Outcome::drop("b")];
        let ids = ["1", "2", "3"];
        let body = bulk(ids.into_iter().zip(&all));
        let read = outcomes("the app", StatusCode::OK, &body, ids);
        assert!(read.iter().map(word).eq(all.iter().map(word)));
        for one in &all {
            assert_eq!(word(&outcome("the app", StatusCode::OK, &single(one))), word(one));
        }
    }
}
