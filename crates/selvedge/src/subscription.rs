//! `subscriptions.toml`: who hears what.
//!
//! Each `[[subscription]]` is a cursor of its own over the journal: it hears every event whose type matches one of its
//! patterns, from the journal's first event on.

mod parse;

use std::sync::Arc;

use selvedge_events::TypePattern;

use crate::Error;
use crate::retry::RetryPolicy;

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
    /// Its name: unique, kebab-case. Cursor, retries and done markers belong to it.
    pub name: String,
    /// Which types of event it hears.
    pub types: Vec<TypePattern>,
    /// Who is to hear them.
    pub target: Target,
    /// When a failed delivery is made again.
    pub retry: RetryPolicy,
    /// How long a delivery may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many events one delivery may have.
    pub batch: u32,
    /// The line of the file that names its target, counted from 1.
    pub target_line: usize,
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

    /// The components that subscriptions are for, each with the line that names it: every one must be in spin.toml.
    pub fn components(&self) -> impl Iterator<Item = (&str, usize)> {
        self.all.iter().map(|subscription| {
            let Target::Function { component } = &subscription.target;
            (component.as_str(), subscription.target_line)
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
    /// Whether it hears events of this type.
    pub fn hears(&self, event_type: &str) -> bool {
        self.types.iter().any(|pattern| pattern.matches(event_type))
    }
}
