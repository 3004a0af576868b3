//! The HTTP binding: how each content mode is read, and what bad input gets.

use http::{HeaderMap, HeaderName, HeaderValue};
use selvedge_events::{Data, Error, Event, Timestamp, http_binding, json, limits};

const REQUIRED: [(&str, &str); 4] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-source", "/todos"),
    ("ce-type", "todos.task.created"),
];

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        (name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn decode_binary(more: &[(&str, &str)], body: &[u8]) -> Result<Event, Error> {
    let mut events = http_binding::decode(&headers(&[&REQUIRED, more].concat()), body)?;
    assert_eq!(events.len(), 1);
    Ok(events.remove(0))
}

fn event() -> Event {
    Event::new("1", "/todos", "todos.task.created")
}

#[test]
fn binary_mode_reads_headers_and_body() {
    let event = decode_binary(
        &[
            ("CE-Subject", "t%C3%A4sk%201"),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("ce-dataschema", "urn:task"),
            ("ce-partitionkey", "1"),
            ("content-type", "application/json; charset=utf-8"),
            ("content-length", "8"),
            ("traceparent", "not an attribute"),
        ],
        b"{\"a\": 1}",
    )
    .expect("valid");
    assert_eq!(event.subject.as_deref(), Some("täsk 1"));
    assert_eq!(event.time, Some(Timestamp::from_unix_ms(1_522_949_460_000)));
    assert_eq!(event.dataschema.as_deref(), Some("urn:task"));
    assert_eq!(event.partitionkey(), Some("1"));
    assert_eq!(event.traceparent(), None);
    assert_eq!(
        event.datacontenttype.as_deref(),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(event.data.as_bytes(), b"{\"a\": 1}");
}

#[test]
fn binary_mode_takes_any_content() {
    assert_eq!(decode_binary(&[], b"").expect("valid").data, Data::None);
    assert_eq!(
        decode_binary(&[], b"\0\xff").expect("valid").data,
        Data::Binary(vec![0, 0xff])
    );
    let text = decode_binary(&[("content-type", "text/plain")], "ä".as_bytes()).expect("valid");
    assert_eq!(text.data, Data::Text("ä".to_owned()));
    let no_data = decode_binary(&[("content-type", "application/json")], b"").expect("valid");
    assert_eq!(
        (no_data.data, no_data.datacontenttype.as_deref()),
        (Data::None, Some("application/json"))
    );
}

#[test]
fn binary_mode_writes_what_the_binding_asks_for() {
    let event = event()
        .with_subject("Euro € 😀")
        .with_time(Timestamp::from_unix_ms(1))
        .with_extension("tries", 5)
        .with_extension("urgent", true)
        .with_data("text/plain", Data::Text("hello".to_owned()));
    let (headers, body) = http_binding::encode_binary(&event).expect("valid");
    assert_eq!(headers["ce-specversion"], "1.0");
    assert_eq!(headers["ce-id"], "1");
    assert_eq!(headers["ce-source"], "/todos");
    assert_eq!(headers["ce-type"], "todos.task.created");
    assert_eq!(headers["ce-subject"], "Euro%20%E2%82%AC%20%F0%9F%98%80");
    assert_eq!(headers["ce-time"], "1970-01-01T00:00:00.001Z");
    assert_eq!(headers["ce-tries"], "5");
    assert_eq!(headers["ce-urgent"], "true");
    assert_eq!(headers["content-type"], "text/plain");
    assert_eq!(headers.len(), 9);
    assert_eq!(body, b"hello");
}

#[test]
fn binary_mode_says_what_an_absent_content_type_stood_for() {
    let mut event = event();
    event.data = Data::json("x").expect("JSON");
    let (headers, body) = http_binding::encode_binary(&event).expect("valid");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body, b"\"x\"");
    event.data = Data::Binary(vec![1]);
    let (headers, _) = http_binding::encode_binary(&event).expect("valid");
    assert!(!headers.contains_key("content-type"));
}

#[test]
fn the_content_type_tells_the_modes_apart() {
    let event = event().with_json(&7).expect("JSON");
    let structured = json::encode(&event).expect("valid");
    let batch = json::encode_batch([&event, &event]).expect("valid");
    for content_type in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=UTF-8",
    ] {
        let headers = headers(&[("content-type", content_type), ("ce-id", "ignored"), ("ce-id", "twice")]);
        assert_eq!(
            http_binding::decode(&headers, &structured).expect("valid"),
            std::slice::from_ref(&event)
        );
        assert!(http_binding::decode(&headers, &batch).is_err());
    }
    for content_type in [
        "application/cloudevents-batch+json",
        "application/cloudevents-batch+json;charset=utf-8",
    ] {
        let headers = headers(&[("content-type", content_type)]);
        assert_eq!(
            http_binding::decode(&headers, &batch).expect("valid"),
            [event.clone(), event.clone()]
        );
        assert_eq!(http_binding::decode(&headers, b"[]").expect("may be empty"), []);
        assert!(http_binding::decode(&headers, &structured).is_err());
    }
}

