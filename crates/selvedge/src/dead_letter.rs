//! Dead letters: events that a subscription couldn't be brought. They stay until someone decides what becomes of them:
//! they are redriven, or discarded with a reason.
//!
//! Both are one UPDATE over the letters that are dead at that moment. So a redrive is a snapshot (what fails again
//! meanwhile isn't taken up a second time), and of two operators who take the same letter one finds it gone.

use std::fmt;
use std::str::FromStr;

use selvedge_events::{Timestamp, TypePattern};
use serde::{Deserialize, Serialize};

use crate::host::{Host, Row, Value, placeholders};
use crate::journal::{self, Record};
use crate::{Error, limits, mutant};

/// What a dead letter is called: its subscription and its event's place in the journal, `analytics:1234`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The subscription that the event couldn't be brought to.
    pub subscription: String,
    /// The event's place in the journal.
    pub position: i64,
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.subscription, self.position)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (subscription, position) = text.rsplit_once(':').ok_or(InvalidId)?;
        let position = position.parse().ok().filter(|position| *position > 0);
        match position {
            Some(position) if (1..=limits::SUBSCRIPTION_NAME_BYTES_MAX).contains(&subscription.len()) => Ok(Self {
                subscription: subscription.to_owned(),
                position,
            }),
            _ => Err(InvalidId),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that names no dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a dead letter's id, such as analytics:1234")]
pub struct InvalidId;

/// What was decided about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing yet.
    Dead,
    /// It was discarded: nothing brings its event again.
    Discarded,
}

impl State {
    fn column(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

/// Which dead letters are meant: those that fit everything that is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Those of this subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Those whose event is of such a type.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub event_type: Option<TypePattern>,
    /// Those whose reason has this text in it, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Those that failed last at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Those that failed last before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// A choice of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Ids(Vec<Id>),
    /// All that fit the filter and come after this one.
    Matching(Filter, Option<Id>),
}

/// An event that was given up on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// What it is called.
    pub id: Id,
    /// The subscription that it was for.
    pub subscription: String,
    /// The type of its event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The source of its event.
    pub source: String,
    /// The id of its event.
    pub event_id: String,
    /// The entity that its event happened to.
    pub stream: String,
    /// How often it was delivered since it was last redriven, or ever.
    pub attempts: i64,
    /// How often it was delivered before that.
    pub earlier_attempts: i64,
    /// How often it was redriven.
    pub redrives: i64,
    /// What went wrong the last time.
    pub reason: String,
    /// When it failed first.
    pub first_failed_at: Timestamp,
    /// When it failed last.
    pub last_failed_at: Timestamp,
    /// The `traceparent` of the request that it came from.
    pub trace: Option<String>,
    /// Who discarded it when and why, if someone did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded: Option<Discarded>,
}

/// The record of a discarded dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Discarded {
    /// When it was discarded.
    pub at: Timestamp,
    /// Who did it, as they said.
    pub by: Option<String>,
    /// Why.
    pub reason: String,
}

const COLUMNS: &str = "exceptions.subscription, exceptions.position, journal.type, journal.source, journal.id, \
    journal.stream, exceptions.attempt, exceptions.earlier_attempts, exceptions.redrives, exceptions.reason, \
    exceptions.first_at_ms, exceptions.last_at_ms, exceptions.trace, exceptions.discarded_at_ms, \
    exceptions.discarded_by, exceptions.discard_reason";

/// The dead letters in this state that fit the filter, after one of them, by subscription and position.
///
/// # Errors
/// What the database fails with.
pub fn list(
    host: &Host,
    state: State,
    filter: &Filter,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let (condition, mut parameters) = matching(state, filter, after);
    let statement = format!(
        "SELECT {COLUMNS} FROM exceptions JOIN journal ON journal.position = exceptions.position
         WHERE {condition} ORDER BY exceptions.subscription, exceptions.position LIMIT ?"
    );
    parameters.push(limit.into());
    let rows = host.execute(&statement, parameters)?;
    rows.into_iter().map(|mut row| dead_letter(&mut row)).collect()
}

