//! Analytics: how many events of which type happened on which day.
//!
//! Each event is counted once: the row that says that it was counted and the count itself are changed by one statement,
//! the second through a trigger. Reads take the counts as they are and count nothing. All of it can be counted anew beside
//! that, as the next generation of the projection.

use selvedge::host::placeholders;
use selvedge::http::{Problem, Request, Response};
use selvedge::projection::{self, Generation, Projection};
use selvedge::schema::Tables;
use selvedge::{Error, Event, Function, Host, Outcome, Timestamp};
use serde::Serialize;
use serde_json::json;

selvedge::export!(function);

const TABLES: Tables = Tables {
    owner: "analytics",
    migrations: &[&[
        "CREATE TABLE IF NOT EXISTS analytics_counted (
            generation INTEGER NOT NULL,
            event_id TEXT NOT NULL,
            source TEXT NOT NULL,
            type TEXT NOT NULL,
            day TEXT NOT NULL,
            PRIMARY KEY (generation, event_id, source)
        ) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS analytics_counts (
            generation INTEGER NOT NULL,
            type TEXT NOT NULL,
            day TEXT NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (generation, type, day)
        )",
        "CREATE TRIGGER IF NOT EXISTS analytics_count AFTER INSERT ON analytics_counted BEGIN
            INSERT INTO analytics_counts (generation, type, day, count) VALUES (NEW.generation, NEW.type, NEW.day, 1)
            ON CONFLICT (generation, type, day) DO UPDATE SET count = count + 1;
        END",
        "INSERT INTO projections (function, generation) VALUES ('analytics', 0) ON CONFLICT DO NOTHING",
    ]],
};

const PROJECTION: Projection = Projection {
    tables: &[
        ("analytics_counted", "event_id, source"),
        ("analytics_counts", "type, day"),
    ],
};

/// Types and days on one answer.
const COUNTS_MAX: u32 = 1_000;

fn function() -> Function {
    Function::new("analytics")
        .publishes(&[])
        .tables(TABLES)
        .get("/analytics/events", counts)
        .projection(PROJECTION, count)
}

async fn count(host: Host, generation: Generation, events: Vec<Event>) -> Result<Vec<Outcome>, Error> {
    let statement = format!(
        "INSERT INTO analytics_counted (generation, event_id, source, type, day) VALUES {} ON CONFLICT DO NOTHING",
        placeholders(events.len(), 5)
    );
    let row = |event: &Event| {
        [
            generation.number.into(),
            (*event.id).into(),
            (*event.source).into(),
            (*event.event_type).into(),
            day_of(event).into(),
        ]
    };
    host.execute(&statement, events.iter().flat_map(row).collect())?;
    Ok(vec![Outcome::Success; events.len()])
}

/// The day of an event in UTC: `2026-01-31`.
fn day_of(event: &Event) -> String {
    let mut text = event.time.unwrap_or(Timestamp::from_unix_ms(0)).to_string();
    text.truncate("2026-01-31".len());
    text
}

#[derive(Serialize)]
struct Count {
    #[serde(rename = "type")]
    event_type: String,
    day: String,
    count: i64,
}

async fn counts(host: Host, request: Request) -> Result<Response, Problem> {
    let event_type = request.query("type").map(String::from);
    let day = request.query("day").map(String::from);
    if day
        .as_ref()
        .is_some_and(|day| format!("{day}T00:00:00Z").parse::<Timestamp>().is_err())
    {
        return Err(Problem::bad_request("`day` must be a day such as 2026-01-31."));
    }
    let statement = format!(
        "SELECT type, day, count, SUM(count) OVER () FROM analytics_counts
         WHERE generation = {} AND (type = ? OR ? IS NULL) AND (day = ? OR ? IS NULL) ORDER BY day DESC, type LIMIT ?",
        projection::live("analytics")
    );
    let parameters = vec![
        event_type.clone().into(),
        event_type.into(),
        day.clone().into(),
        day.into(),
        COUNTS_MAX.into(),
    ];
    let (mut counts, mut total) = (Vec::new(), 0);
    for mut row in host.execute(&statement, parameters)? {
        counts.push(Count {
            event_type: row.text()?,
            day: row.text()?,
            count: row.integer()?,
        });
        total = row.integer()?;
    }
    Ok(Response::ok(&json!({ "total": total, "counts": counts })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_utc_days() {
        let at = |text: &str| Event::new("1", "/todos", "todos.task.created").with_time(text.parse().expect("a time"));
        assert_eq!(day_of(&at("2026-01-31T23:59:59.999Z")), "2026-01-31");
        assert_eq!(day_of(&at("2026-01-31T23:30:00-01:00")), "2026-02-01");
    }
}
