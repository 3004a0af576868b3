//! What length costs: loading a stream of many events, and working on a journal of very many.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::EngineKind;
use super::engine::Engine;
use super::http::Connection;
use super::journey::{TODO, request};
use super::load;
use super::report::percentile;
use crate::process::say;

/// The lengths of the stream, in events, and how often it is loaded at each.
const STREAMS: [u64; 2] = [100, 10_000];
const LOADS: usize = 1000;
/// The lengths of the journal, in events.
const JOURNALS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Measures both and prints a table of each.
pub fn measure(kind: EngineKind, connections: u64, length: Duration) -> Result<()> {
    println!("| events of the todo | GET p50, ms | GET p99, ms |\n|---:|---:|---:|");
    for (events, loads) in streams(kind)? {
        let (half, most) = (percentile(&loads, 50.0), percentile(&loads, 99.0));
        println!("| {events} | {:.2} | {:.2} |", milliseconds(half), milliseconds(most));
    }
    println!(
        "\n| events in the journal | journeys, per second | CPU per 10,000 journeys, s | ÷ the shortest |\n|---:|---:|---:|---:|"
    );
    let mut shortest = None;
    for events in JOURNALS {
        let (rate, cpu_seconds) = journal(kind, events, connections, length)?;
        let ratio = cpu_seconds / *shortest.get_or_insert(cpu_seconds);
        println!("| {events} | {rate:.0} | {cpu_seconds:.2} | {ratio:.2} |");
    }
    Ok(())
}

/// How long it takes to load a todo of each length; sorted.
fn streams(kind: EngineKind) -> Result<Vec<(u64, Vec<Duration>)>> {
    say("a long stream: a todo is changed and loaded");
    let engine = Engine::start(kind)?;
    let mut connection = Connection::open(engine.address)?;
    expect(&mut connection, &TODO.request(0), TODO.status)?;
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
            expect(&mut connection, &change, 200)?;
        }
        let mut loads = Vec::with_capacity(LOADS);
        for _ in 0..LOADS {
            let begin = Instant::now();
            expect(&mut connection, &load, 200)?;
            loads.push(begin.elapsed());
        }
        loads.sort();
        measured.push((length, loads));
    }
    Ok(measured)
}

/// Journeys per second, and processor seconds for 10,000 of them, on a journal that has this many events already.
fn journal(kind: EngineKind, events: u64, connections: u64, length: Duration) -> Result<(f64, f64)> {
    say(format_args!("a journal of {events} events, for {} s", length.as_secs()));
    let mut engine = Engine::start(kind)?;
    load::warm_up(&engine, &TODO)?;
    engine = engine.restart(|database| fill(database, events))?;
    let (mut effects, before) = load::warm_up(&engine, &TODO)?;
    let cpu_before = engine.cpu_seconds()?;
    let begin = Instant::now();
    let accepted = load::post_for(engine.address, &TODO, connections, length)?;
    effects.wait_for(before + accepted, |_, _| ())?;
    let rate = accepted as f64 / begin.elapsed().as_secs_f64();
    let cpu_seconds = engine.cpu_seconds()? - cpu_before;
    Ok((rate, cpu_seconds * 10_000.0 / accepted as f64))
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

fn expect(connection: &mut Connection, request: &[u8], status: u16) -> Result<()> {
    match connection.send(request)? {
        found if found == status => Ok(()),
        found => bail!("answered with {found}, not {status}: {}", connection.body()),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
