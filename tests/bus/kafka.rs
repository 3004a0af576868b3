//! The shipped application on Kafka: spin.kafka.toml, on a Kafka-compatible broker, with librdkafka as the others who read and write.

use std::time::{Duration, Instant};

use selvedge_events::kafka_binding::{self, Record};
use selvedge_events::{Event, json};
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
    until_notified(&http, 5).await
}

/// Waits until a request gives what it should.
async fn until<T: std::fmt::Debug + PartialEq>(
    what: &str,
    expected: T,
    mut found: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let now = found().await?;
        if now == expected {
            return Ok(());
        }
        anyhow::ensure!(
            begun.elapsed() < DEADLINE,
            "within {DEADLINE:?} {what}: {now:?} instead of {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_notified(http: &HttpClient, count: usize) -> anyhow::Result<()> {
    let found = async || Ok(http.all("notifications", "u1").await?.len());
    until("notifications", count, found).await
}

async fn counted(http: &HttpClient, event_type: &str) -> anyhow::Result<Value> {
    let mut counts = http.get(&format!("/analytics/events?type={event_type}")).await?;
    Ok(counts["total"].take())
}

/// Waits until a group has committed all of a topic, by librdkafka's account.
async fn until_committed(broker: &KafkaBroker, topic: &str, subscription: &str) -> anyhow::Result<()> {
    let group = format!("selvedge-{subscription}");
    let left = async || {
        let offsets = broker.committed(topic, &group)?;
        anyhow::ensure!(
            offsets.iter().map(|(_, end)| end).sum::<i64>() > 0,
            "the topic is empty"
        );
        Ok(offsets.iter().map(|(committed, end)| end - committed).sum::<i64>())
    };
    until("records that aren't committed", 0, left).await
}

#[tokio::test]
async fn todos_go_by_topics_to_notifications_and_analytics() -> anyhow::Result<()> {
    let broker = KafkaBroker::start(&root())?;
    let state = tempfile::tempdir()?;
    let process = start(&broker.address(), &state)?;
    let http = HttpClient::new(process.url());
    for number in 0..20 {
        http.create(&number.to_string(), "u1").await?;
    }
    until_notified(&http, 20).await?;
    until("counted todos", json!(20), async || {
        counted(&http, "todos.task.created").await
    })
    .await?;
    until_committed(&broker, "todos", "notifications").await?;
    until_committed(&broker, "events", "analytics").await?;
    let database = rusqlite::Connection::open(state.path().join("sqlite_db.db"))?;
    let events: i64 = database.query_row("SELECT count(*) FROM journal", [], |row| row.get(0))?;
    assert_eq!(events, 20, "what comes from the topic is known already");
    // Once it is awake, an event is heard within milliseconds.
    let begun = Instant::now();
    http.create("at once", "u1").await?;
    until_notified(&http, 21).await?;
    println!("heard after {:?}", begun.elapsed());
    Ok(())
}

fn record(event: &Event) -> anyhow::Result<Record> {
    Ok(kafka_binding::encode_binary(event)?)
}

fn structured(event: &Event) -> anyhow::Result<Record> {
    Ok(Record {
        headers: vec![("content-type".to_owned(), b"application/cloudevents+json".to_vec())],
        value: Some(json::encode(event)?),
    })
}

#[tokio::test]
async fn what_others_write_is_heard_once_and_what_is_wrong_is_told_and_in_nobodys_way() -> anyhow::Result<()> {
    let broker = KafkaBroker::start(&root())?;
    let report = |id: &str| {
        Event::new(id, "https://weather.example", "weather.report.published").with_json(&json!({ "celsius": 21 }))
    };
    let forged = Event::new("1", "/todos", "todos.task.created").with_json(&json!({ "title": "x", "userId": "u1" }))?;
    let gibberish = Record {
        headers: Vec::new(),
        value: Some(b"gibberish".to_vec()),
    };
    // Before anybody listens.
    let first = [
        record(&report("none")?)?,
        gibberish,
        record(&forged)?,
        structured(&report("structured")?)?,
    ];
    broker.write("events", "none", &first)?;
    let state = tempfile::tempdir()?;
    let process = start(&broker.address(), &state)?;
    let http = HttpClient::new(process.url());
    let reports = async || counted(&http, "weather.report.published").await;
    until("counted reports", json!(2), reports).await?;
    let mut count = 2;
    for compression in ["gzip", "snappy", "lz4", "zstd"] {
        let mut records = vec![record(&report("none")?)?];
        for number in 0..10 {
            records.push(record(&report(&format!("{compression}-{number}"))?)?);
        }
        broker.write("events", compression, &records)?;
        count += 10;
        until(compression, json!(count), reports).await?;
    }
    let refused = http.get("/events?type=kafka.record.refused").await?;
    let events = refused.as_array().into_iter().flatten();
    let mut reasons: Vec<_> = events.filter_map(|event| event["data"]["reason"].as_str()).collect();
    reasons.sort_unstable();
    assert!(
        matches!(reasons[..], [forged, gibberish] if forged.contains("/todos") && gibberish.contains("no CloudEvent")),
        "{refused}"
    );
    // What is wrong is an event like any other.
    until("counted refusals", json!(2), async || {
        counted(&http, "kafka.record.refused").await
    })
    .await?;
    assert_eq!(counted(&http, "todos.task.created").await?, json!(0));
    until_committed(&broker, "events", "analytics").await
}

#[tokio::test]
async fn a_consumer_that_is_killed_is_followed_by_the_next_process() -> anyhow::Result<()> {
    let broker = KafkaBroker::start(&root())?;
    let state = tempfile::tempdir()?;
    for round in 1..=3 {
        let process = start(&broker.address(), &state)?;
        let http = HttpClient::new(process.url());
        for number in 0..10 {
            http.create(&format!("{round}-{number}"), "u1").await?;
        }
        if round == 3 {
            until_notified(&http, 30).await?;
        }
        process.kill()?;
    }
    until_committed(&broker, "todos", "notifications").await
}
