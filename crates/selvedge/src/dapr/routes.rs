//! What an application subscribes to, and at which of its paths it wants an event.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::subscription::Filter;

/// What an application answers when it is asked what it subscribes to.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    all: Vec<Topic>,
}

/// One topic that an application subscribes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// The pub/sub component.
    pub pubsubname: String,
    /// The topic.
    pub topic: String,
    /// The path for all its events, where no other is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Paths for events that meet a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Routes>,
    /// The topic that its application wants events on that it can't take.
    #[serde(rename = "deadLetterTopic", default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Whatever else it says; `rawPayload` asks for messages without an envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether it wants several events at once.
    #[serde(rename = "bulkSubscribe", default, skip_serializing_if = "Option::is_none")]
    pub bulk_subscribe: Option<BulkSubscribe>,
}

/// Paths for events that meet a condition: the first that is met counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// The conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
    /// The path for events that meet none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A condition, and the path for events that meet it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// A CEL expression over `event`; an empty one is met by all.
    #[serde(rename = "match", default)]
    pub condition: String,
    /// The path.
    pub path: String,
}

/// How an application wants several events at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkSubscribe {
    /// Whether it does.
    #[serde(default)]
    pub enabled: bool,
    /// How many at most; `None` or 0: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_messages_count: Option<u32>,
    /// How long may be waited for that many, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_await_duration_ms: Option<u32>,
}

impl Topics {
    /// Reads an application's answer. 404 says that it subscribes to nothing.
    ///
    /// ```
    /// use selvedge::dapr::routes::Topics;
    /// use selvedge::http::StatusCode;
    ///
    /// let body = br#"[{"pubsubname":"pubsub","topic":"orders","route":"/orders"}]"#;
    /// let topics = Topics::read(StatusCode::OK, body)?;
    /// let topic = topics.find("pubsub", "orders").expect("subscribed to");
    /// assert_eq!(topic.path("{}")?.as_deref(), Some("/orders"));
    /// assert!(Topics::read(StatusCode::NOT_FOUND, b"")?.find("pubsub", "orders").is_none());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn read(status: StatusCode, body: &[u8]) -> Result<Self, String> {
        if status == StatusCode::NOT_FOUND {
            return Ok(Self::default());
        }
        if !status.is_success() {
            return Err(format!(
                "with status {} when asked for its subscriptions",
                status.as_u16()
            ));
        }
        let all = serde_json::from_slice::<Option<Vec<Topic>>>(body)
            .map_err(|error| format!("with subscriptions that can't be read: {error}"))?;
        Ok(Self {
            all: all.unwrap_or_default(),
        })
    }

    /// What it says of a topic.
    pub fn find(&self, pubsub: &str, topic: &str) -> Option<&Topic> {
        self.all
            .iter()
            .find(|found| found.pubsubname == pubsub && found.topic == topic)
    }
}

impl Topic {
    /// The path for an event in CloudEvents' JSON format: that of the first rule that it meets, else the routes' default,
    /// else the route. `None` when it has no path.
    ///
    /// # Errors
    /// Which rule can't be read, or can't be asked of this event, and why.
    pub fn path(&self, event: &str) -> Result<Option<String>, String> {
        let rules = self.routes.iter().flat_map(|routes| &routes.rules).flatten();
        for Rule { condition, path } in rules.take(limits::DAPR_RULES_MAX) {
            let is_met = condition.is_empty()
                || Filter::parse(condition)
                    .and_then(|filter| filter.matches(event))
                    .map_err(|reason| {
                        format!("the rule {condition:?} of its subscription can't be evaluated: {reason}")
                    })?;
            if is_met {
                return Ok(Some(rooted(path)));
            }
        }
        let default = self.routes.as_ref().and_then(|routes| routes.default.as_deref());
        let path = [default, self.route.as_deref()].into_iter().flatten();
        Ok(path.into_iter().find(|path| !path.is_empty()).map(rooted))
    }

