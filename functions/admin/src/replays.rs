//! Replays: begun, looked at, cancelled, resumed.

use selvedge::http::{FieldProblem, Problem, Request, Response, StatusCode, header};
use selvedge::idempotency::Key;
use selvedge::replay::{self, Mode, New, Replay, Start, State};
use selvedge::subscription::Subscriptions;
use selvedge::{Host, Timestamp, TypePattern, bell, limits, relay};
use serde::Deserialize;
use serde_json::json;

use crate::dead_letters::checked_rate;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewReplay {
    subscription: String,
    from_position: Option<i64>,
    from_time: Option<Timestamp>,
    #[serde(default)]
    types: Vec<TypePattern>,
    #[serde(default)]
    mode: Mode,
    rate_per_second: Option<u32>,
}

/// Begins a replay; the relay makes its steps. The same `Idempotency-Key` begins one once.
pub async fn create(host: Host, request: Request) -> Result<Response, Problem> {
    let wanted: NewReplay = request.json()?;
    let key = Key::of(&request, "/admin")?;
    let subscriptions = Subscriptions::from_file()?.of_journal();
    let new = checked(&host, wanted, key.as_ref(), &subscriptions)?;
    relay::register(&host, &subscriptions)?;
    let Some(replay) = replay::create(&host, &new)? else {
        let max = limits::REPLAYS_MAX;
        return Err(Problem::conflict(format!(
            "{max} replays are running, and no more may. Wait for one to end, or cancel one."
        )));
    };
    if replay.digest != new.digest {
        return Err(Problem::key_reused());
    }
    bell::ring(&host);
    let location = format!("/admin/replay/{}", replay.id);
    Ok(Response::json(StatusCode::ACCEPTED, &replay).header(header::LOCATION, location))
}

fn checked(host: &Host, wanted: NewReplay, key: Option<&Key>, known: &Subscriptions) -> Result<New, Problem> {
    let mut problems = Vec::new();
    if known.get(&wanted.subscription).is_none() {
        let detail = "is no subscription of subscriptions.toml; GET /admin/subscriptions lists them";
        problems.push(FieldProblem::new("subscription", detail));
    }
    let start = match (wanted.from_position, wanted.from_time) {
        (Some(position), None) if position >= 1 => Start::Position(position),
        (None, Some(time)) => Start::Time(time),
        _ => {
            let detail = "say where to begin: either `fromPosition`, from 1 on, or `fromTime`";
            problems.push(FieldProblem::new("fromPosition", detail));
            Start::Position(1)
        }
    };
    if wanted.types.len() > limits::REPLAY_TYPES_MAX {
        let detail = format!("may be {} patterns at most", limits::REPLAY_TYPES_MAX);
        problems.push(FieldProblem::new("types", detail));
    }
    let rate_per_second = checked_rate(wanted.rate_per_second, &mut problems);
    Problem::refuse_any(problems)?;
    Ok(New {
        id: key.map_or_else(|| host.new_id(), Key::entity_id),
        digest: key.map(|key| key.digest().to_owned()),
        subscription: wanted.subscription,
        start,
        types: wanted.types,
        mode: wanted.mode,
        rate_per_second,
    })
}

/// The newest replays first.
pub async fn list(host: Host, _request: Request) -> Result<Response, Problem> {
    Ok(Response::ok(&json!({ "replays": replay::list(&host)? })))
}

/// How far a replay is.
pub async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    found(replay::get(&host, request.parameter("id"))?)
}

/// Cancels a replay. Doing so again changes nothing.
pub async fn cancel(host: Host, request: Request) -> Result<Response, Problem> {
    not_done(replay::cancel(&host, request.parameter("id"))?)
}

/// Lets a cancelled replay go on where it was. Doing so again changes nothing.
pub async fn resume(host: Host, request: Request) -> Result<Response, Problem> {
    let resumed = not_done(replay::resume(&host, request.parameter("id"))?)?;
    bell::ring(&host);
    Ok(resumed)
}

fn not_done(replay: Option<Replay>) -> Result<Response, Problem> {
    match replay {
        Some(Replay { state: State::Done, .. }) => Err(Problem::conflict(
            "This replay is through. Begin a new one where it is needed.",
        )),
        other => found(other),
    }
}

fn found(replay: Option<Replay>) -> Result<Response, Problem> {
    match replay {
        Some(replay) => Ok(Response::ok(&replay)),
        None => Err(Problem::not_found(
            "There is no such replay. GET /admin/replay lists the newest.",
        )),
    }
}
