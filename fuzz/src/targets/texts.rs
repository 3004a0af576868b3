//! The small texts that stand in requests and files: times, names, ids, schedules, hosts, templates.

use selvedge::{Timestamp, dead_letter, trace};
use selvedge_engine::config::{AllowedHost, CronSchedule, Template, identifier};
use selvedge_events::{EventName, TypePattern, id};

use crate::target::{Execute, Target};

/// Any of them.
pub const TARGET: Target = Target {
    name: "texts",
    words: &[
        "2018-04-05T17:31:00Z",
        "+23:59",
        "-00:00",
        ".999999999",
        "todos",
        ".",
        "*",
        "*.*.*",
        "todos.task.created",
        "01a2096d-38ee-7214-9096-fc7eda6eeb5e",
        "00-",
        "-01",
        "analytics:1234",
        "1/2 * * * * *",
        "L",
        "W",
        "#5",
        "MON",
        "@hourly",
        "http://",
        "https://*.example.com:443",
        "*://",
        "self",
        "10.0.0.0/8",
        "[::1]:80",
        ":1..65535",
        "{{ a }}",
        "{{",
        "}}",
        "http://a.spin.internal",
    ],
    prepare: || -> Execute {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            check_events_texts(text);
            check_kernels_texts(text);
            check_engines_texts(text);
        })
    },
};

fn check_events_texts(text: &str) {
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse::<Timestamp>().expect("what was written"), time);
        assert_eq!(Timestamp::from_unix_ms(time.unix_ms()), time);
    }
    if let Ok(name) = EventName::parse(text) {
        assert_eq!([name.domain(), name.entity(), name.action()].join("."), text);
        assert!(TypePattern::parse(text).expect("a name is a pattern").matches(text));
    }
    if let Ok(pattern) = TypePattern::parse(text) {
        assert_eq!(pattern.as_str(), text);
        let _ = pattern.matches("todos.task.created");
        assert_eq!(pattern.literal().is_some(), EventName::parse(text).is_ok(), "{text}");
    }
    if let Some(unix_ms) = id::unix_ms_of(text) {
        assert!(unix_ms < 1 << 48);
    }
}

fn check_kernels_texts(text: &str) {
    if let Ok(id) = text.parse::<dead_letter::Id>() {
        assert_eq!(id.to_string().parse::<dead_letter::Id>().expect("what was written"), id);
    }
    assert!(!trace::is_valid(text) || text.is_ascii());
}

fn check_engines_texts(text: &str) {
    if let Ok(schedule) = CronSchedule::parse(text) {
        let now_ms = 1_767_225_600_000;
        if let Some(next_ms) = schedule.next_after_ms(now_ms) {
            assert!(next_ms > now_ms, "the next time lies after now");
        }
    }
    if let Ok(host) = AllowedHost::parse(text) {
        let _ = host.is_for_service_chaining();
    }
    if let Ok(template) = Template::parse(text) {
        assert_eq!(template.source(), text);
        let expanded = template
            .expand(|_| Ok::<_, ()>("value"))
            .expect("every variable has a value");
        assert!(!template.is_literal() || template.variables().next().is_none());
        assert!(expanded.len() <= text.len() + 5 * text.len());
    }
    let _ = identifier::check_component_id(text);
    let _ = identifier::check_label(text);
    let _ = identifier::check_variable_name(text);
    let _ = identifier::check_variable_key(text);
}
