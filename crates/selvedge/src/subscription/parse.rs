//! Reads and checks `subscriptions.toml`.

use std::collections::HashSet;
use std::ops::Range;

use selvedge_events::TypePattern;
use serde::Deserialize;
use toml::Spanned;

use super::{Subscription, Target};
use crate::retry::RetryPolicy;
use crate::{Error, limits};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    subscription: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    types: Spanned<Vec<Spanned<String>>>,
    target: Spanned<String>,
    max_attempts: Option<Spanned<u32>>,
    initial_interval: Option<Spanned<String>>,
    multiplier: Option<Spanned<f64>>,
    max_interval: Option<Spanned<String>>,
    jitter: Option<Spanned<f64>>,
    timeout: Option<Spanned<String>>,
    batch: Option<Spanned<u32>>,
}

pub(super) fn parse(text: &str) -> Result<Vec<Subscription>, Error> {
    let file: File = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        mistake(text, &span, error.message().to_owned())
    })?;
    if file.subscription.len() > limits::SUBSCRIPTIONS_MAX {
        let span = file.subscription[limits::SUBSCRIPTIONS_MAX].span();
        return Err(mistake(
            text,
            &span,
            format!("more than {} subscriptions", limits::SUBSCRIPTIONS_MAX),
        ));
    }
    let mut names = HashSet::new();
    let mut subscriptions = Vec::with_capacity(file.subscription.len());
    for entry in file.subscription {
        let entry = entry.into_inner();
        let name_span = entry.name.span();
        let subscription = Reader { text }.subscription(entry)?;
        if !names.insert(subscription.name.clone()) {
            let reason = format!(
                "there is another subscription named \"{}\": give each its own name",
                subscription.name
            );
            return Err(mistake(text, &name_span, reason));
        }
        subscriptions.push(subscription);
    }
    Ok(subscriptions)
}

/// Checks values against the text they come from, for the sake of the line.
struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn subscription(&self, entry: Entry) -> Result<Subscription, Error> {
        let standard = RetryPolicy::default();
        let retry = RetryPolicy {
            max_attempts: self.within(
                entry.max_attempts,
                "max_attempts",
                1..=limits::ATTEMPTS_MAX,
                standard.max_attempts,
            )?,
            initial_interval_ms: self.interval(
                entry.initial_interval.as_ref(),
                "initial_interval",
                limits::RETRY_INTERVAL_MS_MAX,
                standard.initial_interval_ms,
            )?,
            multiplier: self.within(entry.multiplier, "multiplier", 1.0..=100.0, standard.multiplier)?,
            max_interval_ms: self.interval(
                entry.max_interval.as_ref(),
                "max_interval",
                limits::RETRY_INTERVAL_MS_MAX,
                standard.max_interval_ms,
            )?,
            jitter: self.within(entry.jitter, "jitter", 0.0..=1.0, standard.jitter)?,
        };
        if let Some(max_interval) = &entry.max_interval
            && retry.max_interval_ms < retry.initial_interval_ms
        {
            let reason = "`max_interval` is shorter than `initial_interval`: make it at least as long";
            return Err(self.mistake(max_interval, reason.to_owned()));
        }
        Ok(Subscription {
            name: self.name(&entry.name)?,
            types: self.types(&entry.types)?,
            target: self.target(&entry.target)?,
            retry,
            timeout_ms: self.interval(
                entry.timeout.as_ref(),
                "timeout",
                limits::DELIVERY_TIMEOUT_MS_MAX,
                limits::DELIVERY_TIMEOUT_MS,
            )?,
            batch: self.within(
                entry.batch,
                "batch",
                1..=limits::BATCH_EVENTS_MAX,
                limits::BATCH_EVENTS_MAX,
            )?,
            target_line: line_of(self.text, entry.target.span().start),
        })
    }

    fn name(&self, name: &Spanned<String>) -> Result<String, Error> {
        if is_kebab_case(name.get_ref()) && name.get_ref().len() <= limits::SUBSCRIPTION_NAME_BYTES_MAX {
            return Ok(name.get_ref().clone());
        }
        let max = limits::SUBSCRIPTION_NAME_BYTES_MAX;
        let reason =
            format!("`name` must be at most {max} lower-case letters and digits with single hyphens between them");
        Err(self.mistake(name, reason))
    }

    fn types(&self, types: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<TypePattern>, Error> {
        if types.get_ref().is_empty() {
            return Err(self.mistake(
                types,
                "`types` is empty: name at least one pattern, such as \"todos.task.*\"".to_owned(),
            ));
        }
        let pattern = |text: &Spanned<String>| {
            TypePattern::parse(text.get_ref()).map_err(|error| self.mistake(text, error.to_string()))
        };
        types.get_ref().iter().map(pattern).collect()
    }

    fn target(&self, target: &Spanned<String>) -> Result<Target, Error> {
        let text = target.get_ref();
        let Some((kind, rest)) = text.split_once(':') else {
            let reason = format!("`target` is \"{text}\": write \"function:<component>\"");
            return Err(self.mistake(target, reason));
        };
        match kind {
            "function" if is_kebab_case(rest) => Ok(Target::Function {
                component: rest.to_owned(),
            }),
            "function" => {
                let reason = format!("\"{rest}\" can't be reached: only components named in kebab-case can be");
                Err(self.mistake(target, reason))
            }
            "redis" | "mqtt" | "kafka" | "dapr" | "http" | "https" => {
                let reason =
                    format!("targets of kind \"{kind}\" are not available yet: write \"function:<component>\"");
                Err(self.mistake(target, reason))
            }
            _ => {
                let reason = format!("there is no kind of target \"{kind}\": write \"function:<component>\"");
                Err(self.mistake(target, reason))
            }
        }
    }

    fn within<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        value: Option<Spanned<T>>,
        key: &str,
        allowed: std::ops::RangeInclusive<T>,
        standard: T,
    ) -> Result<T, Error> {
        match value {
            None => Ok(standard),
            Some(value) if allowed.contains(value.get_ref()) => Ok(value.into_inner()),
            Some(value) => {
                let (min, max) = (allowed.start(), allowed.end());
                Err(self.mistake(&value, format!("`{key}` must be from {min} to {max}")))
            }
        }
    }

    fn interval(&self, text: Option<&Spanned<String>>, key: &str, max_ms: u64, standard_ms: u64) -> Result<u64, Error> {
        let Some(text) = text else { return Ok(standard_ms) };
        let duration = humantime::parse_duration(text.get_ref())
            .map_err(|_| self.mistake(text, format!("`{key}` must be a duration such as \"30s\" or \"250ms\"")))?;
        match u64::try_from(duration.as_millis()) {
            Ok(duration_ms) if (1..=max_ms).contains(&duration_ms) => Ok(duration_ms),
            _ => {
                let max = humantime::format_duration(std::time::Duration::from_millis(max_ms));
                Err(self.mistake(text, format!("`{key}` must be from 1ms to {max}")))
            }
        }
    }

    fn mistake<T>(&self, value: &Spanned<T>, reason: String) -> Error {
        mistake(self.text, &value.span(), reason)
    }
}

