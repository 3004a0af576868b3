//! Projections: what a function keeps of the events that it hears, and how it is built anew while readers keep the old one.
//!
//! Every row of a projection belongs to a [`Generation`]. One of them is live: readers take its rows and no others
//! ([`live`]). A rebuild builds the next one from the journal beside it, as a subscription of its own named
//! `<name>~<generation>`, with a cursor, exceptions and done markers of its own. It follows the live subscription and never
//! overtakes it, so that it is known of every event on its way what became of it in the live projection. When it has brought
//! all that the live one has settled, it takes its place by one statement. What is left of the generation before is removed
//! after that.

use std::fmt;
use std::str::FromStr;

use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};

use crate::http::{Problem, Response};
use crate::{Error, Host, limits};

/// The header by which a delivery says which generation it builds: `1`, or `1 building` before readers see it.
pub const GENERATION: HeaderName = HeaderName::from_static("selvedge-generation");

/// The route pattern of [`clear_path`].
pub(crate) const CLEAR_ROUTE: &str = "/_selvedge/clear/:generation";

/// Where a function removes what is left of a generation. No public route leads there.
pub(crate) fn clear_path(generation: i64) -> String {
    format!("/_selvedge/clear/{generation}")
}

/// Which functions keep a projection, and which generation of it is live.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS projections (
            function TEXT PRIMARY KEY,
            generation INTEGER NOT NULL
        )";

/// Generations that nobody builds or reads any more, and up to where their done markers are gone.
pub(crate) const RETIRED: &str = "CREATE TABLE IF NOT EXISTS retired_generations (
            subscription TEXT NOT NULL,
            generation INTEGER NOT NULL,
            function TEXT NOT NULL,
            collected INTEGER NOT NULL,
            last_position INTEGER NOT NULL,
            retired_at_ms INTEGER NOT NULL,
            PRIMARY KEY (subscription, generation)
        )";

/// A rebuild that begins has a subscription of its own.
pub(crate) const ON_BEGIN: &str = "CREATE TRIGGER IF NOT EXISTS rebuild_begins AFTER INSERT ON replays
        WHEN NEW.mode = 'rebuild' BEGIN
            INSERT INTO subscriptions (name, cursor, lease_token, leased_until_ms, collected, paused, generation, allowed)
            SELECT name || '~' || NEW.generation, NEW.cursor, NULL, 0, NEW.cursor, paused, NEW.generation, NEW.cursor
            FROM subscriptions WHERE name = NEW.subscription;
        END";

/// A rebuild that is through takes the live generation's place. Deliveries to that one that are under way are fenced: their
/// leases are gone, so they are made again for the new one. The live subscription's exceptions stay; of the rebuild's own there
/// are none but those that the live one has too, which counts, and discarded ones, which stay on record.
pub(crate) const ON_SWITCH: &str = "CREATE TRIGGER IF NOT EXISTS rebuild_switches AFTER UPDATE OF state ON replays
        WHEN NEW.mode = 'rebuild' AND OLD.state = 'running' AND NEW.state = 'done' BEGIN
            INSERT INTO retired_generations (subscription, generation, function, collected, last_position, retired_at_ms)
            SELECT name, generation, NEW.function, collected, COALESCE((SELECT MAX(position) FROM journal), 0), NEW.changed_at_ms
            FROM subscriptions WHERE name = NEW.subscription;
            DELETE FROM exceptions WHERE subscription = NEW.subscription || '~' || NEW.generation
                AND position IN (SELECT position FROM exceptions WHERE subscription = NEW.subscription);
            UPDATE exceptions SET subscription = NEW.subscription
            WHERE subscription = NEW.subscription || '~' || NEW.generation;
            UPDATE exceptions SET lease_token = NULL, leased_until_ms = 0
            WHERE subscription = NEW.subscription AND lease_token IS NOT NULL;
            UPDATE subscriptions SET lease_token = NULL, leased_until_ms = 0, generation = NEW.generation,
                collected = (SELECT built.collected FROM subscriptions AS built
                    WHERE built.name = NEW.subscription || '~' || NEW.generation),
                forgotten = (SELECT built.forgotten FROM subscriptions AS built
                    WHERE built.name = NEW.subscription || '~' || NEW.generation)
            WHERE name = NEW.subscription;
            DELETE FROM subscriptions WHERE name = NEW.subscription || '~' || NEW.generation;
            UPDATE projections SET generation = NEW.generation WHERE function = NEW.function;
        END";

/// A rebuild that is cancelled leaves nothing behind that anybody sees.
pub(crate) const ON_CANCEL: &str = "CREATE TRIGGER IF NOT EXISTS rebuild_is_cancelled AFTER UPDATE OF state ON replays
        WHEN NEW.mode = 'rebuild' AND OLD.state = 'running' AND NEW.state = 'cancelled' BEGIN
            INSERT INTO retired_generations (subscription, generation, function, collected, last_position, retired_at_ms)
            SELECT NEW.subscription, generation, NEW.function, collected, COALESCE((SELECT MAX(position) FROM journal), 0),
                NEW.changed_at_ms
            FROM subscriptions WHERE name = NEW.subscription || '~' || NEW.generation;
            DELETE FROM exceptions WHERE subscription = NEW.subscription || '~' || NEW.generation;
            DELETE FROM subscriptions WHERE name = NEW.subscription || '~' || NEW.generation;
        END";

