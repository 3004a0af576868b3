//! The JSON event format: what is read, and what bad input gets.

use selvedge_events::{Data, Error, Event, ExtensionValue, json, limits};

const REQUIRED: &str = r#""specversion":"1.0","id":"1","source":"/todos","type":"todos.task.created""#;

/// An event's JSON with these members after the required ones.
fn with(members: &str) -> String {
    format!("{{{REQUIRED},{members}}}")
}

fn decode(text: &str) -> Result<Event, Error> {
    json::decode(text.as_bytes())
}

fn refused(members: &str) -> String {
    decode(&with(members)).expect_err(members).to_string()
}

#[test]
fn all_attributes_are_read() {
    let event = decode(&with(
        r#" "subject" : "t\u00e4sk", "time":"2018-04-05T17:31:00Z", "datacontenttype":"application/json",
            "dataschema":"urn:task", "partitionkey":"1", "tries":-5, "urgent":true, "nothing":null, "data":[1.0] "#,
    ))
    .expect("valid");
    assert_eq!(event.id, "1");
    assert_eq!(event.source, "/todos");
    assert_eq!(event.event_type, "todos.task.created");
    assert_eq!(event.subject.as_deref(), Some("täsk"));
    assert_eq!(event.time.map(|time| time.unix_ms()), Some(1_522_949_460_000));
    assert_eq!(event.datacontenttype.as_deref(), Some("application/json"));
    assert_eq!(event.dataschema.as_deref(), Some("urn:task"));
    assert_eq!(event.partitionkey(), Some("1"));
    assert_eq!(event.extensions["tries"], ExtensionValue::Integer(-5));
    assert_eq!(event.extensions["urgent"], ExtensionValue::Boolean(true));
    assert_eq!(event.extensions.len(), 3);
    assert_eq!(event.data.as_bytes(), b"[1.0]");
}

