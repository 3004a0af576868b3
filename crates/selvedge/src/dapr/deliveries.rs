//! What a sidecar brings to this application: an event, or several at once.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_events::{Event, json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::envelope::{PUBSUB_NAME, SOURCE, TOPIC, TYPE};

/// The type of an envelope around several events.
const BULK_TYPE: &str = "com.dapr.event.sent.bulk";

/// Events that a sidecar brings.
#[derive(Debug)]
pub enum Delivery {
    /// One.
    Single(Box<Result<Event, selvedge_events::Error>>),
    /// Several, each with the id by which the answer names it.
    Bulk(Vec<(String, Result<Event, selvedge_events::Error>)>),
}

#[derive(Deserialize)]
struct Bulk<'a> {
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    entry_id: String,
    #[serde(borrow)]
    event: &'a RawValue,
}

impl Delivery {
    /// Reads the body of a delivery. What has entries is several events, and what hasn't is one.
    ///
    /// ```
    /// use selvedge::dapr::deliveries::Delivery;
    ///
    /// let body = br#"{"specversion":"1.0","id":"1","source":"/shop","type":"a.b.c","topic":"orders"}"#;
    /// let Delivery::Single(event) = Delivery::read(body) else { panic!("one event") };
    /// assert_eq!(event.expect("a CloudEvent").id, "1");
    /// ```
    pub fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<Bulk<'_>>(body) {
            Err(_) => Self::Single(Box::new(json::decode(body))),
            Ok(Bulk { entries }) => {
                let event = |entry: Entry<'_>| (entry.entry_id, json::decode(entry.event.get().as_bytes()));
                Self::Bulk(entries.into_iter().map(event).collect())
            }
        }
    }
}

/// One message of an envelope around several.
pub enum Message {
    /// An event in CloudEvents' JSON format.
    Event(String),
    /// A message without an envelope of its own.
    Raw(Vec<u8>),
}

/// The body that brings several messages of a topic, each with its id.
pub fn envelope<'m>(
    id: &str,
    pubsub: &str,
    topic: &str,
    messages: impl IntoIterator<Item = (&'m str, Message)>,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Sent<'a> {
        entry_id: &'a str,
        event: Box<RawValue>,
        content_type: &'static str,
        metadata: Option<()>,
    }
    #[derive(Serialize)]
    struct All<'a> {
        id: &'a str,
        entries: Vec<Sent<'a>>,
        metadata: Option<()>,
        pubsubname: &'a str,
        topic: &'a str,
        r#type: &'static str,
    }
    let sent = |(entry_id, message)| {
        let (event, content_type) = match message {
            Message::Event(json) => (RawValue::from_string(json), json::MEDIA_TYPE),
            Message::Raw(bytes) => (
                serde_json::value::to_raw_value(&STANDARD.encode(bytes)),
                "application/octet-stream",
            ),
        };
        Sent {
            entry_id,
            event: event.expect("an event is JSON"),
            content_type,
            metadata: None,
        }
    };
    let all = All {
        id,
        entries: messages.into_iter().map(sent).collect(),
        metadata: None,
        pubsubname: pubsub,
        topic,
        r#type: BULK_TYPE,
    };
    serde_json::to_vec(&all).expect("JSON can be written as JSON")
}

/// An event in CloudEvents' JSON format with the topic that it is delivered on, where it was published on none.
pub fn on_topic(event: &str, pubsub: &str, topic: &str) -> String {
    #[derive(Deserialize)]
    struct Published<'a> {
        #[serde(borrow)]
        topic: Option<&'a RawValue>,
    }
    let is_published = serde_json::from_str::<Published<'_>>(event).is_ok_and(|event| event.topic.is_some());
    match event.strip_prefix('{') {
        Some(members) if !is_published => {
            let (pubsub, topic) = (text(pubsub), text(topic));
            format!("{{\"{PUBSUB_NAME}\":{pubsub},\"{TOPIC}\":{topic},{members}")
        }
        _ => event.to_owned(),
    }
}

/// The body that brings a message without an envelope of its own: one made around its bytes, with the attributes of the
/// event that it came by.
pub fn around_raw(event: &str, message: &[u8]) -> Vec<u8> {
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(event).unwrap_or_default();
    let raw = |value: &str| serde_json::value::to_raw_value(value).expect("a text can be written as JSON");
    for standard in ["data", "dataschema", "subject"] {
        members.remove(standard);
    }
    for (name, value) in [
        ("data_base64", &*STANDARD.encode(message)),
        ("datacontenttype", "application/octet-stream"),
        ("type", TYPE),
        ("source", SOURCE),
    ] {
        members.insert(name.to_owned(), raw(value));
    }
    serde_json::to_vec(&members).expect("JSON can be written as JSON")
}

fn text(text: &str) -> String {
    serde_json::to_string(text).expect("a text can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"a.b.c","data":{"entries":[]}}"#;

    #[test]
    fn several_are_read_as_they_were_written() {
        let messages = [
            ("a", Message::Event(EVENT.to_owned())),
            ("b", Message::Raw(b"raw".to_vec())),
        ];
        let body = envelope("7", "pubsub", "orders", messages);
        let Delivery::Bulk(entries) = Delivery::read(&body) else {
            panic!("several");
        };
        assert_eq!(entries[0].1.as_ref().expect("a CloudEvent").id, "1");
        assert!(entries[1].1.is_err(), "a raw message is no event");
        assert_eq!(entries.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn one_is_an_event_or_says_why_it_is_none() {
        let one = |body: &[u8]| match Delivery::read(body) {
            Delivery::Single(event) => *event,
            Delivery::Bulk(_) => panic!("one"),
        };
        assert!(one(EVENT.as_bytes()).is_ok());
        let with_empty_extensions = EVENT.replace("\"id\"", r#""tracestate":"","traceid":"","topic":"t","id""#);
        assert!(one(with_empty_extensions.as_bytes()).is_ok());
        for body in [
            &b""[..],
            b"{}",
            b"[]",
            b"raw",
            br#"{"entries":7}"#,
            br#"{"entries":[{"event":1}]}"#,
        ] {
            assert!(one(body).is_err());
        }
    }

    #[test]
    fn a_raw_message_is_brought_as_bytes() {
        let event = json::decode(&around_raw(&on_topic(EVENT, "p", "t"), b"{}")).expect("a CloudEvent");
        assert_eq!(event.data, selvedge_events::Data::Binary(b"{}".to_vec()));
        assert_eq!((&*event.id, &*event.event_type), ("1", TYPE));
        assert_eq!(event.extensions[TOPIC], "t".into());
    }

    #[test]
    fn an_event_of_no_topic_gets_the_one_it_is_delivered_on() {
        let event = json::decode(on_topic(EVENT, "p", "a \"b\"").as_bytes()).expect("a CloudEvent");
        assert_eq!(event.extensions[TOPIC], "a \"b\"".into());
        assert_eq!(event.extensions[PUBSUB_NAME], "p".into());
        let again = on_topic(&on_topic(EVENT, "p", "t"), "other", "other");
        assert_eq!(
            json::decode(again.as_bytes()).expect("a CloudEvent").extensions[TOPIC],
            "t".into()
        );
    }
}
