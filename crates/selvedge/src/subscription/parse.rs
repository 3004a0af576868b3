//! Reads and checks `subscriptions.toml`.

mod value;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde::Deserialize;
use toml::Spanned;

use self::value::{Reader, line_of, mistake};
use super::{Address, Order, Start, Subscription, Target};
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
    #[serde(rename = "match")]
    filter: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    target: Spanned<String>,
    consumers: Option<Spanned<Vec<String>>>,
    protocol: Option<Spanned<Protocol>>,
    secret_variable: Option<Spanned<String>>,
    max_attempts: Option<Spanned<u32>>,
    initial_interval: Option<Spanned<String>>,
    multiplier: Option<Spanned<f64>>,
    max_interval: Option<Spanned<String>>,
    jitter: Option<Spanned<f64>>,
    timeout: Option<Spanned<String>>,
    batch: Option<Spanned<u32>>,
    max_in_flight: Option<Spanned<u32>>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    start: Start,
}

/// How an `http` target is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Protocol {
    /// As a webhook.
    Webhook,
    /// As an application under a Dapr sidecar.
    Dapr,
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
        let target = match &entry.protocol {
            Some(protocol) if !entry.target.get_ref().starts_with("http") => {
                let reason = "`protocol` is for targets \"https://…\": leave it out";
                return Err(self.mistake(protocol, reason.to_owned()));
            }
            Some(protocol) if *protocol.get_ref() == Protocol::Dapr && entry.consumers.is_none() => {
                self.dapr_app(&entry.target, entry.secret_variable.as_ref())?
            }
            _ => self.target(&entry.target, entry.secret_variable.as_ref(), entry.consumers.as_ref())?,
        };
        let from = self.from(entry.from.as_ref(), &target)?;
        let batch_max = match target {
            Target::Function { .. } | Target::Broker(_) => limits::BATCH_EVENTS_MAX,
            Target::Webhook { .. } | Target::DaprApp { .. } => limits::WEBHOOK_BATCH_EVENTS_MAX,
        };
        let batch = match &target {
            Target::Broker(broker) if matches!(broker.address, Address::Mqtt { .. }) => limits::MQTT_BATCH_EVENTS,
            _ => batch_max,
        };
        Ok(Subscription {
            name: self.name(&entry.name)?,
            generation: 0,
            types: self.types(&entry.types)?,
            filter: self.filter(entry.filter.as_ref())?,
            retry,
            timeout_ms: self.interval(
                entry.timeout.as_ref(),
                "timeout",
                limits::DELIVERY_TIMEOUT_MS_MAX,
                limits::DELIVERY_TIMEOUT_MS,
            )?,
            batch: self.within(entry.batch, "batch", 1..=batch_max, batch)?,
            from,
            target,
            max_in_flight: match &entry.max_in_flight {
                None => None,
                Some(_) => Some(self.within(entry.max_in_flight, "max_in_flight", 1..=limits::IN_FLIGHT_MAX, 1)?),
            },
            order: entry.order,
            start: entry.start,
            target_line: line_of(self.text, entry.target.span().start),
        })
    }
}
