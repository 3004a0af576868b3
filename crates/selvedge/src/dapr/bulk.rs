//! Bulk publishing: many payloads in one request, each taken or refused by itself.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_events::json::MEDIA_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::envelope::{self, is_json, media_type};
use super::publishing::{Metadata, Refused};
use crate::limits;

/// One payload of a bulk request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What its publisher calls it: unique within the request.
    pub id: String,
    /// Its content type.
    pub content_type: String,
    /// Its bytes, or why they can't be told.
    pub payload: Result<Vec<u8>, String>,
    /// What its publisher says beside it.
    pub metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    // Dapr doesn't look at the case, and one of its SDKs relies on that.
    #[serde(alias = "entryID", alias = "entryid", default)]
    entry_id: String,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(alias = "contenttype")]
    content_type: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

/// The entries of a bulk request's body.
///
/// ```
/// let body = br#"[{"entryId":"1","event":"hello","contentType":"text/plain"}]"#;
/// let entries = selvedge::dapr::bulk::entries(body)?;
/// assert_eq!(entries[0].payload.as_deref(), Ok(&b"hello"[..]));
/// # Ok::<(), selvedge::dapr::publishing::Refused>(())
/// ```
///
/// # Errors
/// [`Refused::Entries`] when it is no such list, or an entry's id is missing or there twice.
pub fn entries(body: &[u8]) -> Result<Vec<Entry>, Refused> {
    let wrong = |reason: String| Refused::Entries { reason };
    let sent: Vec<Sent<'_>> = serde_json::from_slice(body).map_err(|error| {
        wrong(format!(
            "{error}; send an array of {{entryId, event, contentType, metadata}}"
        ))
    })?;
    let max = limits::DAPR_BULK_ENTRIES_MAX;
    if sent.len() > max {
        return Err(wrong(format!(
            "it has {} entries, {max} are allowed: send fewer",
            sent.len()
        )));
    }
    let mut ids = HashSet::new();
    let mut entries = Vec::with_capacity(sent.len());
    for Sent {
        entry_id,
        event,
        content_type,
        metadata,
    } in sent
    {
        if entry_id.is_empty() || !ids.insert(entry_id.clone()) {
            return Err(wrong(
                "an entryId is missing or there twice: give each entry its own".to_owned(),
            ));
        }
        let content_type = content_type.filter(|text| !text.is_empty());
        let content_type = content_type.unwrap_or_else(|| inferred(event).to_owned());
        entries.push(Entry {
            payload: payload(event, &content_type),
            id: entry_id,
            content_type,
            metadata: metadata.unwrap_or_default().into_iter().collect(),
        });
    }
    Ok(entries)
}

/// The content type of a payload whose publisher names none.
fn inferred(event: Option<&RawValue>) -> &'static str {
    match event {
        Some(event) if !event.get().starts_with('"') => "application/json",
        _ => envelope::CONTENT_TYPE,
    }
}

