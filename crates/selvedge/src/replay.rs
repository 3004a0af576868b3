//! Replays: walks over a part of the journal that bring a subscription what it lacks, or build its function's projection anew.
//!
//! One that redelivers has a cursor of its own and changes nothing that is done: of the events on its way it makes those due again
//! that have no done marker and no exception, at a bounded rate; retries, dead letters and order are the relay's as
//! always. One that rebuilds is a subscription of its own for as long as it runs: see [`crate::projection`]. [`crate::relay`] makes the steps, under a lease, so a replay goes on where a relay that died had left it.

use selvedge_events::{Timestamp, TypePattern};
use serde::{Deserialize, Serialize};

use crate::host::{Host, Row, Value};
use crate::{Error, limits};

/// What a replay does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Brings what is missing.
    #[default]
    Redeliver,
    /// Builds the projection of the subscription's function anew, beside the one that readers see until it is through.
    Rebuild,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Redeliver => "redeliver",
            Self::Rebuild => "rebuild",
        }
    }

    fn read(column: &str) -> Result<Self, Error> {
        match column {
            "redeliver" => Ok(Self::Redeliver),
            "rebuild" => Ok(Self::Rebuild),
            _ => Err(Error::UnexpectedRow {
                expected: "a replay's mode",
                found: "another text",
            }),
        }
    }
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the event at this place in the journal.
    Position(i64),
    /// With the first event in the journal that happened at this time or later.
    Time(Timestamp),
}

/// A replay that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Its id.
    pub id: String,
    /// What the request for it was, if the same request may come again.
    pub digest: Option<String>,
    /// The subscription that is to be brought something.
    pub subscription: String,
    /// Where it begins. It ends where the subscription is when it begins: what lies behind that is delivered anyway.
    pub start: Start,
    /// Events of these types, of those that the subscription hears; none: all of them.
    pub types: Vec<TypePattern>,
    /// What it does.
    pub mode: Mode,
    /// The function whose projection a rebuild builds.
    pub function: Option<String>,
    /// How many events it makes due in a second; a rebuild, how many events of the journal it passes.
    pub rate_per_second: u32,
}

/// How a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It goes on.
    Running,
    /// It was cancelled, and can be resumed unless it was a rebuild.
    Cancelled,
    /// It is through.
    Done,
}

impl State {
    fn read(column: &str) -> Result<Self, Error> {
        match column {
            "running" => Ok(Self::Running),
            "cancelled" => Ok(Self::Cancelled),
            "done" => Ok(Self::Done),
            _ => Err(Error::UnexpectedRow {
                expected: "a replay's state",
                found: "another text",
            }),
        }
    }
}

/// A replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// Its id.
    pub id: String,
    /// The subscription that is brought something.
    pub subscription: String,
    /// What it does.
    pub mode: Mode,
    /// How it stands.
    pub state: State,
    /// Events of these types; none: all that the subscription hears.
    pub types: Vec<TypePattern>,
    /// The place in the journal where it began.
    pub from_position: i64,
    /// The place in the journal where it ends.
    pub to_position: i64,
    /// The place in the journal up to which it has looked.
    pub position: i64,
    /// How much of its way lies behind it, in percent.
    pub percent: u8,
    /// How many events it makes due in a second.
    pub rate_per_second: u32,
    /// How many events it found missing and made due.
    pub redelivered: i64,
    /// The generation that a rebuild builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// How many deliveries of a rebuild have to succeed, or be discarded, before readers see it: they failed, and the live
    /// projection has their events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<i64>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last got on or was told something.
    pub changed_at: Timestamp,
    /// What the request for it was.
    #[serde(skip)]
    pub digest: Option<String>,
}

const COLUMNS: &str = "id, subscription, mode, state, types, from_position, to_position,
    COALESCE((SELECT built.cursor FROM subscriptions AS built
        WHERE built.name = replays.subscription || '~' || replays.generation), cursor),
    rate_per_second, redelivered, created_at_ms, changed_at_ms, request_digest, generation,
    CASE WHEN generation IS NOT NULL THEN (SELECT COUNT(*) FROM exceptions AS failed
        WHERE failed.subscription = replays.subscription || '~' || replays.generation AND failed.state <> 'discarded'
            AND NOT EXISTS (SELECT 1 FROM exceptions AS known
                WHERE known.subscription = replays.subscription AND known.position = failed.position)) END";

