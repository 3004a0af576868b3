//! `subscriptions.toml`: who hears what.
//!
//! Each `[[subscription]]` is a cursor of its own over the journal: it hears every event whose type matches one of its
//! patterns, from the journal's first event on.

mod broker;
mod filter;
mod parse;

use std::sync::Arc;

use selvedge_events::TypePattern;
use serde::Deserialize;

pub use self::broker::{Address, Broker};
pub use self::filter::Filter;
use crate::retry::RetryPolicy;
use crate::{Error, projection};

/// Where the subscriptions are written.
pub const FILE: &str = "subscriptions.toml";

/// All subscriptions of the application, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subscriptions {
    all: Vec<Arc<Subscription>>,
}

/// Who hears what, and how it is brought there.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its name: unique, kebab-case. Cursor, retries and done markers belong to it. That of a projection which is being built
    /// is the [`projection::name_of`] its generation.
    pub name: String,
    /// The generation of its function's projection that its deliveries build.
    pub generation: i64,
    /// Which types of event it hears.
    pub types: Vec<TypePattern>,
    /// What an event of these types must meet to be heard: its `match`.
    pub filter: Option<Filter>,
    /// The broker that its events come from; `None`: they come from the journal.
    pub from: Option<Address>,
    /// Who is to hear them.
    pub target: Target,
    /// When a failed delivery is made again.
    pub retry: RetryPolicy,
    /// How long a delivery may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many events one delivery may have.
    pub batch: u32,
    /// How many of its events may be under way at once; `None` for any number.
    pub max_in_flight: Option<u32>,
    /// In which order its events take effect.
    pub order: Order,
    /// Where it begins when it is new.
    pub start: Start,
    /// The line of the file that names its target, counted from 1.
    pub target_line: usize,
}

/// In which order the events of a subscription take effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// In any: an event that fails holds nobody up.
    #[default]
    None,
    /// A stream's events one after the other: one that fails holds back those behind it in its stream, until it succeeds
    /// or is a dead letter.
    Stream,
}

/// Where a new subscription begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// With the journal's first event.
    #[default]
    Beginning,
    /// With the first event after the relay took the subscription up.
    Now,
}

/// Who hears the events of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A component of the application, by service chaining.
    Function {
        /// Its id in spin.toml.
        component: String,
    },
    /// Someone outside, by signed HTTP requests: see [`crate::webhook`].
    Webhook {
        /// Where the events are POSTed.
        url: String,
        /// The variable of the relay that holds the secrets by which they are signed.
        secret_variable: String,
    },
    /// An application that speaks Dapr, to which they are brought as by its sidecar: see [`crate::dapr`].
    DaprApp {
        /// Where the application is; with a path, where it hears all of them.
        url: String,
        /// The variable of the relay that holds the token by which the application knows its sidecar.
        token_variable: Option<String>,
    },
    /// Whoever takes them from a message broker.
    Broker(Broker),
}

