//! What a publisher says beside its payload: the metadata of a request, and why it is refused.

use std::collections::BTreeMap;

use selvedge_events::Event;

use crate::limits;

/// What the metadata of a cloud event begin with, as in `metadata.cloudevent.type`.
const OVERRIDE: &str = "cloudevent.";

/// Why something isn't published. It stays so when it is sent again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The request's metadata can't be used.
    #[error("the metadata {name} is {value:?}: {expected}")]
    Metadata {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The payload can't become an event.
    #[error("cannot create cloudevent: {0}")]
    Event(#[from] selvedge_events::Error),
    /// The entries of a bulk request can't be read.
    #[error("error when unmarshaling the request: {reason}")]
    Entries {
        /// What is wrong and what to send.
        reason: String,
    },
}

impl Refused {
    /// Whether the same request may succeed when it is sent again: never.
    pub fn is_retryable(&self) -> bool {
        false
    }

    /// Dapr's code for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Metadata { .. } => "ERR_PUBSUB_REQUEST_METADATA",
            Self::Event(_) => "ERR_PUBSUB_CLOUD_EVENTS_SER",
            Self::Entries { .. } => "ERR_PUBSUB_EVENTS_SER",
        }
    }
}

/// The metadata of what is published, by name. Names are told apart without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    values: BTreeMap<String, String>,
}

impl Metadata {
    /// The metadata in a request's query: its parameters that begin with `metadata.`.
    ///
    /// ```
    /// use selvedge::dapr::publishing::Metadata;
    ///
    /// let metadata = Metadata::from_query("metadata.ttlInSeconds=60&metadata.rawPayload=true&other=1");
    /// assert_eq!(metadata.ttl_s().expect("a number"), Some(60));
    /// assert!(metadata.is_raw().expect("a truth value"));
    /// ```
    pub fn from_query(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .filter_map(|(name, value)| Some((name.strip_prefix("metadata.")?.to_owned(), value.into_owned())))
            .collect()
    }

    /// These, and those of one entry of a bulk request, which win.
    pub fn and(&self, of_entry: &Self) -> Self {
        let mut values = self.values.clone();
        values.extend(of_entry.values.clone());
        Self { values }
    }

    /// `ttlInSeconds`: after how many seconds the event loses its meaning.
    ///
    /// # Errors
    /// [`Refused::Metadata`] when it is no whole number above 0.
    pub fn ttl_s(&self) -> Result<Option<i64>, Refused> {
        let Some(value) = self.value("ttlInSeconds") else {
            return Ok(None);
        };
        match value.parse::<i64>() {
            Ok(ttl_s) if ttl_s > 0 => Ok(Some(ttl_s.min(limits::DAPR_TTL_S_MAX))),
            _ => Err(refused("ttlInSeconds", value, "send a whole number of seconds above 0")),
        }
    }

    /// `rawPayload`: whether the payload is published as it is, without an envelope.
    ///
    /// # Errors
    /// [`Refused::Metadata`] when it is no truth value.
    pub fn is_raw(&self) -> Result<bool, Refused> {
        match self
            .value("rawPayload")
            .map(|value| (value, value.to_ascii_lowercase()))
        {
            None => Ok(false),
            Some((value, lower)) => match &*lower {
                "true" | "t" | "1" => Ok(true),
                "false" | "f" | "0" | "" => Ok(false),
                _ => Err(refused("rawPayload", value, "send true or false")),
            },
        }
    }

    /// `partitionKey`: events with the same key are a stream, in order.
    pub fn partition_key(&self) -> Option<&str> {
        self.value("partitionKey").filter(|key| !key.is_empty())
    }