#[test]
fn null_attributes_are_unset_and_null_data_is_data() {
    let event = decode(&with(r#""subject":null,"time":null,"data_base64":null,"data":null"#)).expect("valid");
    assert_eq!(event.subject, None);
    assert_eq!(event.time, None);
    assert_eq!(event.data, Data::json(&()).expect("null"));
    assert_eq!(decode(&with(r#""subject":null"#)).expect("valid").data, Data::None);
    let text = decode(&with(r#""datacontenttype":"text/plain","data":null"#)).expect("valid");
    assert_eq!(text.data, Data::None);
}

#[test]
fn the_content_type_decides_what_data_is_wherever_it_stands() {
    for members in [
        r#""datacontenttype":"text/xml","data":"<a\n/>""#,
        r#""data":"<a\n/>","datacontenttype":"text/xml""#,
    ] {
        assert_eq!(
            decode(&with(members)).expect("valid").data,
            Data::Text("<a\n/>".to_owned())
        );
    }
    let json = decode(&with(r#""data":"<a/>""#)).expect("valid");
    assert_eq!(json.data.as_bytes(), br#""<a/>""#);
    let problem = decode(&with(r#""datacontenttype":"application/problem+json","data":{}"#)).expect("valid");
    assert_eq!(problem.data.as_bytes(), b"{}");
    let binary = decode(&with(r#""data_base64":"AP8Q""#)).expect("valid");
    assert_eq!(binary.data, Data::Binary(vec![0, 0xff, 0x10]));
    let base64_json = decode(&with(r#""datacontenttype":"text/json","data_base64":"e30=""#)).expect("valid");
    assert_eq!(base64_json.data.as_bytes(), b"{}");
}

#[test]
fn data_that_contradicts_its_content_type_is_refused() {
    assert!(refused(r#""datacontenttype":"text/plain","data":{}"#).contains("`datacontenttype` is text/plain"));
    assert!(refused(r#""datacontenttype":"text/plain","data":"\ud800""#).contains("data can't be read"));
    assert!(refused(r#""datacontenttype":"application/json","data_base64":"eyI=""#).contains("data can't be read"));
    assert!(refused(r#""datacontenttype":"application/json","data_base64":"/w==""#).contains("not UTF-8"));
}

#[test]
fn every_required_attribute_is_asked_for() {
    for name in ["specversion", "id", "source", "type"] {
        let text = format!("{{{}}}", REQUIRED.replace(&format!(r#""{name}""#), r#""other""#));
        let error = decode(&text).expect_err(name);
        assert!(
            matches!(error, Error::MissingAttribute { name: found } if found == name),
            "{error}"
        );
    }
    assert!(matches!(
        decode("{}"),
        Err(Error::MissingAttribute { name: "specversion" })
    ));
}

#[test]
fn other_versions_are_refused() {
    let error = decode(&with("").replace(",}", "}").replace("1.0", "0.3")).expect_err("version 0.3");
    assert!(
        error.to_string().contains(r#"`specversion` is "0.3": send "1.0""#),
        "{error}"
    );
}

#[test]
fn no_member_may_come_twice() {
    for (members, name) in [
        (r#""id":"1""#, "id"),
        (r#""specversion":"1.0""#, "specversion"),
        (r#""time":"2018-04-05T17:31:00Z","time":"2018-04-05T17:31:00Z""#, "time"),
        (r#""abc":"1","abc":"1""#, "abc"),
        (r#""abc":"1","\u0061bc":2"#, "abc"),
        (r#""data":1,"data":1"#, "data"),
        (r#""data_base64":"","data_base64":"""#, "data_base64"),
    ] {
        let error = decode(&with(members)).expect_err(members);
        assert!(
            matches!(&error, Error::DuplicateAttribute { name: found } if found == name),
            "{members}: {error}"
        );
    }
    for members in [r#""data":1,"data_base64":"AA==""#, r#""data_base64":"AA==","data":1"#] {
        assert!(matches!(decode(&with(members)), Err(Error::DataTwice)), "{members}");
    }
}

#[test]
fn wrong_types_are_named() {
    for (members, message) in [
        (r#""subject":5"#, "`subject` is a number: send a string"),
        (r#""subject":true"#, "`subject` is a boolean: send a string"),
        (r#""subject":["a",[{}]]"#, "`subject` is an array: send a string"),
        (r#""subject":{"a":{"b":[]}}"#, "`subject` is an object: send a string"),
        (r#""time":1522949460"#, "`time` is a number: send a string"),
        (r#""tries":1.0"#, "`tries` is a number with a fraction"),
        (r#""tries":1e2"#, "`tries` is a number with a fraction"),
        (r#""tries":2147483648"#, "`tries` is a number of more than 32 bits"),
        (
            r#""tries":18446744073709551615"#,
            "`tries` is a number of more than 32 bits",
        ),
        (r#""tags":["a"]"#, "`tags` is an array"),
        (r#""tags":{}"#, "`tags` is an object"),
        (r#""partitionkey":5"#, "`partitionkey` is a number: send a string"),
        (
            r#""data_base64":5"#,
            "`data_base64` is a number: send a string of Base64",
        ),
        (
            r#""data_base64":[]"#,
            "`data_base64` is an array: send a string of Base64",
        ),
    ] {
        assert!(refused(members).contains(message), "{members}: {}", refused(members));
    }
}

#[test]
fn bad_values_are_named() {
    for (members, message) in [
        (
            r#""time":"yesterday""#,
            "`time` is \"yesterday\": send a time as RFC 3339 has it",
        ),
        (r#""expirytime":"soon""#, "`expirytime` is \"soon\""),
        (r#""subject":"""#, "`subject` is \"\": leave it out"),
        (
            r#""subject":"a\nb""#,
            "`subject` is \"a\\nb\": send it without control characters",
        ),
        (r#""note":"\u0000""#, "without control characters"),
        (r#""dataschema":"/relative""#, "send an absolute URI"),
        (r#""datacontenttype":"json""#, "send a media type"),
        (r#""Note":"x""#, "\"Note\" can't be the name of an extension attribute"),
        (r#""trace-parent":"x""#, "\"trace-parent\" can't be the name"),
        (r#""":"x""#, "\"\" can't be the name"),
        (r#""data_base64":"A""#, "`data_base64` is not Base64"),
        (r#""data_base64":"AP8_""#, "`data_base64` is not Base64"),
        (r#""data_base64":"AA==\n""#, "`data_base64` is not Base64"),
        (r#""data":tru"#, "the event can't be read as JSON"),
        (r#""data":1} {"#, "trailing characters"),
    ] {
        assert!(refused(members).contains(message), "{members}: {}", refused(members));
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in [
        "",
        " ",
        "null",
        "1",
        "\"event\"",
        "[]",
        "{",
        "{]",
        "not JSON",
        "\u{feff}{}",
    ] {
        assert!(
            matches!(decode(text), Err(Error::InvalidJson { what: "event", .. })),
            "{text:?}"
        );
    }
    assert!(matches!(
        json::decode(b"{\"id\":\"\xff\"}"),
        Err(Error::InvalidUtf8 { .. })
    ));
}

#[test]
fn sizes_are_bounded() {
    let huge = vec![b' '; limits::MAX_BODY_BYTES + 1];
    assert!(json::decode(&huge).is_err_and(|error| matches!(error, Error::BodyTooLarge { .. })));
    assert!(json::decode_batch(&huge).is_err_and(|error| error.is_too_large()));
    let large = with(&format!(r#""data":"{}""#, "x".repeat(limits::MAX_EVENT_BYTES)));
    assert!(decode(&large).is_err_and(|error| matches!(error, Error::EventTooLarge { .. })));
    let crowd: Vec<_> = (0..=limits::MAX_EXTENSIONS)
        .map(|index| format!(r#""x{index}":1"#))
        .collect();
    assert!(matches!(
        decode(&with(&crowd.join(","))),
        Err(Error::TooManyExtensions { .. })
    ));
}

#[test]
fn nesting_is_bounded_wherever_it_occurs() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deepest = decode(&with(&format!(r#""data":{}"#, nested(limits::MAX_JSON_DEPTH)))).expect("just within");
    let batch = json::encode_batch([&deepest]).expect("valid");
    serde_json::from_slice::<serde_json::Value>(&batch).expect("every consumer can parse it");
    let deeper = with(&format!(r#""data":{}"#, nested(limits::MAX_JSON_DEPTH + 1)));
    assert!(matches!(decode(&deeper), Err(Error::DataTooDeep { .. })));
    assert!(decode(&with(&format!(r#""data":{}"#, nested(1_000_000)))).is_err());
    assert!(decode(&with(&format!(r#""tags":{}"#, nested(1_000_000)))).is_err());
    assert!(json::decode_batch(nested(1_000_000).as_bytes()).is_err());
}

#[test]
fn a_batch_is_taken_as_a_whole() {
    let good = with(r#""data":1"#);
    let batch = |events: &[&str]| json::decode_batch(format!("[{}]", events.join(",")).as_bytes());
    assert_eq!(batch(&[]).expect("may be empty"), []);
    assert_eq!(batch(&[&good, &good]).expect("valid").len(), 2);
    let error = batch(&[&good, &with(r#""subject":5"#), &good]).expect_err("the second is bad");
    assert_eq!(
        error.to_string(),
        "event 1 of the batch, counted from 0: `subject` is a number: send a string"
    );
    for bad in [&good[..], "{}", "null", "1", "", "[", "[1]", "[null]", "[[]]"] {
        assert!(json::decode_batch(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(matches!(
        batch(&vec![&*good; limits::MAX_BATCH_EVENTS + 1]),
        Err(Error::TooManyEvents { .. })
    ));
}

#[test]
fn events_can_stand_within_other_documents() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Page {
        events: Vec<Event>,
        next: Option<u64>,
    }
    let text = format!(r#"{{"events":[{}],"next":7}}"#, with(r#""data":{"a" : 1.0}"#));
    let page: Page = serde_json::from_str(&text).expect("valid");
    assert_eq!(serde_json::to_string(&page).expect("valid"), text);
    let read = serde_json::from_str::<Page>(&text.replace("1.0\",", "0.3\","));
    assert!(read.is_err_and(|error| error.to_string().contains("`specversion` is \"0.3\"")));
}
