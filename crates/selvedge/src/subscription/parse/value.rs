//! One value at a time: what it may be, and what to write instead.

use std::ops::Range;

use selvedge_events::TypePattern;
use toml::Spanned;

use crate::subscription::{Address, Broker, Filter, Target};
use crate::{Error, limits};

/// Checks values against the text they come from, for the sake of the line.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
}

impl Reader<'_> {
    pub(super) fn name(&self, name: &Spanned<String>) -> Result<String, Error> {
        if is_kebab_case(name.get_ref()) && name.get_ref().len() <= limits::SUBSCRIPTION_NAME_BYTES_MAX {
            return Ok(name.get_ref().clone());
        }
        let max = limits::SUBSCRIPTION_NAME_BYTES_MAX;
        let reason =
            format!("`name` must be at most {max} lower-case letters and digits with single hyphens between them");
        Err(self.mistake(name, reason))
    }

    pub(super) fn types(&self, types: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<TypePattern>, Error> {
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

    pub(super) fn filter(&self, text: Option<&Spanned<String>>) -> Result<Option<Filter>, Error> {
        let parse = |text: &Spanned<String>| Filter::parse(text.get_ref()).map_err(|reason| self.mistake(text, reason));
        text.map(parse).transpose()
    }

    pub(super) fn target(
        &self,
        target: &Spanned<String>,
        secret: Option<&Spanned<String>>,
        consumers: Option<&Spanned<Vec<String>>>,
    ) -> Result<Target, Error> {
        let text = target.get_ref();
        let expected = "write \"function:<component>\" or \"https://…\"";
        let wrong = |reason: String| Err(self.mistake(target, reason));
        let Some((kind, rest)) = text.split_once(':') else {
            return wrong(format!("`target` is \"{text}\": {expected}"));
        };
        if let Some(address) = Address::parse(text) {
            let address = address.map_err(|reason| self.mistake(target, format!("the target \"{text}\" {reason}")))?;
            return self.broker(target, address, secret, consumers);
        }
        if let Some(consumers) = consumers {
            let reason = "`consumers` is for targets that may lose messages, \"redis:…\" and \"mqtt:…\": leave it out";
            return Err(self.mistake(consumers, reason.to_owned()));
        }
        match (kind, secret) {
            ("function", Some(secret)) => {
                let reason = "`secret_variable` is for webhooks: a function's deliveries never leave the application";
                Err(self.mistake(secret, reason.to_owned()))
            }
            ("function", None) if is_kebab_case(rest) => Ok(Target::Function {
                component: rest.to_owned(),
            }),
            ("function", None) => wrong(format!(
                "\"{rest}\" can't be reached: only components named in kebab-case can be"
            )),
            ("https" | "http", secret) => self.webhook(target, secret),
            _ => wrong(format!("there is no kind of target \"{kind}\": {expected}")),
        }
    }

    fn broker(
        &self,
        target: &Spanned<String>,
        address: Address,
        secret: Option<&Spanned<String>>,
        consumers: Option<&Spanned<Vec<String>>>,
    ) -> Result<Target, Error> {
        if let Some(secret) = secret {
            let reason = "`secret_variable` is for webhooks: how a broker is reached, the relay's variables say";
            return Err(self.mistake(secret, reason.to_owned()));
        }
        let consumers = match (consumers, address.loses_messages()) {
            (Some(consumers), true) => consumers.get_ref().clone(),
            (None, false) => Vec::new(),
            (Some(consumers), false) => {
                let reason = format!(
                    "\"{address}\" keeps its messages, its acknowledgement settles an event: leave `consumers` out"
                );
                return Err(self.mistake(consumers, reason));
            }
            (None, true) => {
                let reason = format!(
                    "\"{address}\" may lose messages: name in `consumers` the functions that must be done with an event \
                     before it is settled, or write `consumers = []` to have it settled once it is published"
                );
                return Err(self.mistake(target, reason));
            }
        };
        Ok(Target::Broker(Broker { address, consumers }))
    }

    /// Where the events come from, if not from the journal.
    pub(super) fn from(&self, from: Option<&Spanned<String>>, target: &Target) -> Result<Option<Address>, Error> {
        let Some(text) = from else { return Ok(None) };
        let wrong = |reason: &str| self.mistake(text, format!("`from` is \"{}\": {reason}", text.get_ref()));
        match Address::parse(text.get_ref()) {
            Some(Ok(_)) if !matches!(target, Target::Function { .. }) => Err(wrong(
                "what comes from a broker goes to a function: write `target = \"function:<component>\"`",
            )),
            Some(Ok(address @ (Address::Dapr { .. } | Address::Kafka { .. }))) => Ok(Some(address)),
            Some(Ok(_)) => Err(wrong(
                "such a broker's messages come by its trigger: write `target` and `consumers` instead, or \"kafka:<topic>\" or \
                 \"dapr:<pubsub>/<topic>\" here",
            )),
            Some(Err(reason)) => Err(wrong(&format!("it {reason}"))),
            None => Err(wrong(
                "write \"kafka:<topic>\" or \"dapr:<pubsub>/<topic>\", or leave it out for the journal's events",
            )),
        }
    }

    fn webhook(&self, target: &Spanned<String>, secret: Option<&Spanned<String>>) -> Result<Target, Error> {
        let url = self.url(target)?;
        let Some(secret) = secret else {
            let reason = "needs `secret_variable`: the name of the relay's variable that holds the signing secret";
            return Err(self.mistake(target, format!("the webhook \"{url}\" {reason}")));
        };
        Ok(Target::Webhook {
            secret_variable: self.variable(secret)?,
            url,
        })
    }

    /// An application under a Dapr sidecar; its token stands where a webhook's secret does.
    pub(super) fn dapr_app(&self, target: &Spanned<String>, token: Option<&Spanned<String>>) -> Result<Target, Error> {
        Ok(Target::DaprApp {
            url: self.url(target)?,
            token_variable: token.map(|token| self.variable(token)).transpose()?,
        })
    }

    fn variable(&self, name: &Spanned<String>) -> Result<String, Error> {
        if is_variable_name(name.get_ref()) {
            return Ok(name.get_ref().clone());
        }
        let reason = "`secret_variable` must be a variable's name, such as \"webhook_secret\"";
        Err(self.mistake(name, reason.to_owned()))
    }

    /// A URL that events may be sent to.
    fn url(&self, target: &Spanned<String>) -> Result<String, Error> {
        let url = target.get_ref();
        let wrong = |reason: &str| Err(self.mistake(target, format!("the webhook \"{url}\" {reason}")));
        let Ok(uri) = url.parse::<http::Uri>() else {
            return wrong("is no valid URL");
        };
        let Some(authority) = uri.authority() else {
            return wrong("is no valid URL");
        };
        if authority.as_str().contains('@') {
            return wrong("holds a user's name: webhooks are signed, and a password here would be readable by all");
        }
        if uri.scheme_str() == Some("http") && !is_loopback(authority.host()) {
            return wrong("would be sent in the clear: use https (http is for 127.0.0.1, [::1] and localhost)");
        }
        Ok(url.clone())
    }

    pub(super) fn within<T: PartialOrd + std::fmt::Display + Copy>(
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

    pub(super) fn interval(
        &self,
        text: Option<&Spanned<String>>,
        key: &str,
        max_ms: u64,
        standard_ms: u64,
    ) -> Result<u64, Error> {
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

    pub(super) fn mistake<T>(&self, value: &Spanned<T>, reason: String) -> Error {
        mistake(self.text, &value.span(), reason)
    }
}

pub(super) fn mistake(text: &str, span: &Range<usize>, reason: String) -> Error {
    Error::Subscriptions {
        line: line_of(text, span.start),
        reason,
    }
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
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

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Spin's rule for the names of variables: snake_case.
fn is_variable_name(text: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.split('_').all(is_word)
}
