//! Event types are named `<domain>.<entity>.<action>`, and subscriptions pick them by pattern.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, excerpt};
use crate::limits;

/// An event type that follows the naming rule: exactly three segments between dots, each a lower-case letter `a-z`
/// and then lower-case letters, digits and underscores. The action is in the past tense by convention.
///
/// It borrows the text it was parsed from: parsing allocates nothing.
///
/// ```
/// use selvedge_events::EventName;
///
/// let name = EventName::parse("todos.task.created")?;
/// assert_eq!((name.domain(), name.entity(), name.action()), ("todos", "task", "created"));
/// assert!(EventName::parse("todos.created").is_err());
/// # Ok::<(), selvedge_events::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventName<'a> {
    text: &'a str,
    segments: [&'a str; 3],
}

impl<'a> EventName<'a> {
    /// Checks a text against the naming rule.
    ///
    /// # Errors
    /// [`Error::InvalidEventName`] says which rule the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let refused = |reason| Error::InvalidEventName {
            name: excerpt(text),
            reason,
        };
        let segments = split(text).map_err(refused)?;
        segments
            .iter()
            .try_for_each(|segment| check_segment(segment))
            .map_err(refused)?;
        Ok(Self { text, segments })
    }

    /// The whole name.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The first segment: the part of the business.
    pub fn domain(&self) -> &'a str {
        self.segments[0]
    }

    /// The second segment: the thing it happened to.
    pub fn entity(&self) -> &'a str {
        self.segments[1]
    }

    /// The third segment: what happened.
    pub fn action(&self) -> &'a str {
        self.segments[2]
    }
}

impl fmt::Display for EventName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text)
    }
}

/// Which event types a subscription hears: three segments, each a literal or `*` for any one segment, such as
/// `todos.task.*`; or a single `*` for every event, also those whose types don't follow the naming rule.
///
/// ```
/// use selvedge_events::TypePattern;
///
/// let pattern = TypePattern::parse("todos.*.created")?;
/// assert!(pattern.matches("todos.task.created"));
/// assert!(!pattern.matches("todos.task.completed"));
/// assert!(TypePattern::parse("*")?.matches("com.example.any-thing"));
/// # Ok::<(), selvedge_events::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypePattern {
    text: String,
}

impl TypePattern {
    /// Checks a text against the rule for patterns.
    ///
    /// # Errors
    /// [`Error::InvalidTypePattern`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text != "*" {
            let refused = |reason| Error::InvalidTypePattern {
                pattern: excerpt(text),
                reason,
            };
            let segments = split(text).map_err(refused)?;
            let mut literals = segments.iter().filter(|segment| **segment != "*");
            literals
                .try_for_each(|segment| check_segment(segment))
                .map_err(refused)?;
        }
        Ok(Self { text: text.to_owned() })
    }

    /// Whether events of this type are meant. Allocates nothing.
    pub fn matches(&self, event_type: &str) -> bool {
        if self.text == "*" {
            return true;
        }
        let mut segments = event_type.split('.');
        let each_matches = self.text.split('.').all(|wanted| match segments.next() {
            Some(segment) => wanted == segment || (wanted == "*" && !segment.is_empty()),
            None => false,
        });
        each_matches && segments.next().is_none()
    }

    /// Whether any of these patterns means events of this type.
    pub fn any_matches(patterns: &[Self], event_type: &str) -> bool {
        patterns.iter().any(|pattern| pattern.matches(event_type))
    }

    /// The one event type that is meant, when the pattern has no `*`.
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains('*')).then_some(self.text.as_str())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for TypePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for TypePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for TypePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not borrowed: TOML hands out owned strings only.
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn split(text: &str) -> Result<[&str; 3], &'static str> {
    if text.len() > limits::MAX_TYPE_BYTES {
        return Err("it is longer than 255 bytes");
    }
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(domain), Some(entity), Some(action), None) => Ok([domain, entity, action]),
        (_, _, _, Some(_)) => Err("it has more than three parts between dots"),
        _ => Err("it has fewer than three parts between dots"),
    }
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment.as_bytes() {
        [] => Err("one of its parts is empty"),
        [first, ..] if !first.is_ascii_lowercase() => Err("one of its parts doesn't begin with a lower-case letter"),
        [_, rest @ ..]
            if !rest
                .iter()
                .all(|&byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) =>
        {
            Err("one of its parts has a character other than lower-case letters, digits and underscores")
        }
        _ => Ok(()),
    }
}