fn mistake(text: &str, span: &Range<usize>, reason: String) -> Error {
    Error::Subscriptions {
        line: line_of(text, span.start),
        reason,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn is_kebab_case(text: &str) -> bool {
    text.split('-').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[[subscription]]\nname = \"a\"\ntypes = [\"todos.task.*\"]\ntarget = \"function:x\"\n";

    #[test]
    fn what_is_not_said_has_its_standard_value() {
        let subscriptions = parse(&format!("# who hears what\n\n{MINIMAL}")).expect("valid");
        let [only] = &subscriptions[..] else {
            panic!("one subscription")
        };
        assert_eq!(only.retry, RetryPolicy::default());
        assert_eq!((only.timeout_ms, only.batch), (30_000, 500));
        assert_eq!(
            only.target,
            Target::Function {
                component: "x".to_owned()
            }
        );
        assert_eq!(only.target_line, 6);
        assert_eq!(parse("").expect("none is fine"), []);
    }

    #[test]
    fn everything_can_be_said() {
        let text = format!(
            "{MINIMAL}max_attempts = 3\ninitial_interval = \"250ms\"\nmultiplier = 3\nmax_interval = \"1m 30s\"\njitter = 0\n\
             timeout = \"5s\"\nbatch = 10\n"
        );
        let subscription = parse(&text).expect("valid").remove(0);
        let expected = RetryPolicy {
            max_attempts: 3,
            initial_interval_ms: 250,
            multiplier: 3.0,
            max_interval_ms: 90_000,
            jitter: 0.0,
        };
        assert_eq!(subscription.retry, expected);
        assert_eq!((subscription.timeout_ms, subscription.batch), (5_000, 10));
    }

    #[test]
    fn a_mistake_names_its_line() {
        let with = |line: &str| format!("{MINIMAL}{line}\n");
        let cases = [
            ("nonsense".to_owned(), 1, ""),
            ("[[subscriptions]]\n".to_owned(), 1, "unknown field"),
            ("[[subscription]]\nname = \"a\"\n".to_owned(), 1, "missing field"),
            (with("batchsize = 3"), 5, "unknown field"),
            (with("batch = 0"), 5, "from 1 to 500"),
            (with("batch = \"many\""), 5, "invalid type"),
            (with("max_attempts = 101"), 5, "from 1 to 100"),
            (with("max_attempts = -1"), 5, ""),
            (with("multiplier = 0.5"), 5, "from 1 to 100"),
            (with("multiplier = nan"), 5, "from 1 to 100"),
            (with("jitter = 1.5"), 5, "from 0 to 1"),
            (with("timeout = \"soon\""), 5, "a duration"),
            (with("timeout = \"0ms\""), 5, "from 1ms to 45s"),
            (with("timeout = \"1h\""), 5, "from 1ms to 45s"),
            (
                with("initial_interval = \"10s\"\nmax_interval = \"1s\""),
                6,
                "shorter than",
            ),
            (with(MINIMAL), 6, "another subscription named \"a\""),
            (MINIMAL.replace("\"a\"", "\"A\""), 2, "lower-case"),
            (MINIMAL.replace("\"a\"", "\"a--b\""), 2, "single hyphens"),
            (MINIMAL.replace("\"a\"", "\"\""), 2, "lower-case"),
            (MINIMAL.replace("todos.task.*", "todos"), 3, "no type pattern"),
            (MINIMAL.replace("[\"todos.task.*\"]", "[]"), 3, "at least one"),
            (MINIMAL.replace("function:x", "x"), 4, "function:<component>"),
            (MINIMAL.replace("function:x", "function:"), 4, "kebab-case"),
            (MINIMAL.replace("function:x", "kafka:x"), 4, "not available yet"),
            (
                MINIMAL.replace("function:x", "https://example.org"),
                4,
                "not available yet",
            ),
            (MINIMAL.replace("function:x", "pigeon:x"), 4, "no kind of target"),
        ];
        for (text, line, reason) in cases {
            match parse(&text) {
                Err(Error::Subscriptions {
                    line: found,
                    reason: said,
                }) => {
                    assert_eq!(found, line, "{text}\n{said}");
                    assert!(said.contains(reason), "{text}\n{said}");
                }
                other => panic!("{text}\n{other:?}"),
            }
        }
    }
}
