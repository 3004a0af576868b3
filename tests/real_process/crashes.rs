//! The process is killed at random moments under load, and started again on what it left behind: nothing that it
//! accepted is lost, and nothing happens twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::{Connection, OpenFlags};
use selvedge_testkit::{RealProcess, real_process};

use super::client::HttpClient;
use super::{alone, runtime};
use crate::harness::{application_copy, edit};

const CRASHES: usize = 10;
/// Connections that create todos at the same time, each for a user of its own.
const CLIENTS: usize = 6;
/// How soon, and how late, a process is killed after it began to serve. Leases of a relay that was killed end after six
/// seconds, so that some crashes meet a relay that catches up.
const KILLED_AFTER_MS: std::ops::Range<u64> = 20..1_500;
/// Todos of each user that the application is asked for at the end.
const SHOWN: usize = 50;
/// How long the last process may take to bring everything to its end.
const REST_DEADLINE: Duration = Duration::from_secs(60);

/// The ids of accepted todos, by user.
type Accepted = BTreeMap<String, Vec<String>>;

#[test]
fn every_201_survives_ten_crashes_with_each_effect_once() -> anyhow::Result<()> {
    let _alone = alone();
    let seed = std::env::var("SELVEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("SELVEDGE_SEED={seed} makes the same moments again");
    let mut random = StdRng::seed_from_u64(seed);
    let application = application_copy()?;
    let manifest = application.path().join("spin.toml");
    // A lease lasts as long as a delivery may take: nobody wants to wait half a minute for each that a crash leaves.
    let subscriptions = application.path().join("subscriptions.toml");
    for target in ["target = \"function:notifications\"", "target = \"function:analytics\""] {
        edit(&subscriptions, target, &format!("{target}\ntimeout = \"1s\""))?;
    }
    let state = application.path().join("state");
    let start = || RealProcess::start(&real_process::binary()?, &manifest, &state, &[]);

    let mut accepted = Accepted::new();
    let begin = Instant::now();
    for round in 0..CRASHES {
        let moment = Duration::from_millis(random.random_range(KILLED_AFTER_MS));
        load_until_killed(start()?, round, moment, &mut accepted)?;
    }
    println!("{CRASHES} crashes took {:?}", begin.elapsed());
    let last = start()?;
    let database = open(&state.join("sqlite_db.db"))?;
    until_at_rest(&database)?;

    let count: usize = accepted.values().map(Vec::len).sum();
    println!(
        "{count} todos were accepted, and all effects are there after {:?}",
        begin.elapsed()
    );
    assert!(count > CRASHES * CLIENTS, "only {count} todos were accepted");
    check_stores(&database, &accepted)?;
    runtime()?.block_on(check_answers(&HttpClient::new(last.url()), &database, &accepted))
}

/// Has clients create todos until the process is killed.
fn load_until_killed(
    process: RealProcess,
    round: usize,
    moment: Duration,
    accepted: &mut Accepted,
) -> anyhow::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let clients = (0..CLIENTS).map(|client| {
            let (http, user) = (HttpClient::new(process.url()), format!("user-{client}"));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                // Until the process is gone. What it didn't answer may have been accepted or not.
                for number in 0.. {
                    match http.create(&format!("round {round}, todo {number}"), &user).await {
                        Ok(Some(id)) => ids.push(id),
                        Ok(None) => panic!("a todo was refused"),
                        Err(_) => break,
                    }
                }
                (user, ids)
            })
        });
        let clients: Vec<_> = clients.collect();
        tokio::time::sleep(moment).await;
        process.kill()?;
        for client in clients {
            let (user, ids) = client.await?;
            accepted.entry(user).or_default().extend(ids);
        }
        Ok(())
    })
}

fn open(database: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

fn number(database: &Connection, query: &str) -> anyhow::Result<i64> {
    database
        .query_row(query, [], |row| row.get(0))
        .with_context(|| query.to_owned())
}

/// Waits until every subscription has heard everything.
fn until_at_rest(database: &Connection) -> anyhow::Result<()> {
    const OUTSTANDING: &str = "SELECT (SELECT count(*) FROM exceptions) + (SELECT count(*) FROM subscriptions
        WHERE cursor < (SELECT max(position) FROM journal))";
    let begin = Instant::now();
    while number(database, OUTSTANDING)? > 0 {
        anyhow::ensure!(
            begin.elapsed() < REST_DEADLINE,
            "still not at rest after {REST_DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What the stores say, read past the application.
fn check_stores(database: &Connection, accepted: &Accepted) -> anyhow::Result<()> {
    let created = number(
        database,
        "SELECT count(*) FROM journal WHERE type = 'todos.task.created'",
    )?;
    let notified = number(
        database,
        "SELECT count(*) FROM notifications WHERE type = 'todos.task.created'",
    )?;
    let counted = number(
        database,
        "SELECT sum(count) FROM analytics_counts WHERE type = 'todos.task.created'",
    )?;
    let count = accepted.values().map(Vec::len).sum::<usize>() as i64;
    assert_eq!(
        (notified, counted),
        (created, created),
        "each event has each of its effects once"
    );
    assert!(
        created >= count,
        "{count} were accepted and {created} are in the journal"
    );
    assert_eq!(number(database, "SELECT count(*) FROM subscriptions")?, 2);

    let told = "SELECT todo_id, count(*) FROM notifications WHERE type = 'todos.task.created' GROUP BY todo_id";
    let told: BTreeMap<String, i64> = database
        .prepare(told)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for id in accepted.values().flatten() {
        assert_eq!(told.get(id), Some(&1), "notifications of todo {id}");
    }
    Ok(())
}

/// What the application says of itself.
async fn check_answers(http: &HttpClient, database: &Connection, accepted: &Accepted) -> anyhow::Result<()> {
    let created = number(
        database,
        "SELECT count(*) FROM journal WHERE type = 'todos.task.created'",
    )?;
    let counts = http.get("/analytics/events?type=todos.task.created").await?;
    assert_eq!(counts["total"], created);
    for (user, ids) in accepted {
        let mut told = BTreeMap::<String, usize>::new();
        for notification in http.all("notifications", user).await? {
            *told
                .entry(notification["todoId"].as_str().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        for id in ids {
            assert_eq!(told.get(id), Some(&1), "{user}: notifications of todo {id}");
        }
        // The stores were asked for every todo; here is whether the application still knows some of each crash.
        for id in ids.iter().step_by(ids.len().div_ceil(SHOWN)) {
            assert_eq!(http.get(&format!("/todos/{id}")).await?["userId"], **user, "todo {id}");
        }
    }
    let health = http.get("/health").await?;
    assert_eq!(health["status"], "up", "{health}");
    Ok(())
}
