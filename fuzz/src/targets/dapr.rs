//! What comes by Dapr's API: payloads, bulk requests, deliveries, and what applications answer.

use selvedge::dapr::deliveries::Delivery;
use selvedge::dapr::envelope::{self, Published};
use selvedge::dapr::publishing::Metadata;
use selvedge::dapr::routes::Topics;
use selvedge::dapr::{answers, bulk};
use selvedge::http::StatusCode;
use selvedge_events::json;

use crate::target::{Execute, Target};

/// A content type, a line of metadata, a body.
pub const TARGET: Target = Target {
    name: "dapr",
    words: &[
        "application/cloudevents+json\n",
        "application/json\n",
        "application/octet-stream\n",
        "text/plain\n",
        "metadata.ttlInSeconds=60",
        "metadata.rawPayload=true",
        "&metadata.cloudevent.type=a.b.c",
        "&metadata.partitionKey=k",
        "{\"specversion\":\"1.0\"",
        "\"id\":\"1\"",
        "\"expiration\":\"2026-11-24T00:00:00Z\"",
        "\"data_base64\":\"AA==\"",
        "\"entries\":[",
        "\"entryId\":\"1\"",
        "\"event\":",
        "\"contentType\":",
        "\"statuses\":[",
        "\"status\":\"RETRY\"",
        "\"failedEntries\":[",
        "\"pubsubname\":\"p\"",
        "\"topic\":\"t\"",
        "\"rules\":[{\"match\":\"event.type == 'a'\",\"path\":\"/a\"}]",
    ],
    prepare: || -> Execute {
        Box::new(|input| {
            let mut lines = input.splitn(3, |byte| *byte == b'\n');
            let mut line = || lines.next().unwrap_or_default();
            let (content_type, query, body) = (line(), line(), line());
            payload(
                &String::from_utf8_lossy(content_type),
                &String::from_utf8_lossy(query),
                body,
            );
            replies(body);
        })
    },
};

/// What becomes an event is a valid one, and has a message.
fn payload(content_type: &str, query: &str, body: &[u8]) {
    let published = Published {
        pubsub: "pubsub",
        topic: "topic",
        content_type: Some(content_type),
        payload: body,
        metadata: &Metadata::from_query(query),
        trace: None,
        id: "fresh".to_owned(),
        now_ms: 1_767_225_600_000,
    };
    match published.event() {
        Ok(event) => {
            event.validate().expect("a published event is valid");
            envelope::message(&event).expect("a published event has a message");
            let written = json::encode(&event).expect("a valid event can be written");
            assert!(matches!(Delivery::read(&written), Delivery::Single(read) if read.is_ok()));
        }
        Err(refused) => assert!(!refused.to_string().is_empty() && refused.code().starts_with("ERR_")),
    }
    if let Ok(entries) = bulk::entries(body) {
        assert!(
            entries.iter().all(|entry| !entry.id.is_empty()),
            "every entry has an id"
        );
    }
}

/// What others answer is always understood as something.
fn replies(body: &[u8]) {
    answers::outcome("the app", StatusCode::OK, body);
    let outcomes = answers::outcomes("the app", StatusCode::OK, body, ["1", "2"]);
    assert_eq!(outcomes.len(), 2, "one outcome per event");
    let written = answers::bulk(["1", "2"].into_iter().zip(&outcomes));
    assert_eq!(
        answers::outcomes("the app", StatusCode::OK, &written, ["1", "2"]).len(),
        2
    );
    if let Ok(topics) = Topics::read(StatusCode::OK, body)
        && let Some(topic) = topics.find("p", "t")
        && let Ok(Some(path)) = topic.path("{\"type\":\"a\"}")
    {
        assert!(path.starts_with('/'), "a path is one");
    }
    if let Some(failed) = bulk::failed_entries(body) {
        assert_eq!(bulk::failed_entries(&bulk::failure(failed.clone())), Some(failed));
    }
}