    /// Sets the attributes of an event that are asked for, as `cloudevent.type`.
    ///
    /// # Errors
    /// [`Refused::Metadata`] for one that can't be set; whether its value is right is the event's to say.
    pub fn apply(&self, event: &mut Event) -> Result<(), Refused> {
        let overrides = self.values.iter().filter_map(|(name, value)| {
            let attribute = name.strip_prefix(OVERRIDE)?;
            Some((name, attribute, value)).filter(|(_, _, value)| !value.is_empty())
        });
        for (name, attribute, value) in overrides {
            match attribute {
                "id" => event.id.clone_from(value),
                "source" => event.source.clone_from(value),
                "type" => event.event_type.clone_from(value),
                "subject" => event.subject = Some(value.clone()),
                "dataschema" => event.dataschema = Some(value.clone()),
                "time" => event.time = Some(value.parse()?),
                "specversion" | "datacontenttype" | "data" | "data_base64" => {
                    let expected = "this attribute follows from the request: leave it out";
                    return Err(refused(name, value, expected));
                }
                extension => _ = event.extensions.insert(extension.to_owned(), value.as_str().into()),
            }
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Metadata {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let values = pairs.into_iter();
        Self {
            values: values.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
        }
    }
}

fn refused(name: &str, value: &str, expected: &'static str) -> Refused {
    Refused::Metadata {
        name: name.to_owned(),
        value: value.chars().take(limits::DAPR_EXCERPT_CHARS_MAX).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for query in [
            "metadata.ttlInSeconds=",
            "metadata.ttlInSeconds=0",
            "metadata.ttlInSeconds=-5",
            "metadata.ttlInSeconds=1.5",
            "metadata.ttlInSeconds=soon",
        ] {
            let refused = Metadata::from_query(query).ttl_s().expect_err(query);
            assert_eq!(refused.code(), "ERR_PUBSUB_REQUEST_METADATA");
            assert!(refused.to_string().contains("ttlInSeconds"), "{refused}");
        }
        let refused = Metadata::from_query("metadata.rawPayload=perhaps").is_raw();
        assert!(refused.expect_err("no truth value").to_string().contains("rawPayload"));
        let long = format!("metadata.ttlInSeconds={}", "9".repeat(10_000));
        let refused = Metadata::from_query(&long).ttl_s().expect_err("too large");
        assert!(refused.to_string().len() < 500);
    }

    #[test]
    fn names_have_no_case_and_an_entry_wins_over_its_request() {
        let request = Metadata::from_query("metadata.TTLinSeconds=60&metadata.RAWPAYLOAD=True");
        assert_eq!(request.ttl_s().expect("a number"), Some(60));
        assert!(request.is_raw().expect("a truth value"));
        let entry: Metadata = [("ttlInSeconds".to_owned(), "5".to_owned())].into_iter().collect();
        let both = request.and(&entry);
        assert_eq!(both.ttl_s().expect("a number"), Some(5));
        assert!(both.is_raw().expect("a truth value"));
        assert_eq!(Metadata::from_query("ttlInSeconds=60").ttl_s().expect("none"), None);
    }

    #[test]
    fn a_time_beyond_all_times_is_cut() {
        let huge = Metadata::from_query("metadata.ttlInSeconds=9223372036854775807");
        assert_eq!(huge.ttl_s().expect("a number"), Some(limits::DAPR_TTL_S_MAX));
    }

    #[test]
    fn attributes_of_the_event_can_be_set() {
        let query = "metadata.cloudevent.id=7&metadata.cloudevent.type=weather.report.published\
            &metadata.cloudevent.source=/sensors&metadata.cloudevent.subject=paris&metadata.cloudevent.tenant=acme\
            &metadata.cloudevent.time=2026-11-24T00:00:00Z";
        let mut event = Event::new("1", "Dapr", "x");
        Metadata::from_query(query).apply(&mut event).expect("attributes");
        assert_eq!((&*event.id, &*event.source), ("7", "/sensors"));
        assert_eq!(event.event_type, "weather.report.published");
        assert_eq!(event.subject.as_deref(), Some("paris"));
        assert_eq!(event.extensions["tenant"], "acme".into());
        assert!(event.time.is_some());
        for query in ["metadata.cloudevent.data=x", "metadata.cloudevent.time=noon"] {
            assert!(Metadata::from_query(query).apply(&mut event).is_err(), "{query}");
        }
    }
}