/// A dead letter, discarded or not, with its event; `None` when there is none of this name.
///
/// # Errors
/// What the database fails with.
pub fn get(host: &Host, id: &Id) -> Result<Option<(DeadLetter, Record)>, Error> {
    let statement = format!(
        "SELECT {COLUMNS}, {} FROM exceptions JOIN journal ON journal.position = exceptions.position
         WHERE exceptions.subscription = ? AND exceptions.position = ? AND exceptions.state IN ('dead', 'discarded')",
        journal::COLUMNS
    );
    let rows = host.execute(&statement, vec![(*id.subscription).into(), id.position.into()])?;
    let both = |mut row: Row| Ok((dead_letter(&mut row)?, Record::from_row(&mut row)?));
    rows.into_iter().next().map(both).transpose()
}

/// Makes retries of the chosen dead letters, in their order, `per_second` of them in a second from `start_ms` on. Their
/// attempts start anew. Gives those that were taken: at most [`limits::REDRIVE_LETTERS_MAX`], by subscription and
/// position.
///
/// # Errors
/// What the database fails with; then none was taken.
pub fn redrive(host: &Host, selection: &Selection, per_second: u32, start_ms: i64) -> Result<Vec<Id>, Error> {
    let (chosen, mut parameters) = chosen(selection);
    let statement = format!(
        "WITH {chosen}
         UPDATE exceptions SET state = 'retry', due_at_ms = ? + chosen.place * 1000 / ?, attempt = 0,
             earlier_attempts = earlier_attempts + attempt, redrives = redrives + 1,
             lease_token = NULL, leased_until_ms = 0
         FROM chosen WHERE exceptions.subscription = chosen.subscription AND exceptions.position = chosen.position
             AND exceptions.state = 'dead'
         RETURNING exceptions.subscription, exceptions.position"
    );
    parameters.extend([start_ms.into(), per_second.max(1).into()]);
    let statement = mutant::cut("redrive_keeps_attempts", statement, " attempt = 0,");
    taken(host.execute(&statement, parameters)?)
}

/// Discards the chosen dead letters: their events are never brought again, and the record stays. Gives those that were
/// taken: at most [`limits::REDRIVE_LETTERS_MAX`], by subscription and position.
///
/// # Errors
/// What the database fails with; then none was taken.
pub fn discard(host: &Host, selection: &Selection, record: &Discarded) -> Result<Vec<Id>, Error> {
    let (chosen, mut parameters) = chosen(selection);
    let statement = format!(
        "WITH {chosen}
         UPDATE exceptions SET state = 'discarded', discarded_at_ms = ?, discarded_by = ?, discard_reason = ?
         FROM chosen WHERE exceptions.subscription = chosen.subscription AND exceptions.position = chosen.position
             AND exceptions.state = 'dead'
         RETURNING exceptions.subscription, exceptions.position"
    );
    parameters.extend([
        record.at.unix_ms().into(),
        record.by.as_deref().into(),
        (*record.reason).into(),
    ]);
    taken(host.execute(&statement, parameters)?)
}

/// The common table expression `chosen` of the dead letters of a selection, each with its place among them.
fn chosen(selection: &Selection) -> (String, Vec<Value>) {
    let (condition, mut parameters) = match selection {
        Selection::Matching(filter, after) => matching(State::Dead, filter, after.as_ref()),
        Selection::Ids(ids) if ids.is_empty() => ("1 = 0".to_owned(), Vec::new()),
        Selection::Ids(ids) => {
            let condition = format!(
                "exceptions.state = 'dead' AND (exceptions.subscription, exceptions.position) IN (VALUES {})",
                placeholders(ids.len(), 2)
            );
            let parameters = ids
                .iter()
                .flat_map(|id| [(*id.subscription).into(), id.position.into()]);
            (condition, parameters.collect())
        }
    };
    parameters.push(limits::REDRIVE_LETTERS_MAX.into());
    let expression = format!(
        "chosen (subscription, position, place) AS (
             SELECT subscription, position, ROW_NUMBER() OVER (ORDER BY subscription, position) - 1 FROM (
                 SELECT exceptions.subscription AS subscription, exceptions.position AS position
                 FROM exceptions JOIN journal ON journal.position = exceptions.position
                 WHERE {condition} ORDER BY exceptions.subscription, exceptions.position LIMIT ?) AS bounded)"
    );
    (expression, parameters)
}