/// The `dataschema` of an application's events of a type: an absolute URI, as CloudEvents wants it, whose path is where
/// the application serves the schema, whatever its host is called.
///
/// ```
/// let uri = selvedge_events::schema_uri("todos.task.created");
/// assert_eq!(uri, "selvedge:/schemas/todos.task.created.json");
/// ```
pub fn schema_uri(event_type: &str) -> String {
    format!("selvedge:/schemas/{event_type}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(limits::MAX_TYPE_BYTES == 255, "the message in `split` names the limit");

    #[test]
    fn good_names_give_their_segments() {
        let name = EventName::parse("todos.sub_task2.completed").expect("follows the rule");
        assert_eq!(name.domain(), "todos");
        assert_eq!(name.entity(), "sub_task2");
        assert_eq!(name.action(), "completed");
        assert_eq!(name.to_string(), "todos.sub_task2.completed");
    }

    #[test]
    fn bad_names_say_which_rule_they_break() {
        let too_long = format!("a.b.{}", "c".repeat(limits::MAX_TYPE_BYTES));
        let cases = [
            ("", "fewer than three"),
            ("todos", "fewer than three"),
            ("todos.task", "fewer than three"),
            ("todos.task.created.now", "more than three"),
            ("todos..created", "is empty"),
            (".task.created", "is empty"),
            ("todos.task.", "is empty"),
            ("Todos.task.created", "begin with a lower-case letter"),
            ("todos.1task.created", "begin with a lower-case letter"),
            ("todos._task.created", "begin with a lower-case letter"),
            ("todos.task.*", "begin with a lower-case letter"),
            ("todos.sub-task.created", "character other than"),
            ("todos.tasK.created", "character other than"),
            ("todos.täsk.created", "character other than"),
            ("todos.task.created ", "character other than"),
            ("todos.task.created\n", "character other than"),
            (&too_long, "longer than 255 bytes"),
        ];
        for (text, reason) in cases {
            let error = EventName::parse(text).expect_err(text);
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
            assert!(
                error.to_string().contains("todos.task.created"),
                "says what to write instead: {error}"
            );
        }
    }

    #[test]
    fn a_pattern_matches_segment_by_segment() {
        let cases = [
            ("todos.task.created", "todos.task.created", true),
            ("todos.task.created", "todos.task.create", false),
            ("todos.task.created", "todos.task.created.twice", false),
            ("todos.task.*", "todos.task.completed", true),
            ("todos.task.*", "todos.list.created", false),
            ("todos.task.*", "todos.task", false),
            ("todos.task.*", "todos.task.", false),
            ("todos.task.*", "todos.task.a.b", false),
            ("*.*.created", "orders.order.created", true),
            ("*.*.*", "orders.order.created", true),
            ("*.*.*", "orders.created", false),
            ("*", "orders.created", true),
            ("*", "com.github.pull-request.opened", true),
        ];
        for (pattern, event_type, expected) in cases {
            let pattern = TypePattern::parse(pattern).expect("follows the rule");
            assert_eq!(pattern.matches(event_type), expected, "{pattern} on {event_type}");
        }
    }

    #[test]
    fn bad_patterns_say_which_rule_they_break() {
        let cases = [
            ("", "fewer than three"),
            ("todos.*", "fewer than three"),
            ("**", "fewer than three"),
            ("todos.task.**", "begin with a lower-case letter"),
            ("todos.task.create*", "character other than"),
            ("*.*.*.*", "more than three"),
        ];
        for (text, reason) in cases {
            let error = TypePattern::parse(text).expect_err(text);
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_pattern_reads_itself_back_and_knows_whether_it_is_literal() {
        let pattern: TypePattern = serde_json::from_str(r#""todos.task.*""#).expect("follows the rule");
        assert_eq!(serde_json::to_string(&pattern).expect("a string"), r#""todos.task.*""#);
        assert_eq!(pattern.literal(), None);
        assert_eq!(
            "a.b.c".parse::<TypePattern>().expect("follows the rule").literal(),
            Some("a.b.c")
        );
        assert!(serde_json::from_str::<TypePattern>(r#""todos""#).is_err());
    }
}
