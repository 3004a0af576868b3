//! Dead letters: looked at, redriven, discarded.

use std::str::FromStr;

use selvedge::dead_letter::{self, Discarded, Filter, Id, Selection, State};
use selvedge::http::{FieldProblem, Problem, Request, Response, StatusCode};
use selvedge::{Host, Timestamp, bell, limits};
use serde::Deserialize;
use serde_json::json;

/// A page of dead letters. `after` is the id of the last one of the page before.
pub async fn list(host: Host, request: Request) -> Result<Response, Problem> {
    let limit = request.page_items()?;
    let after: Option<Id> = parameter(
        &request,
        "after",
        "the id of a dead letter: take `next` of the page before",
    )?;
    let state = match request.query("state").as_deref() {
        None | Some("dead") => State::Dead,
        Some("discarded") => State::Discarded,
        Some(_) => return Err(Problem::bad_request("`state` must be `dead` or `discarded`.")),
    };
    let time = "a time such as 2026-01-31T12:00:00Z";
    let filter = Filter {
        subscription: request.query("subscription").map(String::from),
        event_type: parameter(
            &request,
            "type",
            "an event's type, whose parts may be `*`: todos.task.*",
        )?,
        reason: request.query("reason").map(String::from),
        from: parameter(&request, "from", time)?,
        to: parameter(&request, "to", time)?,
    };
    // One more than asked for tells whether there is a next page.
    let mut letters = dead_letter::list(&host, state, &filter, after.as_ref(), limit + 1)?;
    let has_next = letters.len() > limit as usize;
    letters.truncate(limit as usize);
    let next = letters.last().filter(|_| has_next).map(|letter| letter.id.clone());
    Ok(Response::ok(&json!({ "deadLetters": letters, "next": next })))
}

/// A query parameter that isn't a text.
fn parameter<T: FromStr>(request: &Request, name: &str, expected: &str) -> Result<Option<T>, Problem> {
    let Some(text) = request.query(name) else {
        return Ok(None);
    };
    let value = text.parse().map(Some);
    value.map_err(|_| Problem::bad_request(format!("`{name}` must be {expected}.")))
}

