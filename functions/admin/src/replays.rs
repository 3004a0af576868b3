//! Replays: begun, looked at, cancelled, resumed.

use selvedge::http::{FieldProblem, Problem, Request, Response, StatusCode, header};
use selvedge::idempotency::Key;
use selvedge::replay::{self, Mode, New, Replay, Start, State};
use selvedge::subscription::{Subscriptions, Target};
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
    let all = Subscriptions::from_file()?;
    if all.clone().of_kafka().get(&wanted.subscription).is_some() {
        let detail = "hears a topic of Kafka: to have it hear records again, set the offsets of its group back";
        return Err(Problem::invalid(vec![FieldProblem::new("subscription", detail)]));
    }
    let subscriptions = all.of_journal();
    let new = checked(&host, wanted, key.as_ref(), &subscriptions)?;
    relay::register(&host, &subscriptions)?;
    let Some(replay) = replay::create(&host, &new)? else {
        return Err(no_room(&new));
    };
    if replay.digest != new.digest {
        return Err(Problem::key_reused());
    }
    bell::ring(&host);
    let location = format!("/admin/replay/{}", replay.id);
    Ok(Response::json(StatusCode::ACCEPTED, &replay).header(header::LOCATION, location))
}

fn no_room(new: &New) -> Problem {
    let max = limits::REPLAYS_MAX;
    Problem::conflict(match &new.function {
        None => format!("{max} replays are running, and no more may. Wait for one to end, or cancel one."),
        Some(function) => format!(
            "{function} keeps no projection that can be built anew, or it is being built anew now, or {max} replays are \
             running. GET /admin/replay shows them: wait for one to end, or cancel one."
        ),
    })
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
        (None, None) if wanted.mode == Mode::Rebuild => Start::Position(1),
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
    let function = match wanted.mode {
        Mode::Redeliver => None,
        Mode::Rebuild => function_of(&wanted, known, &mut problems),
    };
    let rate_per_second = checked_rate(wanted.rate_per_second, &mut problems);
    Problem::refuse_any(problems)?;
    Ok(New {
        id: key.map_or_else(|| host.new_id(), Key::entity_id),
        digest: key.map(|key| key.digest().to_owned()),
        subscription: wanted.subscription,
        start,
        types: wanted.types,
        mode: wanted.mode,
        function,
        rate_per_second,
    })
}

/// The function whose projection is to be built anew: all that it hears must come by this subscription.
fn function_of(wanted: &NewReplay, known: &Subscriptions, problems: &mut Vec<FieldProblem>) -> Option<String> {
    if !wanted.types.is_empty() {
        let detail = "can't be chosen for a rebuild: it brings all that the subscription hears";
        problems.push(FieldProblem::new("types", detail));
    }
    let target = &known.get(&wanted.subscription)?.target;
    let Target::Function { component } = target else {
        let detail = "has a target outside of the application: there is no projection of ours to build anew";
        problems.push(FieldProblem::new("subscription", detail));
        return None;
    };
    if known.iter().filter(|other| other.target == *target).count() > 1 {
        let detail = format!("isn't the only one for {component}: its projection can't be built anew from one of them");
        problems.push(FieldProblem::new("subscription", detail));
    }
    Some(component.clone())
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
    let resumed = replay::resume(&host, request.parameter("id"))?;
    let is_gone = |replay: &Replay| replay.mode == Mode::Rebuild && replay.state == State::Cancelled;
    if resumed.as_ref().is_some_and(is_gone) {
        let detail = "This rebuild was cancelled, and what it had built is gone. Begin a new one.";
        return Err(Problem::conflict(detail));
    }
    let resumed = not_done(resumed)?;
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
