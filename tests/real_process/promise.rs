//! The promise, checked on the stores of a real process and by its answers: what was accepted has each effect once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};
use selvedge_testkit::RealProcess;

use super::client::HttpClient;
use super::runtime;

/// Todos of each user that the application is asked for at the end.
const SHOWN: usize = 50;
/// How long a process may take without coming nearer to its end.
const REST_DEADLINE: Duration = Duration::from_secs(60);

/// The ids of accepted todos, by user.
pub type Accepted = BTreeMap<String, Vec<String>>;

/// Waits until the process has brought everything to its end, and checks that the promise was kept.
pub fn until_kept(process: &RealProcess, state: &Path, accepted: &Accepted) -> anyhow::Result<()> {
    let database = open(&state.join("sqlite_db.db"))?;
    until_at_rest(&database)?;
    check_stores(&database, accepted)?;
    runtime()?.block_on(check_answers(&HttpClient::new(process.url()), &database, accepted))
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

/// Waits until every subscription has heard everything, for as long as that comes nearer: after many kills a slow broker has
/// much to bring.
fn until_at_rest(database: &Connection) -> anyhow::Result<()> {
    const OUTSTANDING: &str = "SELECT (SELECT count(*) FROM exceptions) + (SELECT count(*) FROM subscriptions
        WHERE cursor < (SELECT max(position) FROM journal))";
    const LEFT: &str = "SELECT (SELECT count(*) FROM exceptions)
        + (SELECT sum((SELECT max(position) FROM journal) - cursor) FROM subscriptions)";
    let (mut begin, mut least) = (Instant::now(), i64::MAX);
    while number(database, OUTSTANDING)? > 0 {
        let left = number(database, LEFT)?;
        if left < least {
            (begin, least) = (Instant::now(), left);
        }
        anyhow::ensure!(
            begin.elapsed() < REST_DEADLINE,
            "still not at rest: for {REST_DEADLINE:?} {left} deliveries are left, {} of them to be tried again",
            number(database, "SELECT count(*) FROM exceptions")?
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
