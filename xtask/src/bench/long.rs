//! What length costs: loading a stream of many events, and working on a journal of very many.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Subject;
use super::engine::Engine;
use super::http::Connection;
use super::journey::{TODO, request};
use super::load;
use super::report::{FullSpeed, milliseconds, percentile};
use crate::process::say;

/// The lengths of the stream, in events, and how often it is loaded at each.
const STREAMS: [u64; 2] = [100, 10_000];
const LOADS: usize = 1000;
/// The lengths of the journal, in events.
const JOURNALS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Measures both and prints a table of each.
pub fn measure(subject: Subject, connections: u64, length: Duration) -> Result<()> {
    println!("| events of the todo | GET p50, ms | GET p99, ms |\n|---:|---:|---:|");
    for (events, loads) in streams(subject)? {
        let (half, most) = (percentile(&loads, 50.0), percentile(&loads, 99.0));
        println!("| {events} | {:.2} | {:.2} |", milliseconds(half), milliseconds(most));
    }
    println!(
        "\n| events in the journal | journeys, per second | CPU per 10,000 journeys, s | ÷ the shortest |\n|---:|---:|---:|---:|"
    );
    let mut shortest = None;
    for events in JOURNALS {
        let full_speed = journal(subject, events, connections, length)?;
        let (rate, cpu_seconds) = (full_speed.journeys_per_second(), full_speed.cpu_seconds_per_10_000());
        let ratio = cpu_seconds / *shortest.get_or_insert(cpu_seconds);
        println!("| {events} | {rate:.0} | {cpu_seconds:.2} | {ratio:.2} |");
    }
    Ok(())
}

/// How long it takes to load a todo of each length; sorted.
fn streams(subject: Subject) -> Result<Vec<(u64, Vec<Duration>)>> {
    say("a long stream: a todo is changed and loaded");
    let engine = Engine::start(subject)?;
    let mut connection = Connection::open(engine.address)?;
    connection.expect(&TODO.request(0), TODO.status)?;
    let body = connection.body();
    let id = body.split(r#""id":""#).nth(1).and_then(|rest| rest.split('"').next());
    let path = format!("/todos/{}", id.with_context(|| format!("no id in {body}"))?);
    let load = request("GET", &path, "");
    let mut events = 1;
    let mut measured = Vec::new();
    for length in STREAMS {
        while events < length {
            events += 1;
            let change = request("PATCH", &path, &format!(r#"{{"title":"Title {events}"}}"#));
            connection.expect(&change, 200)?;
        }
        let mut loads = Vec::with_capacity(LOADS);
        for _ in 0..LOADS {
            let begin = Instant::now();
            connection.expect(&load, 200)?;
            loads.push(begin.elapsed());
        }
        loads.sort();
        measured.push((length, loads));
    }
    Ok(measured)
}

/// Journeys at full speed on a journal that has this many events already.
fn journal(subject: Subject, events: u64, connections: u64, length: Duration) -> Result<FullSpeed> {
    say(format_args!("a journal of {events} events, for {} s", length.as_secs()));
    let engine = Engine::start(subject)?;
    load::warm_up(&engine, &TODO)?;
    let engine = engine.restart(|database| fill(database, events))?;
    load::at_full_speed(&engine, &TODO, connections, length)
}

/// Copies the journal's first event until there are so many; they count as delivered.
fn fill(database: &Path, events: u64) -> Result<()> {
    let database = rusqlite::Connection::open(database)?;
    let insert = "WITH RECURSIVE numbers (n) AS (
            SELECT count(*) + 1 FROM journal UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1
        )
        INSERT INTO journal (id, source, type, subject, stream, version, time_ms, datacontenttype, dataschema, extensions, data)
        SELECT id || '-' || n, source, type, subject, stream || '-' || n, 1, time_ms, datacontenttype, dataschema, extensions, data
        FROM numbers, (SELECT * FROM journal ORDER BY position LIMIT 1)";
    database.execute(insert, [i64::try_from(events)?])?;
    let settle = "UPDATE subscriptions SET cursor = (SELECT max(position) FROM journal),
        collected = (SELECT max(position) FROM journal), forgotten = (SELECT max(position) FROM journal)";
    database.execute(settle, [])?;
    let count: i64 = database.query_row("SELECT count(*) FROM journal", [], |row| row.get(0))?;
    if count != i64::try_from(events)? {
        bail!("the journal has {count} events, not {events}");
    }
    Ok(())
}
