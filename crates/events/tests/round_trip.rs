//! Whatever is encoded decodes to the same, and nothing that arrives makes a decoder panic.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use selvedge_events::{Data, Event, EventName, ExtensionValue, Timestamp, TypePattern, http_binding, json};

/// Text that an attribute may have: any script, no control characters, no noncharacters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,40}",
        "[ -~äöüß€漢字😀\u{a0}\u{200b}]{1,20}",
        "[%\" ,;=\\\\]{1,20}"
    ]
}

fn extension_name() -> impl Strategy<Value = String> {
    // The prefix keeps clear of CloudEvents' own names and of the documented extensions.
    "x[a-z0-9]{0,19}"
}

fn extension_value() -> impl Strategy<Value = ExtensionValue> {
    prop_oneof![
        text().prop_map(ExtensionValue::String),
        any::<i32>().prop_map(ExtensionValue::Integer),
        any::<bool>().prop_map(ExtensionValue::Boolean),
    ]
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            btree_map(any::<String>(), inner, 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Data with a content type that says what it is. It isn't empty: binary mode can't tell that from none.
fn content() -> impl Strategy<Value = (Option<String>, Data)> {
    let json_types = prop_oneof![
        Just("application/json"),
        Just("application/problem+json; charset=utf-8")
    ];
    prop_oneof![
        Just((None, Data::None)),
        Just((Some("application/json".to_owned()), Data::None)),
        (json_types, json_value(), any::<bool>()).prop_map(|(content_type, value, pretty)| {
            let write = if pretty {
                serde_json::to_string_pretty
            } else {
                serde_json::to_string
            };
            let text = write(&value).expect("a value is JSON");
            (Some(content_type.to_owned()), Data::from_json_text(text).expect("JSON"))
        }),
        any::<String>()
            .prop_filter("not empty", |text| !text.is_empty())
            .prop_map(|text| (Some("text/plain".to_owned()), Data::Text(text))),
        (
            prop_oneof![Just(None), Just(Some("image/png".to_owned()))],
            vec(any::<u8>(), 1..100)
        )
            .prop_map(|(content_type, bytes)| (content_type, Data::Binary(bytes))),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let attributes = (
        text(),
        "[a-zA-Zäé/:?#%=&.-]{1,30}",
        text(),
        proptest::option::of(text()),
    );
    let time = proptest::option::of((-62_167_219_200_000_i64..=253_402_300_799_999).prop_map(Timestamp::from_unix_ms));
    let schema = proptest::option::of("[a-z][a-z0-9+.-]{0,5}:[a-z/?#]{1,20}");
    let extensions = btree_map(extension_name(), extension_value(), 0..6);
    (attributes, time, schema, extensions, content()).prop_map(|(attributes, time, schema, extensions, content)| {
        let (id, source, event_type, subject) = attributes;
        let (datacontenttype, data) = content;
        Event {
            subject,
            time,
            dataschema: schema,
            extensions,
            datacontenttype,
            data,
            ..Event::new(id, source, event_type)
        }
    })
}

/// What binary mode makes of an event: it has no numbers and no booleans.
fn as_binary_mode_has_it(mut event: Event) -> Event {
    let as_string = |value: ExtensionValue| ExtensionValue::String(value.to_string());
    event.extensions = event
        .extensions
        .into_iter()
        .map(|(name, value)| (name, as_string(value)))
        .collect();
    event
}

proptest! {
    #[test]
    fn json_gives_the_event_back(event in event()) {
        let body = json::encode(&event).expect("valid");
        prop_assert_eq!(json::decode(&body).expect("what was written"), event.clone());
        let parsed: serde_json::Value = serde_json::from_slice(&body).expect("any parser can read it");
        prop_assert_eq!(parsed["id"].as_str(), Some(&*event.id));
        prop_assert_eq!(serde_json::from_slice::<Event>(&body).expect("what was written"), event);
    }

    #[test]
    fn structured_mode_gives_the_event_back(event in event()) {
        let (headers, body) = http_binding::encode_structured(&event).expect("valid");
        prop_assert_eq!(http_binding::decode(&headers, &body).expect("what was written"), [event]);
    }

    #[test]
    fn batched_mode_gives_the_events_back(events in vec(event(), 0..5)) {
        let (headers, body) = http_binding::encode_batch(&events).expect("valid");
        prop_assert_eq!(http_binding::decode(&headers, &body).expect("what was written"), events);
    }

    #[test]
    fn binary_mode_gives_the_event_back(event in event()) {
        let (headers, body) = http_binding::encode_binary(&event).expect("valid");
        for value in headers.values() {
            prop_assert!(value.as_bytes().iter().all(|byte| matches!(byte, 0x20..=0x7e)), "{:?}", value);
        }
        prop_assert_eq!(&body, event.data.as_bytes());
        let decoded = http_binding::decode(&headers, &body).expect("what was written");
        prop_assert_eq!(decoded, [as_binary_mode_has_it(event)]);
    }

    #[test]
    fn control_characters_are_refused_in_every_attribute(
        event in event(),
        character in r"[\u{0}-\u{1f}\u{7f}-\u{9f}\u{fdd0}-\u{fdef}\u{fffe}\u{ffff}]",
        place in 0..7,
    ) {
        let mut event = event;
        match place {
            0 => event.id.push_str(&character),
            1 => event.source.push_str(&character),
            2 => event.event_type.push_str(&character),
            3 => event.subject.get_or_insert_default().push_str(&character),
            4 => event.datacontenttype.get_or_insert_with(|| "image/png;x=".to_owned()).push_str(&character),
            5 => event.dataschema.get_or_insert_with(|| "urn:x".to_owned()).push_str(&character),
            _ => event.extensions = BTreeMap::from([("xnote".to_owned(), character.into())]),
        }
        prop_assert!(event.validate().is_err());
        prop_assert!(json::encode(&event).is_err());
        prop_assert!(http_binding::encode_binary(&event).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = json::decode(&bytes);
        let _ = json::decode_batch(&bytes);
        for content_type in ["application/cloudevents+json", "application/cloudevents-batch+json", "text/plain"] {
            let headers = HeaderMap::from_iter([
                (http::header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
                (HeaderName::from_static("ce-specversion"), HeaderValue::from_static("1.0")),
            ]);
            let _ = http_binding::decode(&headers, &bytes);
        }
    }

    #[test]
    fn damaged_events_never_panic(event in event(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = json::encode_batch([&event]).expect("valid");
        let place = place.index(body.len());
        body[place] = byte;
        if let Ok(events) = json::decode_batch(&body) {
            prop_assert!(events.iter().all(|event| event.validate().is_ok()));
        }
        body.truncate(place);
        prop_assert!(json::decode_batch(&body).is_err());
    }

    #[test]
    fn arbitrary_headers_never_panic(
        headers in vec(("ce-[a-z0-9_-]{0,12}|content-type|ce-(id|type|source|time|specversion)", vec(any::<u8>(), 0..30)), 0..10),
        body in vec(any::<u8>(), 0..50),
    ) {
        let pairs = headers.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(&value).ok()?))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        let _ = http_binding::is_cloud_event(&headers);
        if let Ok(events) = http_binding::decode(&headers, &body) {
            prop_assert!(events.iter().all(|event| event.validate().is_ok()));
        }
    }

    #[test]
    fn timestamps_give_themselves_back(unix_ms in any::<i64>()) {
        let time = Timestamp::from_unix_ms(unix_ms);
        prop_assert_eq!(time.to_string().parse::<Timestamp>().expect("what was written"), time);
    }

    #[test]
    fn timestamps_sort_like_their_texts(left in any::<i64>(), right in any::<i64>()) {
        let (left, right) = (Timestamp::from_unix_ms(left), Timestamp::from_unix_ms(right));
        prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
    }

    #[test]
    fn a_name_is_heard_by_its_own_patterns(name in "[a-z][a-z0-9_]{0,8}(\\.[a-z][a-z0-9_]{0,8}){2}", stars in 0_u8..8) {
        let parsed = EventName::parse(&name).expect("follows the rule");
        let segments = [parsed.domain(), parsed.entity(), parsed.action()];
        prop_assert_eq!(segments.join("."), name.as_str());
        let pattern: Vec<_> = segments
            .iter()
            .enumerate()
            .map(|(place, &segment)| if stars >> place & 1 == 1 { "*" } else { segment })
            .collect();
        let pattern = TypePattern::parse(&pattern.join(".")).expect("follows the rule");
        prop_assert!(pattern.matches(&name));
        prop_assert!(TypePattern::parse("*").expect("everything").matches(&name));
        let with_more = format!("{}.more", name);
        let too_short = &name[..name.rfind('.').expect("has dots")];
        prop_assert!(!pattern.matches(&with_more));
        prop_assert!(!pattern.matches(too_short));
    }

    #[test]
    fn names_and_patterns_never_panic(text in any::<String>(), other in "[a-z*.]{0,12}") {
        if let Ok(name) = EventName::parse(&text) {
            prop_assert!(TypePattern::parse(name.as_str()).is_ok_and(|pattern| pattern.matches(&text)));
        }
        if let Ok(pattern) = TypePattern::parse(&other) {
            let _ = pattern.matches(&text);
            prop_assert_eq!(pattern.literal().is_some(), EventName::parse(&other).is_ok());
        }
    }
}