/// One dead letter, with its event.
pub async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    let found = match request.parameter("id").parse::<Id>() {
        Ok(id) => dead_letter::get(&host, &id)?,
        Err(_) => None,
    };
    let Some((letter, record)) = found else {
        return Err(Problem::not_found(
            "There is no such dead letter: it was redriven meanwhile, or never was one.",
        ));
    };
    Ok(Response::ok(&json!({ "deadLetter": letter, "event": record.event })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Redrive {
    ids: Option<Vec<Id>>,
    filter: Option<Filter>,
    after: Option<Id>,
    rate_per_second: Option<u32>,
    start_at: Option<Timestamp>,
}

/// Makes retries of dead letters that there are now, and says how to go on where there are more than one call takes up.
pub async fn redrive(host: Host, request: Request) -> Result<Response, Problem> {
    let Redrive {
        ids,
        filter,
        after,
        rate_per_second,
        start_at,
    } = request.json()?;
    let mut problems = Vec::new();
    let rate = checked_rate(rate_per_second, &mut problems);
    let now_ms = host.now_ms();
    let start_ms = start_at.map_or(now_ms, |start| start.unix_ms().max(now_ms));
    if start_ms > now_ms + limits::REDRIVE_AHEAD_MS_MAX {
        problems.push(FieldProblem::new(
            "startAt",
            "must be a time within the next seven days",
        ));
    }
    let selection = checked_selection(ids, filter, after, &mut problems);
    Problem::refuse_any(problems)?;

    let taken = dead_letter::redrive(&host, &selection, rate, start_ms)?;
    if !taken.is_empty() {
        bell::ring(&host);
    }
    let due_at_ms = |place: usize| start_ms + i64::try_from(place).unwrap_or(0) * 1_000 / i64::from(rate);
    let mut answer = json!({ "redriven": taken.len(), "ratePerSecond": rate });
    if let Some(last) = taken.len().checked_sub(1) {
        answer["lastDueAt"] = json!(Timestamp::from_unix_ms(due_at_ms(last)));
    }
    if let Some(mut rest) = rest(&selection, &taken, now_ms) {
        rest["ratePerSecond"] = json!(rate);
        rest["startAt"] = json!(Timestamp::from_unix_ms(due_at_ms(taken.len())));
        answer["continue"] = rest;
    }
    add_left_out(&mut answer, &selection, &taken);
    Ok(Response::json(StatusCode::ACCEPTED, &answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Discard {
    ids: Option<Vec<Id>>,
    filter: Option<Filter>,
    after: Option<Id>,
    reason: String,
    by: Option<String>,
}

/// Discards dead letters that there are now, and keeps when, why and, if it was said, by whom.
pub async fn discard(host: Host, request: Request) -> Result<Response, Problem> {
    let Discard {
        ids,
        filter,
        after,
        reason,
        by,
    } = request.json()?;
    let mut problems = Vec::new();
    for (field, text) in [("reason", Some(&reason)), ("by", by.as_ref())] {
        if text.is_some_and(|text| text.trim().is_empty() || text.len() > limits::REMARK_BYTES_MAX) {
            let detail = format!("must be a text of 1 to {} bytes", limits::REMARK_BYTES_MAX);
            problems.push(FieldProblem::new(field, detail));
        }
    }
    let selection = checked_selection(ids, filter, after, &mut problems);
    Problem::refuse_any(problems)?;

    let at = Timestamp::from_unix_ms(host.now_ms());
    let record = Discarded { at, by, reason };
    let taken = dead_letter::discard(&host, &selection, &record)?;
    let mut answer = json!({ "discarded": taken.len() });
    if let Some(mut rest) = rest(&selection, &taken, at.unix_ms()) {
        rest["reason"] = json!(record.reason);
        rest["by"] = json!(record.by);
        answer["continue"] = rest;
    }
    add_left_out(&mut answer, &selection, &taken);
    Ok(Response::ok(&answer))
}

/// How many events become due in a second.
pub fn checked_rate(rate: Option<u32>, problems: &mut Vec<FieldProblem>) -> u32 {
    let (rate, max) = (
        rate.unwrap_or(limits::REDRIVE_PER_SECOND),
        limits::REDRIVE_PER_SECOND_MAX,
    );
    if !(1..=max).contains(&rate) {
        problems.push(FieldProblem::new(
            "ratePerSecond",
            format!("must be a whole number from 1 to {max}"),
        ));
    }
    rate
}

fn checked_selection(
    ids: Option<Vec<Id>>,
    filter: Option<Filter>,
    after: Option<Id>,
    problems: &mut Vec<FieldProblem>,
) -> Selection {
    match (ids, filter) {
        (Some(ids), None) => {
            let max = limits::REDRIVE_IDS_MAX;
            if !(1..=max).contains(&ids.len()) {
                problems.push(FieldProblem::new(
                    "ids",
                    format!("must be 1 to {max} ids of dead letters"),
                ));
            }
            if after.is_some() {
                problems.push(FieldProblem::new("after", "goes with `filter` only"));
            }
            Selection::Ids(ids)
        }
        (None, Some(filter)) => Selection::Matching(filter, after),
        (None, None) | (Some(_), Some(_)) => {
            let detail = "say either `ids` or `filter`; an empty filter, {}, means all dead letters";
            problems.push(FieldProblem::new("ids", detail));
            Selection::Ids(Vec::new())
        }
    }
}

/// The body of the call that takes up the rest, where one call isn't enough. It means letters that were dead when this
/// one was made, and none that fails meanwhile.
fn rest(selection: &Selection, taken: &[Id], now_ms: i64) -> Option<serde_json::Value> {
    let (Selection::Matching(filter, _), true) = (selection, taken.len() == limits::REDRIVE_LETTERS_MAX as usize)
    else {
        return None;
    };
    let snapshot = Timestamp::from_unix_ms(now_ms + 1);
    let filter = Filter {
        to: Some(filter.to.map_or(snapshot, |to| to.min(snapshot))),
        ..filter.clone()
    };
    Some(json!({ "filter": filter, "after": taken.last() }))
}

/// Names the ids that were asked for and weren't dead letters, or no longer.
fn add_left_out(answer: &mut serde_json::Value, selection: &Selection, taken: &[Id]) {
    if let Selection::Ids(ids) = selection {
        let left_out: Vec<&Id> = ids.iter().filter(|id| taken.binary_search(id).is_err()).collect();
        answer["notDead"] = json!(left_out);
    }
}
