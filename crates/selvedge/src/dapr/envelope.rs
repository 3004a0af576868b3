//! The envelope: what is published, as the CloudEvent that goes on its way.

use std::collections::BTreeMap;

use selvedge_events::extension::{EXPIRY_TIME, PARTITION_KEY, TRACE_PARENT};
use selvedge_events::json::{self, MEDIA_TYPE};
use selvedge_events::{Data, Event, SPEC_VERSION, Timestamp};
use serde_json::value::{RawValue, to_raw_value};

use super::publishing::{Metadata, Refused};

/// The extension that names an event's topic.
pub const TOPIC: &str = "topic";
/// The extension that names the pub/sub component that an event was published to.
pub const PUBSUB_NAME: &str = "pubsubname";
/// The extension that says when an event loses its meaning.
pub const EXPIRATION: &str = "expiration";
/// The extension of an event that was published without an envelope: its data is the message.
pub const RAW_PAYLOAD: &str = "rawpayload";
/// The type of an event whose publisher names none.
pub const TYPE: &str = "com.dapr.event.sent";
/// The source of an event whose publisher names none.
pub const SOURCE: &str = "Dapr";
/// The content type of a payload whose publisher names none.
pub const CONTENT_TYPE: &str = "text/plain";

const OCTET_STREAM: &str = "application/octet-stream";

/// Something that is published.
#[derive(Debug, Clone)]
pub struct Published<'p> {
    /// The pub/sub component.
    pub pubsub: &'p str,
    /// The topic.
    pub topic: &'p str,
    /// The payload's content type.
    pub content_type: Option<&'p str>,
    /// The payload.
    pub payload: &'p [u8],
    /// What its publisher says beside it.
    pub metadata: &'p Metadata,
    /// The request's `traceparent`.
    pub trace: Option<&'p str>,
    /// An id for an event whose publisher gives none.
    pub id: String,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl Published<'_> {
    /// The event: the payload itself where it is a CloudEvent, with what it lacks; otherwise an event around it.
    ///
    /// ```
    /// use selvedge::dapr::envelope::Published;
    /// use selvedge::dapr::publishing::Metadata;
    ///
    /// let published = Published {
    ///     pubsub: "pubsub",
    ///     topic: "orders",
    ///     content_type: Some("application/json"),
    ///     payload: br#"{"orderId": 1}"#,
    ///     metadata: &Metadata::default(),
    ///     trace: None,
    ///     id: "1".to_owned(),
    ///     now_ms: 0,
    /// };
    /// let event = published.event()?;
    /// assert_eq!((&*event.event_type, &*event.source), ("com.dapr.event.sent", "Dapr"));
    /// assert_eq!(event.data.as_bytes(), br#"{"orderId": 1}"#);
    /// assert_eq!(event.extensions["topic"], "orders".into());
    /// # Ok::<(), selvedge::dapr::publishing::Refused>(())
    /// ```
    ///
    /// # Errors
    /// [`Refused::Metadata`] and [`Refused::Event`].
    pub fn event(self) -> Result<Event, Refused> {
        let ttl_s = self.metadata.ttl_s()?;
        let mut event = match self.content_type.map(media_type) {
            _ if self.metadata.is_raw()? => self
                .around(OCTET_STREAM, raw(self.payload))?
                .with_extension(RAW_PAYLOAD, true),
            Some(media_type) if media_type.eq_ignore_ascii_case(MEDIA_TYPE) => self.completed()?,
            _ => {
                let content_type = self
                    .content_type
                    .filter(|text| !text.is_empty())
                    .unwrap_or(CONTENT_TYPE);
                self.around(content_type, data(content_type, self.payload)?)?
            }
        };
        event = event
            .with_extension(TOPIC, self.topic)
            .with_extension(PUBSUB_NAME, self.pubsub);
        if let Some(key) = self.metadata.partition_key() {
            event = event.with_extension(PARTITION_KEY, key);
        }
        if let (None, Some(trace)) = (event.traceparent(), self.trace) {
            event = event.with_extension(TRACE_PARENT, trace);
        }
        let event = expiring(event, ttl_s, self.now_ms);
        event.validate()?;
        Ok(event)
    }

    /// An event around the payload, with the attributes that the metadata ask for.
    fn around(&self, content_type: &str, data: Data) -> Result<Event, Refused> {
        let mut event = Event::new(self.id.clone(), SOURCE, TYPE).with_data(content_type, data);
        self.metadata.apply(&mut event)?;
        Ok(event)
    }

    /// The CloudEvent that the payload is, with what Dapr puts where its publisher left something out.
    fn completed(&self) -> Result<Event, Refused> {
        type Members<'a> = BTreeMap<String, &'a RawValue>;
        let members: Result<Members<'_>, _> = serde_json::from_slice(self.payload);
        let mut members = members.map_err(|source| selvedge_events::Error::InvalidJson { what: "event", source })?;
        let text = |text: &str| to_raw_value(text).expect("a text can be written as JSON");
        let standard = [
            ("id", text(&self.id)),
            ("source", text(SOURCE)),
            ("type", text(TYPE)),
            ("specversion", text(SPEC_VERSION)),
        ];
        for (name, value) in &standard {
            let is_missing = members.get(*name).is_none_or(|value| value.get() == "null");
            if is_missing {
                members.insert((*name).to_owned(), value);
            }
        }
        for set_here in [TOPIC, PUBSUB_NAME, RAW_PAYLOAD] {
            members.remove(set_here);
        }
        let body = serde_json::to_vec(&members).expect("JSON can be written as JSON");
        Ok(json::decode(&body)?)
    }
}

