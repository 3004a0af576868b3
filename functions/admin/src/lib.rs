//! Admin: what an operator sees and does. How far every subscription is, pause and resume, breakers, dead letters
//! ([`dead_letters`]), replays ([`replays`]).
//!
//! Every route needs the bearer token that the variable `admin_token` holds; where none is set, nobody may pass.

mod dead_letters;
mod replays;

use std::collections::HashMap;

use selvedge::http::{Call, Method, Problem, Request, Response};
use selvedge::progress::{self, Progress};
use selvedge::projection::subscription_of;
use selvedge::replay::{self, Replay};
use selvedge::subscription::Subscriptions;
use selvedge::{Error, Function, Host, bell, limits, relay};
use serde::Serialize;
use serde_json::{Value, json};

selvedge::export!(function);

fn function() -> Function {
    Function::new("admin")
        .bearer_token("admin_token")
        .get("/admin/subscriptions", subscriptions)
        .post_kept("/admin/subscriptions/:name/pause", |host, request| {
            pause(host, request, true)
        })
        .post_kept("/admin/subscriptions/:name/resume", |host, request| {
            pause(host, request, false)
        })
        .get("/admin/breakers", breakers)
        .get("/admin/dead-letters", dead_letters::list)
        .get("/admin/dead-letters/:id", dead_letters::show)
        .post_kept("/admin/dead-letters/redrive", dead_letters::redrive)
        .post_kept("/admin/dead-letters/discard", dead_letters::discard)
        .post("/admin/replay", replays::create)
        .get("/admin/replay", replays::list)
        .get("/admin/replay/:id", replays::show)
        .post_kept("/admin/replay/:id/cancel", replays::cancel)
        .post_kept("/admin/replay/:id/resume", replays::resume)
}

/// A subscription as an operator sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    #[serde(flatten)]
    progress: Progress,
    /// Whether it is in subscriptions.toml. One that isn't is delivered nothing.
    configured: bool,
    /// Its replays that aren't through.
    replays: Vec<Replay>,
}

async fn subscriptions(host: Host, _request: Request) -> Result<Response, Problem> {
    let configured = Subscriptions::from_file()?.of_relay();
    let mut replays: HashMap<String, Vec<Replay>> = HashMap::new();
    for replay in replay::list(&host)? {
        if replay.state != replay::State::Done {
            replays.entry(replay.subscription.clone()).or_default().push(replay);
        }
    }
    let view = |progress: Progress| View {
        configured: configured.get(subscription_of(&progress.subscription)).is_some(),
        replays: replays.remove(&progress.subscription).unwrap_or_default(),
        progress,
    };
    let views: Vec<View> = known(&host, &configured)?.into_iter().map(view).collect();
    Ok(Response::ok(&json!({ "subscriptions": views })))
}

/// How far every subscription is, those too that no relay has seen yet.
fn known(host: &Host, configured: &Subscriptions) -> Result<Vec<Progress>, Problem> {
    let seen = progress::list(host)?;
    let is_seen = |name: &str| seen.iter().any(|progress| progress.subscription == name);
    if configured.iter().all(|subscription| is_seen(&subscription.name)) {
        return Ok(seen);
    }
    relay::register(host, configured)?;
    Ok(progress::list(host)?)
}

async fn pause(host: Host, request: Request, paused: bool) -> Result<Response, Problem> {
    let name = request.parameter("name");
    let configured = Subscriptions::from_file()?.of_relay();
    if configured.get(name).is_some() {
        // One that no relay has met yet has no row to pause.
        relay::register(&host, &configured)?;
    }
    if !progress::pause(&host, name, paused)? {
        return Err(Problem::not_found(
            "There is no such subscription. GET /admin/subscriptions lists them.",
        ));
    }
    if !paused {
        bell::ring(&host);
    }
    Ok(Response::ok(&json!({ "subscription": name, "paused": paused })))
}

/// The state of every circuit breaker, as `/health` has it: health knows which there are.
async fn breakers(host: Host, _request: Request) -> Result<Response, Problem> {
    let call = Call::chained(Method::GET, "health", "/health");
    let target = call.target();
    let answer = host.send_within(call, limits::HEALTH_REPORT_TIMEOUT_MS).await?;
    let report: Value = serde_json::from_slice(&answer.body).map_err(|error| Error::Answer {
        target,
        reason: format!("with no report: {error}"),
    })?;
    Ok(Response::ok(&json!({ "breakers": report["breakers"] })))
}