/// A payload's bytes: JSON as it stands, a text without its quotes, bytes from Base64.
fn payload(event: Option<&RawValue>, content_type: &str) -> Result<Vec<u8>, String> {
    let event = event.ok_or("the entry has no event")?;
    let media_type = media_type(content_type);
    if is_json(media_type) {
        return Ok(event.get().as_bytes().to_vec());
    }
    let text: String = serde_json::from_str(event.get())
        .map_err(|_| format!("an event of content type {media_type} must be a JSON string"))?;
    if media_type.eq_ignore_ascii_case("application/octet-stream") {
        let bytes = STANDARD.decode(text);
        return bytes.map_err(|error| format!("an event of content type {media_type} must be Base64: {error}"));
    }
    Ok(text.into_bytes())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    failed_entries: Vec<FailedEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailedEntry {
    entry_id: String,
    /// The same once more: the SDK for JavaScript looks for it under this name, and without it takes a failed entry for
    /// a published one.
    #[serde(rename = "entryID", default, skip_deserializing)]
    entry_id_of_sdk: String,
    error: String,
}

/// The body of the answer when some entries weren't published: their ids, and why.
pub fn failure(failed: impl IntoIterator<Item = (String, String)>) -> Vec<u8> {
    let failed_entries = failed.into_iter().map(|(id, error)| FailedEntry {
        entry_id: id.clone(),
        entry_id_of_sdk: id,
        error,
    });
    let failed = Failed {
        failed_entries: failed_entries.collect(),
        error_code: Some("ERR_PUBSUB_PUBLISH_MESSAGE".to_owned()),
    };
    serde_json::to_vec(&failed).expect("texts can be written as JSON")
}

/// The ids of the entries that a sidecar says it didn't publish, and why; `None` when the body doesn't say that.
pub fn failed_entries(body: &[u8]) -> Option<Vec<(String, String)>> {
    let failed: Failed = serde_json::from_slice(body).ok()?;
    let entries = failed.failed_entries.into_iter();
    Some(entries.map(|entry| (entry.entry_id, entry.error)).collect())
}

/// The body of a bulk request for these CloudEvents in their JSON format. An entry's id is its place, counted from 0.
///
/// # Panics
/// When one of them is no JSON: the relay wrote them.
pub fn request(events: &[Vec<u8>]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Published<'a> {
        entry_id: String,
        event: &'a RawValue,
        content_type: &'static str,
    }
    let entry = |(place, event)| Published {
        entry_id: usize::to_string(&place),
        event: serde_json::from_slice(event).expect("the relay wrote a CloudEvent"),
        content_type: MEDIA_TYPE,
    };
    let entries: Vec<_> = events.iter().map(Vec::as_slice).enumerate().map(entry).collect();
    serde_json::to_vec(&entries).expect("JSON can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_content_type_gives_the_bytes_that_were_meant() {
        let body = br#"[
            {"entryId":"a","event":"text","contentType":"text/plain"},
            {"entryId":"b","event":{"x": 1.0},"contentType":"application/json","metadata":{"ttlInSeconds":"5"}},
            {"entryId":"c","event":"AP8=","contentType":"application/octet-stream"},
            {"entryId":"d","event":{"id":"7"},"contentType":"application/cloudevents+json"},
            {"entryId":"e","event":"text"},
            {"entryID":"f","event":[1]}
        ]"#;
        let entries = entries(body).expect("entries");
        let payloads: Vec<_> = entries
            .iter()
            .map(|entry| entry.payload.clone().expect("bytes"))
            .collect();
        assert_eq!(
            payloads,
            [
                &b"text"[..],
                b"{\"x\": 1.0}",
                b"\0\xff",
                b"{\"id\":\"7\"}",
                b"text",
                b"[1]"
            ]
        );
        let types: Vec<_> = entries[4..].iter().map(|entry| &*entry.content_type).collect();
        assert_eq!(types, ["text/plain", "application/json"]);
        assert_eq!(entries[1].metadata.ttl_s().expect("a number"), Some(5));
        assert_eq!(entries[5].id, "f");
    }

    #[test]
    fn an_entry_that_cannot_be_read_fails_by_itself() {
        let body = br#"[
            {"entryId":"a","event":{"x":1},"contentType":"text/plain"},
            {"entryId":"b","event":"no base64","contentType":"application/octet-stream"},
            {"entryId":"c","contentType":"text/plain"},
            {"entryId":"d","event":"good","contentType":"text/plain"}
        ]"#;
        let entries = entries(body).expect("entries");
        let failed: Vec<_> = entries.iter().map(|entry| entry.payload.is_err()).collect();
        assert_eq!(failed, [true, true, true, false]);
    }

    #[test]
    fn a_list_that_cannot_be_told_apart_is_refused() {
        let many = format!(
            "[{}]",
            vec![r#"{"entryId":"1"}"#; limits::DAPR_BULK_ENTRIES_MAX + 1].join(",")
        );
        for body in [
            "",
            "{}",
            "null",
            "[1]",
            r#"[{"event":1}]"#,
            r#"[{"entryId":"","event":1}]"#,
            r#"[{"entryId":1,"event":1}]"#,
            r#"[{"entryId":"1","event":1},{"entryId":"1","event":2}]"#,
            r#"[{"entryId":"1","event":1,"metadata":{"a":1}}]"#,
            &many,
        ] {
            let refused = entries(body.as_bytes()).expect_err(body);
            assert_eq!(refused.code(), "ERR_PUBSUB_EVENTS_SER", "{refused}");
        }
        assert_eq!(entries(b"[]").expect("none"), []);
    }

    #[test]
    fn failures_are_read_as_they_were_written() {
        let failed = vec![("1".to_owned(), "no".to_owned()), ("b".to_owned(), "never".to_owned())];
        let body = failure(failed.clone());
        assert_eq!(failed_entries(&body), Some(failed));
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(json["errorCode"], "ERR_PUBSUB_PUBLISH_MESSAGE");
        assert_eq!(json["failedEntries"][1]["entryId"], "b");
        for body in [&b""[..], b"{}", b"oops", br#"{"errorCode":"ERR_PUBSUB_NOT_FOUND"}"#] {
            assert_eq!(failed_entries(body), None);
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let events = [br#"{"id":"1"}"#.to_vec(), br#"{"id":"2"}"#.to_vec()];
        let read = entries(&request(&events)).expect("entries");
        assert_eq!(read.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["0", "1"]);
        assert!(
            read.iter()
                .zip(&events)
                .all(|(entry, event)| entry.payload.as_ref() == Ok(event))
        );
        assert!(read.iter().all(|entry| entry.content_type == MEDIA_TYPE));
    }
}