impl Subscriptions {
    /// Reads the text of a `subscriptions.toml`. One without any subscription is fine.
    ///
    /// ```
    /// use selvedge::subscription::Subscriptions;
    ///
    /// let text = r#"
    /// [[subscription]]
    /// name = "analytics"
    /// types = ["todos.*.*"]
    /// target = "function:analytics"
    /// max_attempts = 3
    /// "#;
    /// let subscriptions = Subscriptions::parse(text)?;
    /// assert!(subscriptions.get("analytics").expect("there").hears("todos.task.created"));
    ///
    /// let error = Subscriptions::parse("[[subscription]]\nnam = \"analytics\"").expect_err("a slip of the pen");
    /// assert!(error.to_string().starts_with("subscriptions.toml, line 2: "));
    /// # Ok::<(), selvedge::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Subscriptions`] names the line of the first mistake and says what to write instead.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let all = parse::parse(text)?;
        Ok(Self {
            all: all.into_iter().map(Arc::new).collect(),
        })
    }

    /// Reads [`FILE`], which spin.toml gives to the components that need it.
    ///
    /// # Errors
    /// Those of [`Subscriptions::parse`]; [`Error::Configuration`] when the file isn't there.
    pub fn from_file() -> Result<Self, Error> {
        let text = std::fs::read_to_string(FILE).map_err(|error| Error::Configuration {
            name: FILE.to_owned(),
            reason: format!("can't be read ({error}): add it to the component's `files` in spin.toml"),
        })?;
        Self::parse(&text)
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Subscription>> {
        self.all.iter()
    }

    /// The subscription of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Subscription>> {
        self.all.iter().find(|subscription| subscription.name == name)
    }

    /// This one alone.
    pub(crate) fn of(subscription: Arc<Subscription>) -> Self {
        Self {
            all: vec![subscription],
        }
    }

    /// Those that hear the journal: the relay brings them what it has.
    #[must_use]
    pub fn of_journal(mut self) -> Self {
        self.all.retain(|subscription| subscription.from.is_none());
        self
    }

    /// Those whose failed deliveries the relay makes again: all but those that a Dapr sidecar brings events to.
    #[must_use]
    pub fn of_relay(mut self) -> Self {
        self.all
            .retain(|subscription| !matches!(subscription.from, Some(Address::Dapr { .. })));
        self
    }

    /// Those that hear a Kafka topic.
    #[must_use]
    pub fn of_kafka(mut self) -> Self {
        self.all
            .retain(|subscription| matches!(subscription.from, Some(Address::Kafka { .. })));
        self
    }

    /// Those that hear a broker, each with where it listens.
    pub fn of_brokers(&self) -> impl Iterator<Item = (&Address, &Arc<Subscription>)> {
        self.all
            .iter()
            .filter_map(|subscription| Some((subscription.from.as_ref()?, subscription)))
    }

    /// Where in brokers subscriptions publish or listen.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.all.iter().flat_map(|subscription| {
            let target = match &subscription.target {
                Target::Broker(broker) => Some(&broker.address),
                Target::Function { .. } | Target::Webhook { .. } | Target::DaprApp { .. } => None,
            };
            target.into_iter().chain(&subscription.from)
        })
    }

    /// These subscriptions as the database has them, which knows the generation of each and has a further one for every
    /// projection that is being built. `None` when they are `current` already.
    pub(crate) fn in_generations<'r>(
        &self,
        rows: impl Iterator<Item = (&'r str, i64)> + Clone,
        current: &Self,
    ) -> Option<Self> {
        let known = |(name, _): &(&str, i64)| self.get(projection::subscription_of(name)).is_some();
        let rows = rows.filter(known);
        let is_current = |(name, generation): (&str, i64)| {
            let subscription = current.get(name);
            subscription.is_some_and(|subscription| subscription.generation == generation)
        };
        let being_built = rows.clone().filter(|(name, _)| projection::is_being_built(name));
        let built_now = current.iter().filter(|subscription| subscription.is_being_built());
        if rows.clone().all(is_current) && being_built.clone().count() == built_now.count() {
            return None;
        }
        let mut all = self.all.clone();
        for (name, generation) in rows {
            match all.iter_mut().find(|subscription| subscription.name == name) {
                Some(subscription) => Arc::make_mut(subscription).generation = generation,
                None => all.extend(self.get(projection::subscription_of(name)).map(|live| {
                    Arc::new(Subscription {
                        name: name.to_owned(),
                        generation,
                        ..Subscription::clone(live)
                    })
                })),
            }
        }
        Some(Self { all })
    }

    /// The components that subscriptions are for, each with the line that names it: every one must be in spin.toml.
    pub fn components(&self) -> impl Iterator<Item = (&str, usize)> {
        self.all.iter().filter_map(|subscription| match &subscription.target {
            Target::Function { component } => Some((component.as_str(), subscription.target_line)),
            Target::Webhook { .. } | Target::DaprApp { .. } | Target::Broker(_) => None,
        })
    }

    /// The URLs that subscriptions are for, each with the line that names it: the relay must be allowed to reach them.
    pub fn webhooks(&self) -> impl Iterator<Item = (&str, usize)> {
        self.all.iter().filter_map(|subscription| match &subscription.target {
            Target::Webhook { url, .. } | Target::DaprApp { url, .. } => Some((url.as_str(), subscription.target_line)),
            Target::Function { .. } | Target::Broker(_) => None,
        })
    }
}

impl<'a> IntoIterator for &'a Subscriptions {
    type Item = &'a Arc<Subscription>;
    type IntoIter = std::slice::Iter<'a, Arc<Subscription>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Subscription {
    /// How many of the events that may be under way at once are kept for retries while a batch is: a quarter. With
    /// `max_in_flight = 1` there is nothing to share, and batch and retries take turns.
    pub fn reserved_for_retries(&self) -> u32 {
        self.max_in_flight.map_or(0, |max| (max / 4).max(u32::from(max > 1)))
    }

    /// How many events the next batch may have, when this many retries are under way.
    pub fn batch_beside(&self, retries: u32) -> u32 {
        let room = self.max_in_flight.map_or(u32::MAX, |max| {
            max.saturating_sub(retries.max(self.reserved_for_retries()))
        });
        self.batch.min(room)
    }

    /// The functions that must be done with an event that goes to them by a broker which may lose it.
    pub fn consumers(&self) -> &[String] {
        match &self.target {
            Target::Broker(broker) => &broker.consumers,
            Target::Function { .. } | Target::Webhook { .. } | Target::DaprApp { .. } => &[],
        }
    }

    /// Under which names its events are marked as done: each of those who must be.
    pub fn marked_by(&self) -> Vec<String> {
        match self.consumers() {
            [] => vec![projection::name_of(self.configured_name(), self.generation)],
            consumers => consumers.to_vec(),
        }
    }

    /// Whether a delivery carries one event of a stream at most: who isn't a function can't be told to stop a stream within
    /// it.
    pub fn is_one_per_stream(&self) -> bool {
        let is_told = match &self.target {
            Target::Function { .. } => true,
            Target::Webhook { .. } | Target::DaprApp { .. } => false,
            // An MQTT message has one event.
            Target::Broker(broker) => !broker.consumers.is_empty() && !matches!(broker.address, Address::Mqtt { .. }),
        };
        self.is_ordered() && !is_told
    }

    /// Whether a stream's events take effect one after the other.
    pub fn is_ordered(&self) -> bool {
        self.order == Order::Stream
    }

    /// Whether it builds a generation that nobody reads yet.
    pub fn is_being_built(&self) -> bool {
        projection::is_being_built(&self.name)
    }

    /// Its name in subscriptions.toml.
    pub fn configured_name(&self) -> &str {
        projection::subscription_of(&self.name)
    }

    /// Whether it hears events of this type.
    pub fn hears(&self, event_type: &str) -> bool {
        TypePattern::any_matches(&self.types, event_type)
    }
}
