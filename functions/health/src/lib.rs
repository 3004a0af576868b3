//! Health: whether the application is well, part by part.
//!
//! `/health/live` says that it runs, `/health/ready` that it can take requests, `/health` says everything. Reasons go to
//! the log: whoever may ask this isn't an operator.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all};
use selvedge::breaker::shared::reports;
use selvedge::http::{Problem, Request, Response, StatusCode};
use selvedge::subscription::Subscriptions;
use selvedge::{Error, Function, Host, health};
use serde::Serialize;
use serde_json::json;

selvedge::export!(function);

fn function() -> Function {
    Function::new("health")
        .get("/health", report)
        .get("/health/live", live)
        .get("/health/ready", ready)
}

/// Whether a part is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Up,
    Down,
}

impl Status {
    fn of<T>(part: &str, checked: &Result<T, Error>) -> Self {
        match checked {
            Ok(_) => Self::Up,
            Err(error) => {
                eprintln!("error: {part} is down: {error}");
                Self::Down
            }
        }
    }
}

/// All parts, by name.
type Parts = BTreeMap<String, Status>;

async fn live(_host: Host, _request: Request) -> Result<Response, Problem> {
    Ok(Response::ok(&json!({ "status": Status::Up })))
}

async fn ready(host: Host, _request: Request) -> Result<Response, Problem> {
    let ((functions, _), stores) = (functions(&host).await, stores(&host));
    let down: Vec<_> = functions
        .iter()
        .chain(&stores)
        .filter(|(_, status)| **status == Status::Down)
        .collect();
    if down.is_empty() {
        return Ok(Response::ok(&json!({ "status": Status::Up })));
    }
    let names: Vec<_> = down.into_iter().map(|(name, _)| name.as_str()).collect();
    Err(Problem::unavailable(format!(
        "Not ready: {} can't be reached. Ask again in a moment.",
        names.join(", ")
    )))
}

async fn report(host: Host, _request: Request) -> Result<Response, Problem> {
    let all = Subscriptions::from_file()?;
    let ((functions, breakers), brokers) = join(functions(&host), brokers(&host, &all)).await;
    let stores = stores(&host);
    let breakers =
        reports(&host, breakers).inspect_err(|error| eprintln!("error: the breakers can't be read: {error}"));
    let subscriptions = all.of_relay();
    let lags = health::lags(&host).inspect_err(|error| eprintln!("error: the subscriptions can't be read: {error}"));
    let lags: Option<Vec<_>> = lags.ok().map(|lags| {
        lags.into_iter()
            .filter(|lag| subscriptions.get(&lag.subscription).is_some())
            .collect()
    });
    let admin_token = if host.variable("admin_token").await?.is_some() {
        "set"
    } else {
        "not set: /admin is refused"
    };

    let is_up = functions
        .values()
        .chain(stores.values())
        .all(|status| *status == Status::Up)
        && brokers.values().all(|broker| broker.status == Status::Up)
        && lags.is_some();
    let (code, status) = if is_up {
        (StatusCode::OK, Status::Up)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Status::Down)
    };
    let mut body = json!({
        "status": status,
        "functions": functions,
        "stores": stores,
        "breakers": breakers.ok(),
        "subscriptions": lags,
        "adminToken": admin_token,
    });
    if !brokers.is_empty() {
        body["brokers"] = json!(brokers);
    }
    Ok(Response::json(code, &body))
}

/// Every function that hears a subscription, and those that FUNCTIONS in spin.toml names besides; and the names of the
/// breakers under which they make calls.
async fn functions(host: &Host) -> (Parts, Vec<String>) {
    let listed = std::env::var("FUNCTIONS").unwrap_or_default();
    let listed = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
    let subscriptions = Subscriptions::from_file()
        .inspect_err(|error| eprintln!("error: the subscriptions can't be read: {error}"))
        .ok();
    let hearing = subscriptions
        .iter()
        .flat_map(Subscriptions::components)
        .map(|(component, _)| component);
    let names: BTreeSet<&str> = listed.chain(hearing).collect();
    let check = |name: &str| {
        let (host, name) = (host.clone(), name.to_owned());
        async move {
            let checked = health::check_function(&host, &name).await;
            let status = Status::of(&name, &checked);
            (name, status, checked.map_or_else(|_| Vec::new(), |up| up.breakers))
        }
    };
    let (mut parts, mut breakers) = (Parts::new(), BTreeSet::new());
    for (name, status, its_breakers) in join_all(names.into_iter().map(check)).await {
        parts.insert(name, status);
        breakers.extend(its_breakers);
    }
    (parts, breakers.into_iter().collect())
}

/// Whether a broker is well, and if not, why: it runs elsewhere, and what is wrong is often in this application's variables.
#[derive(Debug, Serialize)]
struct Broker {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The brokers that subscriptions name, by name.
async fn brokers(host: &Host, subscriptions: &Subscriptions) -> BTreeMap<&'static str, Broker> {
    let checked = health::brokers(host, subscriptions).await.into_iter();
    let broker = |(name, checked)| {
        let broker = Broker {
            status: Status::of(name, &checked),
            reason: checked.err().map(|error| error.to_string()),
        };
        (name, broker)
    };
    checked.map(broker).collect()
}

fn stores(host: &Host) -> Parts {
    let database = Status::of("the database", &health::check_database(host));
    let key_value = Status::of("the key-value store", &health::check_key_value(host));
    [("database".to_owned(), database), ("keyValue".to_owned(), key_value)].into()
}
