//! CloudEvents in all content modes: what is decoded is valid, and can be written and read again in every mode.

use http::{HeaderMap, HeaderName, HeaderValue};
use selvedge_events::{Data, Event, ExtensionValue, http_binding, json};

use crate::target::{Execute, Target};

const WORDS: &[&str] = &[
    "specversion",
    "\"specversion\":\"1.0\"",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
    "\"data_base64\":\"AQID\"",
    "\"data\":null",
    "\"data\":\"x\"",
    "partitionkey",
    "sequence",
    "traceparent",
    "expirytime",
    "deliverat",
    "application/json",
    "application/xml; charset=utf-8",
    "text/plain",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/cloudevents+json; charset=utf-8",
    "application/vnd.x+json",
    "ce-id: ",
    "ce-time: ",
    "ce-data: ",
    "ce-xnote: ",
    "ce-specversion: 1.0\n",
    "content-type: ",
    "todos.task.created",
    "2018-04-05T17:31:00.123Z",
    "%E2%82%AC",
    "%22",
    "\"",
    "1.0",
    "-2147483648",
];

/// Binary mode: lines of headers, an empty line, a body.
pub const BINARY: Target = Target {
    name: "events-binary",
    words: WORDS,
    prepare: || -> Execute {
        Box::new(|input| {
            let (headers, body) = message(input);
            let is_cloud_event = http_binding::is_cloud_event(&headers);
            match http_binding::decode(&headers, body) {
                Ok(events) => {
                    assert!(is_cloud_event, "what can be decoded is known as a CloudEvent");
                    check_all(&events);
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        })
    },
};

/// Structured mode: the body.
pub const STRUCTURED: Target = Target {
    name: "events-structured",
    words: WORDS,
    prepare: || -> Execute {
        Box::new(|input| match json::decode(input) {
            Ok(event) => check_all(&[event]),
            Err(error) => assert!(!error.to_string().is_empty()),
        })
    },
};

/// Batched mode: the body.
pub const BATCH: Target = Target {
    name: "events-batch",
    words: WORDS,
    prepare: || -> Execute {
        Box::new(|input| match json::decode_batch(input) {
            Ok(events) => check_all(&events),
            Err(error) => assert!(!error.to_string().is_empty()),
        })
    },
};

/// Headers and body of an input. Lines that are no headers are left out.
pub(super) fn message(input: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = input;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 1..]);
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    (headers, rest)
}

fn check_all(events: &[Event]) {
    for event in events {
        event.validate().expect("what was decoded is valid");
        let body = json::encode(event).expect("what was decoded can be written");
        assert_eq!(&json::decode(&body).expect("what was written can be read"), event);
        let (headers, body) = http_binding::encode_structured(event).expect("what was decoded can be written");
        assert_eq!(
            http_binding::decode(&headers, &body).expect("structured"),
            std::slice::from_ref(event)
        );
        match http_binding::encode_binary(event) {
            Ok((headers, body)) => assert_eq!(
                http_binding::decode(&headers, &body).expect("binary"),
                [as_binary_mode_has_it(event.clone())]
            ),
            // The one thing that only the other modes carry: a CloudEvent as data.
            Err(error) => {
                let content_type = event.datacontenttype.as_deref().unwrap_or_default();
                let content_type = content_type.trim().to_ascii_lowercase();
                assert!(content_type.starts_with("application/cloudevents"), "{error}");
            }
        }
    }
    let (headers, body) = http_binding::encode_batch(events).expect("what was decoded can be written");
    assert_eq!(http_binding::decode(&headers, &body).expect("batched"), events);
}

/// What binary mode makes of an event; see the codec's front page.
fn as_binary_mode_has_it(mut event: Event) -> Event {
    for value in event.extensions.values_mut() {
        *value = ExtensionValue::String(value.to_string());
    }
    // There bytes are all there is: whether they are a text, the content type says.
    if matches!(event.data, Data::Text(_) | Data::Binary(_))
        && let Ok(data) = Data::from_content(event.datacontenttype.as_deref(), event.data.as_bytes().to_vec())
    {
        event.data = data;
    }
    if event.data.as_bytes().is_empty() {
        event.data = Data::None;
    }
    if matches!(event.data, Data::Json(_)) && event.datacontenttype.is_none() {
        event.datacontenttype = Some("application/json".to_owned());
    }
    event
}