/// Begins a replay, unless one of this id is there already. `None` when no relay has seen such a subscription yet, or
/// [`limits::REPLAYS_MAX`] are running; for a rebuild also when one of this function is running, or it keeps no projection.
///
/// # Errors
/// What the database fails with.
pub fn create(host: &Host, new: &New) -> Result<Option<Replay>, Error> {
    if let Some(replay) = get(host, &new.id)? {
        return Ok(Some(replay));
    }
    let (first, start) = match new.start {
        Start::Position(position) => ("CAST(? AS INTEGER)", position.max(1)),
        // Behind the journal's end when nothing is that new.
        Start::Time(time) => (
            "COALESCE((SELECT position FROM journal WHERE time_ms >= ? ORDER BY position LIMIT 1),
                 (SELECT MAX(position) FROM journal) + 1, 1)",
            time.unix_ms(),
        ),
    };
    let (projection, allowed) = match new.mode {
        Mode::Redeliver => ("NULL, NULL", ""),
        // A number that was never there before: nothing can be left of its generation.
        Mode::Rebuild => (
            "?, 1 + COALESCE((SELECT MAX(generation) FROM replays WHERE function = ?), 0)",
            "AND EXISTS (SELECT 1 FROM projections WHERE function = ?)
             AND NOT EXISTS (SELECT 1 FROM replays WHERE function = ? AND state = 'running')",
        ),
    };
    let function = || Value::from(new.function.as_deref());
    let of_rebuild = usize::from(new.mode == Mode::Rebuild) * 2;
    let statement = format!(
        "WITH new (name, settled, first) AS (SELECT name, cursor, {first} FROM subscriptions WHERE name = ?)
         INSERT INTO replays (id, request_digest, subscription, mode, state, types, from_position, to_position, cursor,
             rate_per_second, next_at_ms, created_at_ms, changed_at_ms, function, generation)
         SELECT ?, ?, name, ?, 'running', ?, first, settled, first - 1, ?, ?, ?, ?, {projection} FROM new
         WHERE (SELECT COUNT(*) FROM replays WHERE state = 'running') < ? {allowed}
         ON CONFLICT DO NOTHING"
    );
    let now_ms = host.now_ms();
    let types = serde_json::to_string(&new.types).expect("patterns are texts");
    let mut parameters = vec![
        start.into(),
        (*new.subscription).into(),
        (*new.id).into(),
        new.digest.as_deref().into(),
        new.mode.as_str().into(),
        types.into(),
        new.rate_per_second.max(1).into(),
        now_ms.into(),
        now_ms.into(),
        now_ms.into(),
    ];
    parameters.extend(std::iter::repeat_with(function).take(of_rebuild));
    parameters.push(limits::REPLAYS_MAX.into());
    parameters.extend(std::iter::repeat_with(function).take(of_rebuild));
    host.execute(&statement, parameters)?;
    get(host, &new.id)
}

/// The newest replays first, at most [`limits::REPLAYS_LISTED_MAX`].
///
/// # Errors
/// What the database fails with.
pub fn list(host: &Host) -> Result<Vec<Replay>, Error> {
    let statement = format!("SELECT {COLUMNS} FROM replays ORDER BY created_at_ms DESC, id DESC LIMIT ?");
    read(host.execute(&statement, vec![limits::REPLAYS_LISTED_MAX.into()])?)
}

/// The replay of this id.
///
/// # Errors
/// What the database fails with.
pub fn get(host: &Host, id: &str) -> Result<Option<Replay>, Error> {
    let statement = format!("SELECT {COLUMNS} FROM replays WHERE id = ?");
    Ok(read(host.execute(&statement, vec![id.into()])?)?.pop())
}

/// Cancels a running replay: it looks no further. What it made due already is delivered. Of a rebuild nothing stays, and the
/// live projection is what it was.
///
/// # Errors
/// What the database fails with.
pub fn cancel(host: &Host, id: &str) -> Result<Option<Replay>, Error> {
    turn(host, id, ("running", "cancelled"), "")
}

/// Resumes a cancelled replay where it was; a rebuild isn't.
///
/// # Errors
/// What the database fails with.
pub fn resume(host: &Host, id: &str) -> Result<Option<Replay>, Error> {
    turn(host, id, ("cancelled", "running"), "AND mode <> 'rebuild'")
}

/// Ends the lease too, so that a relay that is at it is fenced.
fn turn(host: &Host, id: &str, (from, to): (&str, &str), which: &str) -> Result<Option<Replay>, Error> {
    let statement = format!(
        "UPDATE replays SET state = ?, changed_at_ms = ?, lease_token = NULL, leased_until_ms = 0
         WHERE id = ? AND state = ? {which}"
    );
    let parameters: Vec<Value> = vec![to.into(), host.now_ms().into(), id.into(), from.into()];
    host.execute(&statement, parameters)?;
    get(host, id)
}

fn read(rows: Vec<Row>) -> Result<Vec<Replay>, Error> {
    let replay = |mut row: Row| {
        let (id, subscription) = (row.text()?, row.text()?);
        let (mode, state) = (Mode::read(&row.text()?)?, State::read(&row.text()?)?);
        let types = read_types(&row.text()?)?;
        let (from_position, to_position, position) = (row.integer()?, row.integer()?, row.integer()?);
        Ok(Replay {
            id,
            subscription,
            mode,
            state,
            types,
            from_position,
            to_position,
            position,
            percent: percent(from_position, to_position, position),
            rate_per_second: u32::try_from(row.integer()?).unwrap_or(u32::MAX),
            redelivered: row.integer()?,
            created_at: Timestamp::from_unix_ms(row.integer()?),
            changed_at: Timestamp::from_unix_ms(row.integer()?),
            digest: row.optional_text()?,
            generation: row.optional_integer()?,
            held_back_by: row.optional_integer()?,
        })
    };
    rows.into_iter().map(replay).collect()
}

/// The patterns that a replay's row has.
pub(crate) fn read_types(column: &str) -> Result<Vec<TypePattern>, Error> {
    serde_json::from_str(column).map_err(|_| Error::UnexpectedRow {
        expected: "a list of type patterns",
        found: "another text",
    })
}

/// How much of the way from `from` to `to`, both included, lies behind `position`.
fn percent(from: i64, to: i64, position: i64) -> u8 {
    let (all, behind) = ((to - from).saturating_add(1), (position - from).saturating_add(1));
    if all <= 0 {
        return 100;
    }
    u8::try_from(i128::from(behind.clamp(0, all)) * 100 / i128::from(all)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_what_lies_behind() {
        assert_eq!(
            [percent(1, 200, 0), percent(1, 200, 100), percent(1, 200, 200)],
            [0, 50, 100]
        );
        assert_eq!(percent(10, 10, 9), 0);
        assert_eq!(percent(10, 5, 9), 100, "nothing to do");
        assert_eq!(percent(1, i64::MAX, i64::MAX), 100);
    }
}
