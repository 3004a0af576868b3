//! Whether the application is well: its functions, its stores, and how far its subscriptions are behind.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{Either, join_all, select};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::breaker::shared::{self, Report};
use crate::http::Call;
use crate::relay::publish;
use crate::subscription::Subscriptions;
use crate::{Error, Host, limits};

/// Where every function says that it is up. No public route leads there.
pub const PATH: &str = "/_selvedge/health";

/// How far a subscription is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Its name.
    pub subscription: String,
    /// How many events it has yet to hear. Those that it doesn't care about count too.
    pub events: i64,
    /// How many deliveries wait for their next attempt.
    pub retries: i64,
    /// How many dead letters it has.
    pub dead_letters: i64,
}

/// What a function that is up says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Up {
    function: String,
    status: String,
    /// The circuit breakers under which it makes calls, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<String>,
}

impl Up {
    /// What the function of this name says.
    pub fn new(function: &str, breakers: &[String]) -> Self {
        Self {
            function: function.to_owned(),
            status: "up".to_owned(),
            breakers: breakers.to_vec(),
        }
    }
}

/// Asks a component of the application whether it is up.
///
/// # Errors
/// Why it isn't.
pub async fn check_function(host: &Host, component: &str) -> Result<Up, Error> {
    let call = Call::chained(Method::GET, component, PATH);
    let target = call.target();
    let answer = host
        .send_within(call, limits::HEALTH_TIMEOUT_MS)
        .await?
        .successful(&target)?;
    serde_json::from_slice(&answer.body).map_err(|error| Error::Answer {
        target,
        reason: format!("with something else than that it is up: {error}"),
    })
}

/// The circuit breakers under which these components make calls, by name, each once. A component that isn't up says
/// nothing of its breakers.
///
/// # Errors
/// What the key-value store fails with.
pub async fn breakers(host: &Host, components: &[&str]) -> Result<Vec<Report>, Error> {
    let asked = components.iter().map(|component| check_function(host, component));
    let up = join_all(asked).await.into_iter().flatten();
    let names: BTreeSet<String> = up.flat_map(|up| up.breakers).collect();
    shared::reports(host, names.into_iter().collect())
}

/// Asks the brokers to which these subscriptions publish, or that they hear, whether they are there: each once, by its name. An
/// error shows no password.
pub async fn brokers(host: &Host, subscriptions: &Subscriptions) -> Vec<(&'static str, Result<(), Error>)> {
    let addresses: BTreeMap<_, _> = subscriptions
        .addresses()
        .map(|address| (address.broker(), address))
        .collect();
    let check = |(name, address): (&'static str, _)| async move {
        let asked = std::pin::pin!(publish::check(host, address));
        let checked = match select(asked, host.wait(limits::HEALTH_TIMEOUT_MS)).await {
            Either::Left((checked, _)) => checked,
            Either::Right(_) => Err(Error::Broker {
                address: name.to_owned(),
                reason: format!(
                    "it takes connections and gives no answer within {} ms",
                    limits::HEALTH_TIMEOUT_MS
                ),
            }),
        };
        (name, checked)
    };
    join_all(addresses.into_iter().map(check)).await
}

/// Asks the database for one row.
///
/// # Errors
/// Why it doesn't give it.
pub fn check_database(host: &Host) -> Result<(), Error> {
    host.execute("SELECT 1", Vec::new()).map(drop)
}

/// Asks the key-value store for a key that isn't there.
///
/// # Errors
/// Why it doesn't answer.
pub fn check_key_value(host: &Host) -> Result<(), Error> {
    host.get_many(vec!["health".to_owned()]).map(drop)
}

/// How far every subscription is that a relay has seen, by name. Its cost grows with the exceptions, not the journal.
///
/// # Errors
/// What the database fails with.
pub fn lags(host: &Host) -> Result<Vec<Lag>, Error> {
    let statement = "
        SELECT subscriptions.name,
               COALESCE((SELECT MAX(position) FROM journal), 0) - subscriptions.cursor,
               COALESCE(SUM(CASE exceptions.state WHEN 'retry' THEN 1 ELSE 0 END), 0),
               COALESCE(SUM(CASE exceptions.state WHEN 'dead' THEN 1 ELSE 0 END), 0)
        FROM subscriptions LEFT JOIN exceptions ON exceptions.subscription = subscriptions.name
        GROUP BY subscriptions.name, subscriptions.cursor ORDER BY subscriptions.name";
    let rows = host.execute(statement, Vec::new())?;
    let lag = |mut row: crate::host::Row| {
        Ok(Lag {
            subscription: row.text()?,
            events: row.integer()?,
            retries: row.integer()?,
            dead_letters: row.integer()?,
        })
    };
    rows.into_iter().map(lag).collect()
}