/// The message as a broker would have it: the data of what was published without an envelope, otherwise the event in
/// CloudEvents' JSON format.
pub fn message(event: &Event) -> Result<Vec<u8>, selvedge_events::Error> {
    match event.extensions.get(RAW_PAYLOAD) {
        Some(_) => Ok(event.data.as_bytes().to_vec()),
        None => json::encode(event),
    }
}

/// The event with a time after which it isn't delivered: the time to live that its publisher asks for, or the
/// `expiration` that it brings. One that is no time counts as none.
fn expiring(event: Event, ttl_s: Option<i64>, now_ms: i64) -> Event {
    if let Some(ttl_s) = ttl_s {
        let end = Timestamp::from_unix_ms(now_ms.saturating_add(ttl_s.saturating_mul(1_000)));
        return event.with_extension(EXPIRATION, end).with_extension(EXPIRY_TIME, end);
    }
    let brought = event.extensions.get(EXPIRATION).and_then(|value| value.as_str());
    match brought.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(end) if event.expirytime().is_none() => event.with_extension(EXPIRY_TIME, end),
        _ => event,
    }
}

/// A payload as data. What claims to be JSON and isn't is a text, as Dapr has it.
fn data(content_type: &str, payload: &[u8]) -> Result<Data, Refused> {
    let media_type = media_type(content_type);
    if media_type.eq_ignore_ascii_case(OCTET_STREAM) {
        return Ok(raw(payload));
    }
    let Ok(text) = std::str::from_utf8(payload) else {
        return Ok(raw(payload));
    };
    if !is_json(media_type) {
        return Ok(Data::Text(text.to_owned()));
    }
    match Data::from_json_text(text.to_owned()) {
        Err(selvedge_events::Error::InvalidJson { .. }) => Ok(Data::json(text)?),
        data => Ok(data?),
    }
}

fn raw(payload: &[u8]) -> Data {
    Data::Binary(payload.to_vec())
}