    /// Whether it wants messages as they are, without an envelope of their own.
    pub fn is_raw(&self) -> bool {
        let mut metadata = self.metadata.iter().flatten();
        metadata.any(|(name, value)| name.eq_ignore_ascii_case("rawPayload") && value.eq_ignore_ascii_case("true"))
    }

    /// How many events it wants at once; `None` when it wants them one by one.
    pub fn bulk_events_max(&self) -> Option<usize> {
        let bulk = self.bulk_subscribe.as_ref().filter(|bulk| bulk.enabled)?;
        let asked = bulk.max_messages_count.filter(|count| *count > 0);
        Some(asked.unwrap_or(limits::DAPR_BULK_EVENTS) as usize)
    }
}

fn rooted(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[
        {"pubsubname":"p","topic":"t","route":"legacy",
         "routes":{"rules":[{"match":"event.type == \"a\"","path":"/a"},{"match":"event.data.n > 1","path":"/many"}],
                   "default":"/x"},
         "deadLetterTopic":"dlq","metadata":{"rawPayload":"true"},
         "bulkSubscribe":{"enabled":true,"maxMessagesCount":7,"maxAwaitDurationMs":1000}},
        {"pubsubname":"p","topic":"plain","route":"/plain","routes":null,"metadata":null},
        {"pubsubname":"p","topic":"rules only","routes":{"rules":[{"match":"event.type == 'a'","path":"/a"}]}},
        {"pubsubname":"p","topic":"wrong","routes":{"rules":[{"match":"event.","path":"/a"}]}},
        {"pubsubname":"p","topic":"bulk","route":"/b","bulkSubscribe":{"enabled":true}}]"#;

    fn topic(name: &str) -> Topic {
        let topics = Topics::read(StatusCode::OK, BODY.as_bytes()).expect("a list");
        topics.find("p", name).expect(name).clone()
    }

    fn path(name: &str, event: &str) -> Option<String> {
        topic(name).path(event).expect(event)
    }

    #[test]
    fn the_first_rule_that_is_met_counts_then_the_default_then_the_route() {
        assert_eq!(path("t", r#"{"type":"a","data":{"n":9}}"#).as_deref(), Some("/a"));
        assert_eq!(path("t", r#"{"type":"b","data":{"n":9}}"#).as_deref(), Some("/many"));
        assert_eq!(path("t", r#"{"type":"b","data":{"n":0}}"#).as_deref(), Some("/x"));
        assert_eq!(path("plain", "{}").as_deref(), Some("/plain"));
        assert_eq!(path("rules only", r#"{"type":"b"}"#), None);
    }

    #[test]
    fn a_rule_that_cannot_be_evaluated_says_so() {
        for (name, event) in [("wrong", r#"{"type":"a"}"#), ("t", r#"{"type":"b"}"#)] {
            let reason = topic(name).path(event).expect_err(name);
            assert!(reason.contains("can't be evaluated"), "{reason}");
        }
    }

    #[test]
    fn what_else_it_wants_is_read() {
        assert!(topic("t").is_raw() && !topic("plain").is_raw());
        assert_eq!(topic("t").dead_letter_topic.as_deref(), Some("dlq"));
        assert_eq!(topic("t").bulk_events_max(), Some(7));
        assert_eq!(topic("bulk").bulk_events_max(), Some(100));
        assert_eq!(topic("plain").bulk_events_max(), None);
    }

    #[test]
    fn no_list_is_none_and_a_broken_one_is_an_error() {
        for (status, body) in [(404, "nothing here"), (200, "[]"), (200, "null")] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(Topics::read(status, body.as_bytes()).expect(body).all.is_empty());
        }
        for (status, body) in [
            (500, "[]"),
            (200, "{"),
            (200, "{}"),
            (200, r#"[{"topic":"t"}]"#),
            (302, ""),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let reason = Topics::read(status, body.as_bytes()).expect_err(body);
            assert!(reason.starts_with("with "), "{reason}");
        }
    }
}
