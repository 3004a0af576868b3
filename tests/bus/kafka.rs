//! The shipped application with its events on Kafka as well: spin.kafka.toml, on a Kafka-compatible broker, read by librdkafka.

use std::time::{Duration, Instant};

use selvedge_events::json;
use selvedge_testkit::servers::{KafkaBroker, SilentServer, free_port};
use selvedge_testkit::{RealProcess, real_process};
use serde_json::{Value, json};

use crate::harness::root;
use crate::real_process::client::HttpClient;

/// How long a test waits for something before it says that it doesn't come.
const DEADLINE: Duration = Duration::from_secs(30);

fn start(brokers: &str, state: &tempfile::TempDir) -> anyhow::Result<RealProcess> {
    let variable = format!("kafka_brokers={brokers}");
    let manifest = root().join("spin.kafka.toml");
    RealProcess::start(
        &real_process::binary()?,
        &manifest,
        state.path(),
        &["--variable", &variable],
    )
}

/// How much the subscription that publishes has before it.
fn waiting(state: &tempfile::TempDir) -> anyhow::Result<i64> {
    let database = rusqlite::Connection::open(state.path().join("sqlite_db.db"))?;
    database.busy_timeout(Duration::from_secs(5))?;
    let query = "SELECT (SELECT count(*) FROM exceptions WHERE subscription = 'todos-to-kafka') + (SELECT count(*) FROM subscriptions
        WHERE name = 'todos-to-kafka' AND cursor < (SELECT max(position) FROM journal))";
    Ok(database.query_row(query, [], |row| row.get(0))?)
}

async fn until_published(state: &tempfile::TempDir) -> anyhow::Result<()> {
    let begun = Instant::now();
    while waiting(state)? > 0 {
        anyhow::ensure!(
            begun.elapsed() < DEADLINE,
            "within {DEADLINE:?} not everything was published"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Why an event waits for its next attempt.
async fn reason(state: &tempfile::TempDir) -> anyhow::Result<String> {
    let begun = Instant::now();
    loop {
        let database = rusqlite::Connection::open(state.path().join("sqlite_db.db"))?;
        database.busy_timeout(Duration::from_secs(5))?;
        let query = "SELECT reason FROM exceptions WHERE subscription = 'todos-to-kafka' AND reason <> ''";
        match database.query_row(query, [], |row| row.get(0)) {
            Err(rusqlite::Error::QueryReturnedNoRows) => {}
            found => return Ok(found?),
        }
        anyhow::ensure!(begun.elapsed() < DEADLINE, "within {DEADLINE:?} nothing failed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What `/health` says of the cluster, also where it says that it is down.
async fn broker_health(http: &HttpClient) -> anyhow::Result<Value> {
    let (_, mut health) = http.send(http::Method::GET, "/health", String::new()).await?;
    Ok(health["brokers"]["kafka"].take())
}

#[tokio::test]
async fn what_happens_to_a_todo_is_in_the_topic_for_any_client() -> anyhow::Result<()> {
    let broker = KafkaBroker::start(&root())?;
    let state = tempfile::tempdir()?;
    let process = start(&broker.address(), &state)?;
    let http = HttpClient::new(process.url());
    let id = http.create("Größe: 1 m² 🌍", "u1").await?.expect("it is accepted");
    http.send(http::Method::POST, &format!("/todos/{id}/complete"), String::new())
        .await?;
    until_published(&state).await?;
    assert_eq!(broker_health(&http).await?, json!({ "status": "up" }));

    let events: Vec<_> = broker
        .events("todos")?
        .iter()
        .map(|text| json::decode(text.as_bytes()))
        .collect::<Result<_, _>>()?;
    let types: Vec<_> = events.iter().map(|event| &*event.event_type).collect();
    assert_eq!(types, ["todos.task.created", "todos.task.completed"]);
    assert!(events.iter().all(|event| event.subject.as_deref() == Some(&*id)));
    assert_eq!(events[0].data_as::<Value>()?["title"], "Größe: 1 m² 🌍");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_cluster_is_told_and_holds_nobody_up() -> anyhow::Result<()> {
    let silent = SilentServer::start()?;
    let closed = format!("127.0.0.1:{}", free_port()?);
    for (brokers, says) in [
        (&*closed, "can't be reached"),
        ("kafka.example:9092", "write them as <IP address>:<port>"),
        (&silent.address().to_string(), "gives no answer"),
    ] {
        let state = tempfile::tempdir()?;
        let process = start(brokers, &state)?;
        let http = HttpClient::new(process.url());
        let created = http.create("Buy groceries", "u1").await?;
        assert!(created.is_some(), "commands don't need the broker");
        let health = broker_health(&http).await?;
        assert_eq!(health["status"], "down", "{health}");
        assert!(health["reason"].to_string().contains(says), "{health}");
        if brokers != silent.address().to_string() {
            let reason = reason(&state).await?;
            assert!(reason.contains(says), "{reason}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_comes_back_gets_what_was_accepted_meanwhile() -> anyhow::Result<()> {
    let broker = KafkaBroker::start(&root())?;
    let state = tempfile::tempdir()?;
    let process = start(&broker.address(), &state)?;
    let http = HttpClient::new(process.url());
    broker.freeze()?;
    for number in 0..5 {
        http.create(&number.to_string(), "u1").await?;
    }
    assert!(waiting(&state)? > 0);
    broker.thaw()?;
    until_published(&state).await?;
    assert_eq!(broker.events("todos")?.len(), 5);
    Ok(())
}