/// A content type without its parameters.
pub(super) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a media type is JSON, CloudEvents included.
pub(super) fn is_json(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    lower.ends_with("/json") || lower.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW_MS: i64 = 1_767_225_600_000;

    fn published(content_type: Option<&str>, payload: &[u8], query: &str) -> Result<Event, Refused> {
        let published = Published {
            pubsub: "pubsub",
            topic: "orders",
            content_type,
            payload,
            metadata: &Metadata::from_query(query),
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            id: "fresh".to_owned(),
            now_ms: NOW_MS,
        };
        published.event()
    }

    fn json_of(event: &Event) -> Value {
        serde_json::from_slice(&json::encode(event).expect("valid")).expect("JSON")
    }

    #[test]
    fn a_payload_gets_an_envelope_by_its_content_type() {
        for (content_type, payload, data, found_type) in [
            (None, &b"hello"[..], json!("hello"), "text/plain"),
            (Some(""), b"hello", json!("hello"), "text/plain"),
            (Some("text/plain"), b"", json!(""), "text/plain"),
            (
                Some("application/json"),
                br#"{"a":1.0}"#,
                json!({"a": 1.0}),
                "application/json",
            ),
            (Some("application/json"), b"7", json!(7), "application/json"),
            (
                Some("application/json"),
                b"no json",
                json!("no json"),
                "application/json",
            ),
            (
                Some("application/vnd.order+json"),
                b"[1]",
                json!([1]),
                "application/vnd.order+json",
            ),
            (Some("application/xml"), b"<a/>", json!("<a/>"), "application/xml"),
            (
                Some("application/x-other"),
                b"text",
                json!("text"),
                "application/x-other",
            ),
        ] {
            let event = json_of(&published(content_type, payload, "").expect("publishable"));
            let expected = json!({
                "specversion": "1.0", "id": "fresh", "source": "Dapr", "type": "com.dapr.event.sent",
                "datacontenttype": found_type, "data": data, "topic": "orders", "pubsubname": "pubsub",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            });
            assert_eq!(event, expected, "{content_type:?}");
        }
    }

    #[test]
    fn bytes_are_base64() {
        for (content_type, payload) in [
            ("application/octet-stream", &b"\x00\xff"[..]),
            ("application/octet-stream", b"text"),
            ("image/png", b"\x89PNG"),
            ("text/plain", b"\xff"),
        ] {
            let event = published(Some(content_type), payload, "").expect("publishable");
            assert_eq!(event.data, Data::Binary(payload.to_vec()), "{content_type}");
            assert!(json_of(&event)["data_base64"].is_string());
        }
    }

    #[test]
    fn a_cloud_event_stays_what_it_is_and_gets_what_it_lacks() {
        let whole = br#"{"specversion":"1.0","id":"7","source":"/shop","type":"shop.order.placed","subject":"o7",
            "traceparent":"own","topic":"forged","data": {"b": 1.0, "a":2}}"#;
        let event = published(Some("application/cloudevents+json; charset=utf-8"), whole, "").expect("whole");
        assert_eq!(
            (&*event.id, &*event.source, &*event.event_type),
            ("7", "/shop", "shop.order.placed")
        );
        assert_eq!(event.extensions["topic"], "orders".into());
        assert_eq!(event.traceparent(), Some("own"));
        assert_eq!(event.data.as_bytes(), br#"{"b": 1.0, "a":2}"#);

        let bare = published(Some("application/cloudevents+json"), br#"{"data":1,"id":null}"#, "").expect("completed");
        assert_eq!((&*bare.id, &*bare.source, &*bare.event_type), ("fresh", SOURCE, TYPE));
    }

    #[test]
    fn what_is_no_cloud_event_is_refused() {
        for payload in [
            &b""[..],
            b"[]",
            b"{",
            br#"{"id":7}"#,
            br#"{"specversion":"0.3"}"#,
            br#"{"Upper":"case"}"#,
            b"\xff",
        ] {
            let refused = published(Some("application/cloudevents+json"), payload, "").expect_err("no CloudEvent");
            assert_eq!(refused.code(), "ERR_PUBSUB_CLOUD_EVENTS_SER", "{refused}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(published(Some("application/json"), deep.as_bytes(), "").is_err());
    }

    #[test]
    fn a_raw_payload_has_no_envelope_and_its_message_is_its_bytes() {
        let event = published(Some("application/json"), br#"{"a":1}"#, "metadata.rawPayload=true").expect("raw");
        assert_eq!(event.datacontenttype.as_deref(), Some("application/octet-stream"));
        assert_eq!(message(&event).expect("valid"), br#"{"a":1}"#);
        let event = published(Some("application/json"), br#"{"a":1}"#, "").expect("enveloped");
        assert_eq!(message(&event).expect("valid"), json::encode(&event).expect("valid"));
        let forged = br#"{"rawpayload":true,"data":1}"#;
        let event = published(Some("application/cloudevents+json"), forged, "").expect("enveloped");
        assert!(!event.extensions.contains_key(RAW_PAYLOAD));
    }

    #[test]
    fn a_time_to_live_becomes_an_expiration_that_the_relay_heeds() {
        let event = published(None, b"x", "metadata.ttlInSeconds=90").expect("publishable");
        assert_eq!(event.extensions[EXPIRATION], "2026-01-01T00:01:30.000Z".into());
        assert_eq!(event.expirytime().map(Timestamp::unix_ms), Some(NOW_MS + 90_000));

        let brought = br#"{"expiration":"2026-01-02T00:00:00Z"}"#;
        let event = published(Some(MEDIA_TYPE), brought, "").expect("publishable");
        assert_eq!(
            event.expirytime().map(|time| time.to_string()).as_deref(),
            Some("2026-01-02T00:00:00.000Z")
        );
        let event = published(Some(MEDIA_TYPE), br#"{"expiration":"soon"}"#, "").expect("publishable");
        assert_eq!(event.expirytime(), None);
        assert!(published(None, b"x", "metadata.ttlInSeconds=0").is_err());
    }

    #[test]
    fn metadata_set_attributes_and_the_partition_key() {
        let query = "metadata.cloudevent.type=shop.order.placed&metadata.partitionKey=o7";
        let event = published(Some("application/json"), b"1", query).expect("publishable");
        assert_eq!(event.event_type, "shop.order.placed");
        assert_eq!(event.partitionkey(), Some("o7"));
        for wrong in ["metadata.cloudevent.source=%20", "metadata.cloudevent.Wrong-Name=1"] {
            assert!(published(None, b"x", wrong).is_err(), "{wrong}");
        }
    }
}