/// The condition on `exceptions` joined with `journal` that a letter fits a filter.
fn matching(state: State, filter: &Filter, after: Option<&Id>) -> (String, Vec<Value>) {
    let mut conditions = vec!["exceptions.state = ?"];
    let mut parameters: Vec<Value> = vec![state.column().into()];
    let mut add = |condition, parameter: Value| {
        conditions.push(condition);
        parameters.push(parameter);
    };
    if let Some(subscription) = &filter.subscription {
        add("exceptions.subscription = ?", (**subscription).into());
    }
    // `*` alone hears everything, also types that don't follow the rule for names.
    if let Some(pattern) = filter.event_type.as_ref().filter(|pattern| pattern.as_str() != "*") {
        let like = escaped(pattern.as_str()).replace('*', "%");
        add("journal.type LIKE ? ESCAPE '\\'", like.into());
    }
    if let Some(reason) = &filter.reason {
        let like = format!("%{}%", escaped(reason));
        add("exceptions.reason LIKE ? ESCAPE '\\'", like.into());
    }
    if let Some(from) = filter.from {
        add("exceptions.last_at_ms >= ?", from.unix_ms().into());
    }
    if let Some(to) = filter.to {
        add("exceptions.last_at_ms < ?", to.unix_ms().into());
    }
    if let Some(after) = after {
        add(
            "(exceptions.subscription, exceptions.position) > (?, ?)",
            (*after.subscription).into(),
        );
        parameters.push(after.position.into());
    }
    (conditions.join(" AND "), parameters)
}

/// A text that stands for itself in a LIKE pattern.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn taken(rows: Vec<Row>) -> Result<Vec<Id>, Error> {
    let id = |mut row: Row| {
        Ok(Id {
            subscription: row.text()?,
            position: row.integer()?,
        })
    };
    let mut taken: Vec<Id> = rows.into_iter().map(id).collect::<Result<_, Error>>()?;
    taken.sort_unstable();
    Ok(taken)
}

fn dead_letter(row: &mut Row) -> Result<DeadLetter, Error> {
    let (subscription, position) = (row.text()?, row.integer()?);
    Ok(DeadLetter {
        id: Id {
            subscription: subscription.clone(),
            position,
        },
        subscription,
        event_type: row.text()?,
        source: row.text()?,
        event_id: row.text()?,
        stream: row.text()?,
        attempts: row.integer()?,
        earlier_attempts: row.integer()?,
        redrives: row.integer()?,
        reason: row.text()?,
        first_failed_at: Timestamp::from_unix_ms(row.integer()?),
        last_failed_at: Timestamp::from_unix_ms(row.integer()?),
        trace: row.optional_text()?,
        discarded: discarded(row.optional_integer()?, row.optional_text()?, row.optional_text()?),
    })
}

fn discarded(at_ms: Option<i64>, by: Option<String>, reason: Option<String>) -> Option<Discarded> {
    at_ms.map(|at_ms| Discarded {
        at: Timestamp::from_unix_ms(at_ms),
        by,
        reason: reason.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_anything_else_is_none() {
        let id: Id = "todo-list:12".parse().expect("an id");
        assert_eq!(
            (&*id.subscription, id.position, id.to_string()),
            ("todo-list", 12, "todo-list:12".to_owned())
        );
        let long = format!("{}:1", "a".repeat(65));
        for text in [
            "",
            ":",
            "a:",
            ":1",
            "a",
            "a:0",
            "a:-1",
            "a:1.5",
            "a:x",
            "a:9223372036854775808",
            &long,
        ] {
            assert_eq!(text.parse::<Id>(), Err(InvalidId), "{text}");
        }
    }

    #[test]
    fn what_means_something_in_a_pattern_is_escaped() {
        assert_eq!(escaped(r"50%_of\it"), r"50\%\_of\\it");
    }
}