/// A generation of a function's projection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation {
    /// Its number: 0 at first, one that was never there before with every rebuild.
    pub number: i64,
    /// Whether it is being built, and nobody reads it yet. What the events lead to outside of the projection has happened
    /// then, and must not happen again.
    pub is_being_built: bool,
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let building = if self.is_being_built { " building" } else { "" };
        write!(formatter, "{}{building}", self.number)
    }
}

impl FromStr for Generation {
    type Err = InvalidGeneration;

    fn from_str(text: &str) -> Result<Self, InvalidGeneration> {
        let (number, is_being_built) = match text.strip_suffix(" building") {
            Some(number) => (number, true),
            None => (text, false),
        };
        match number.parse() {
            Ok(number) if number >= 0 => Ok(Self { number, is_being_built }),
            _ => Err(InvalidGeneration),
        }
    }
}

/// A text names no [`Generation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation is a number such as 1, or `1 building`")]
pub struct InvalidGeneration;

/// The tables of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Each table, with the columns by which its rows are told apart, such as `event_id, source`. Each has a column
    /// `generation`, and an index that begins with it.
    pub tables: &'static [(&'static str, &'static str)],
}

/// The name under which a subscription's deliveries to a generation are marked as done, and by which a generation that is
/// being built is a subscription.
///
/// ```
/// use selvedge::projection::name_of;
///
/// assert_eq!(name_of("analytics", 0), "analytics");
/// assert_eq!(name_of("analytics", 2), "analytics~2");
/// ```
pub fn name_of(subscription: &str, generation: i64) -> String {
    if generation == 0 {
        return subscription.to_owned();
    }
    format!("{subscription}~{generation}")
}

/// The subscription of subscriptions.toml that a [`name_of`] belongs to.
///
/// ```
/// assert_eq!(selvedge::projection::subscription_of("analytics~2"), "analytics");
/// ```
pub fn subscription_of(name: &str) -> &str {
    name.split_once('~').map_or(name, |(subscription, _)| subscription)
}

/// Whether this is the name of a generation that is being built.
pub fn is_being_built(name: &str) -> bool {
    name.contains('~')
}

/// The number of a function's live generation, as SQL for the statements that read its projection.
///
/// ```
/// let rows = format!("SELECT title FROM titles WHERE generation = {}", selvedge::projection::live("titles"));
/// # assert!(rows.contains("'titles'"));
/// ```
pub fn live(function: &'static str) -> String {
    format!("COALESCE((SELECT projections.generation FROM projections WHERE projections.function = '{function}'), 0)")
}

/// A function's live generation.
///
/// # Errors
/// What the database fails with.
pub fn live_generation(host: &Host, function: &str) -> Result<Generation, Error> {
    let statement = "SELECT generation FROM projections WHERE function = ?";
    let row = host.execute(statement, vec![function.into()])?.pop();
    Ok(Generation {
        number: row.map_or(Ok(0), |mut row| row.integer())?,
        is_being_built: false,
    })
}

/// What a function answers that removed rows of a retired generation.
#[derive(Serialize, Deserialize)]
pub(crate) struct Cleared {
    /// Whether there is nothing left of it.
    pub(crate) all: bool,
}

/// Removes some rows of a retired generation, and says whether that was all. The live one's are left alone.
pub(crate) fn clear(
    host: &Host,
    function: &str,
    projection: Option<&Projection>,
    generation: &str,
) -> Result<Response, Problem> {
    let Ok(number) = generation.parse::<i64>() else {
        return Err(Problem::bad_request("A generation is a number."));
    };
    if live_generation(host, function)?.number == number {
        let detail = "This generation is live: nothing of it may go.";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let mut all = true;
    for (table, key) in projection.into_iter().flat_map(|projection| projection.tables) {
        let statement = format!(
            "DELETE FROM {table} WHERE generation = ? AND ({key}) IN (
                 SELECT {key} FROM {table} WHERE generation = ? LIMIT ?) RETURNING 1"
        );
        let parameters = vec![number.into(), number.into(), limits::CLEAR_ROWS_MAX.into()];
        all &= host.execute(&statement, parameters)?.len() < limits::CLEAR_ROWS_MAX as usize;
    }
    Ok(Response::ok(&Cleared { all }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_read_as_it_was_written() {
        for number in [0, 1, i64::MAX] {
            for is_being_built in [false, true] {
                let generation = Generation { number, is_being_built };
                assert_eq!(generation.to_string().parse(), Ok(generation));
            }
        }
        for text in [
            "",
            "building",
            " building",
            "-1",
            "1  building",
            "1 built",
            "x",
            "9223372036854775808",
        ] {
            assert_eq!(text.parse::<Generation>(), Err(InvalidGeneration), "{text}");
        }
    }
}