#[test]
fn other_formats_and_other_requests_are_told_apart() {
    for content_type in [
        "application/cloudevents+avro",
        "application/cloudevents",
        "application/cloudevents-batch+xml",
    ] {
        let headers = headers(&[&REQUIRED, &[("content-type", content_type)][..]].concat());
        let error = http_binding::decode(&headers, b"{}").expect_err(content_type);
        assert!(
            matches!(error, Error::UnsupportedFormat { .. }) && error.is_unsupported_format(),
            "{error}"
        );
        assert!(http_binding::is_cloud_event(&headers));
    }
    for pairs in [&[][..], &[("content-type", "application/json")], &REQUIRED[1..]] {
        let error = http_binding::decode(&headers(pairs), b"{}").expect_err("no CloudEvent");
        assert!(
            matches!(error, Error::NotACloudEvent) && error.is_unsupported_format(),
            "{error}"
        );
        assert!(!http_binding::is_cloud_event(&headers(pairs)));
    }
    assert!(http_binding::is_cloud_event(&headers(&REQUIRED)));
    assert!(http_binding::is_cloud_event(&headers(&[(
        "content-type",
        "application/cloudevents+json"
    )])));
}

#[test]
fn bad_headers_are_named() {
    for (name, value, message) in [
        ("ce-id", "2", "`ce-id` is there more than once"),
        ("ce-note", "%FF", "the ce-note is not UTF-8"),
        ("ce-note", "%C0%A0", "the ce-note is not UTF-8"),
        (
            "ce-note",
            "a%00b",
            "`note` is \"a\\0b\": send it without control characters",
        ),
        ("ce-note", "\"open", "end the quoted value"),
        ("ce-my-note", "x", "\"my-note\" can't be the name"),
        ("ce-data", "x", "\"data\" can't be the name"),
        ("ce-", "x", "\"\" can't be the name"),
        ("ce-subject", "", "`subject` is \"\": leave it out"),
        ("ce-time", "now", "`time` is \"now\""),
        ("ce-expirytime", "now", "`expirytime` is \"now\""),
        ("ce-dataschema", "relative", "send an absolute URI"),
        ("ce-datacontenttype", "text/plain", "send Content-Type instead"),
        ("content-type", "text", "send a media type"),
        ("content-type", "text/\u{e4}", "send a media type"),
    ] {
        let error = decode_binary(&[(name, value)], b"").expect_err(message).to_string();
        assert!(error.contains(message), "{name}: {value:?}: {error}");
    }
    let twice = [
        ("content-type", "text/plain"),
        ("content-type", "application/cloudevents+json"),
    ];
    assert!(matches!(
        decode_binary(&twice, b""),
        Err(Error::DuplicateAttribute { .. })
    ));
    let raw = HeaderMap::from_iter([(
        "content-type".parse().expect("a name"),
        HeaderValue::from_bytes(b"a/\xff").expect("opaque"),
    )]);
    assert!(matches!(
        http_binding::decode(&raw, b""),
        Err(Error::InvalidUtf8 { .. })
    ));
}

#[test]
fn every_required_header_is_asked_for() {
    for missing in 1..REQUIRED.len() {
        let mut pairs = REQUIRED.to_vec();
        let (name, _) = pairs.remove(missing);
        let error = http_binding::decode(&headers(&pairs), b"").expect_err(name);
        assert!(
            matches!(error, Error::MissingAttribute { name: found } if name.ends_with(found)),
            "{name}: {error}"
        );
    }
    let old = [&[("ce-specversion", "0.3")], &REQUIRED[1..]].concat();
    assert!(matches!(
        http_binding::decode(&headers(&old), b""),
        Err(Error::UnsupportedSpecVersion { .. })
    ));
}

#[test]
fn bad_bodies_are_refused() {
    let json = [("content-type", "application/json")];
    assert!(matches!(
        decode_binary(&json, b"{"),
        Err(Error::InvalidJson { what: "data", .. })
    ));
    assert!(matches!(
        decode_binary(&json, b"\"\xff\""),
        Err(Error::InvalidUtf8 { .. })
    ));
    let deep = "[".repeat(limits::MAX_JSON_DEPTH + 1) + &"]".repeat(limits::MAX_JSON_DEPTH + 1);
    assert!(matches!(
        decode_binary(&json, deep.as_bytes()),
        Err(Error::DataTooDeep { .. })
    ));
    let large = vec![b'x'; limits::MAX_EVENT_BYTES];
    assert!(decode_binary(&[], &large).is_err_and(|error| error.is_too_large()));
    let larger = vec![b'x'; limits::MAX_EVENT_BYTES + 1];
    assert!(decode_binary(&[], &larger).is_err_and(|error| error.is_too_large()));
}

#[test]
fn invalid_events_are_not_written() {
    let invalid = Event::new("1", "/todos", "");
    assert!(http_binding::encode_binary(&invalid).is_err());
    assert!(http_binding::encode_structured(&invalid).is_err());
    assert!(http_binding::encode_batch([&invalid]).is_err());
}

/// Found by fuzzing: in binary mode the inner event would have passed for the outer one.
#[test]
fn an_event_inside_an_event_is_not_sent_in_binary_mode() {
    let inner = r#"{"specversion":"1.0","id":"inner","source":"/t","type":"a.b.c"}"#;
    for content_type in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=utf-8",
        "application/cloudevents-batch+json",
        "application/cloudevents+avro",
    ] {
        let data = selvedge_events::Data::from_content(Some(content_type), inner.as_bytes().to_vec()).expect("data");
        let outer = Event::new("outer", "/t", "a.b.c").with_data(content_type, data);
        let error = http_binding::encode_binary(&outer).expect_err(content_type);
        assert!(error.to_string().contains("structured mode"), "{error}");
        let (headers, body) = http_binding::encode_structured(&outer).expect("structured mode carries it");
        let read = http_binding::decode(&headers, &body).expect("what was written");
        assert_eq!(read[0].id, "outer");
    }
}
