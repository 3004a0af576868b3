//! The shipped application with its events on MQTT: spin.mqtt.toml, on a real broker.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use selvedge_engine::ports::{MqttOptions, MqttQos, Network};
use selvedge_engine::real::RealNetwork;
use selvedge_events::{Event, json};
use selvedge_testkit::servers::{Access, Certificates, Mosquitto, SilentServer};
use selvedge_testkit::{RealProcess, real_process};
use serde_json::{Value, json};

use crate::harness::root;
use crate::real_process::client::HttpClient;

/// How long a test waits for something before it says that it doesn't come.
const DEADLINE: Duration = Duration::from_secs(30);

fn start(variables: &[(&str, &str)], state: &tempfile::TempDir) -> anyhow::Result<RealProcess> {
    let variables: Vec<_> = variables
        .iter()
        .flat_map(|(name, value)| ["--variable".to_owned(), format!("{name}={value}")])
        .collect();
    let arguments: Vec<_> = variables.iter().map(String::as_str).collect();
    let authority = Certificates::shared()?.authority();
    let environment = [("SSL_CERT_FILE", OsStr::new(&authority))];
    let manifest = root().join("spin.mqtt.toml");
    RealProcess::start_with(
        &real_process::binary()?,
        &manifest,
        state.path(),
        &arguments,
        &environment,
    )
}

/// How whoever isn't the application reaches the broker.
fn outsider(broker: &Mosquitto) -> MqttOptions {
    MqttOptions {
        address: format!("{}?client_id=outsider", broker.url()),
        username: String::new(),
        password: String::new(),
        keep_alive: DEADLINE,
    }
}

/// Waits until what is asked for is as it should be.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        anyhow::ensure!(
            begun.elapsed() < DEADLINE,
            "within {DEADLINE:?} it didn't come true that {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn until_notified(http: &HttpClient, user: &str, count: usize) -> anyhow::Result<()> {
    until("there are so many notifications", async || {
        let notified = http.all("notifications", user).await?.len();
        assert!(notified <= count, "{notified} notifications instead of {count}");
        Ok(notified == count)
    })
    .await
}

/// What `/health` says of the broker, also where it says that it is down.
async fn broker_health(http: &HttpClient) -> anyhow::Result<Value> {
    let (_, mut health) = http.send(http::Method::GET, "/health", String::new()).await?;
    Ok(health["brokers"]["mqtt"].take())
}

#[tokio::test]
async fn a_todo_goes_by_topics_to_notifications_and_analytics() -> anyhow::Result<()> {
    let broker = Mosquitto::start(Access::Open)?;
    let state = tempfile::tempdir()?;
    let process = start(&[("mqtt_url", &broker.url())], &state)?;
    let http = HttpClient::new(process.url());
    let network = RealNetwork::new();
    let mut heard = network
        .mqtt_messages(outsider(&broker), "+/todos/#", MqttQos::AtLeastOnce)
        .await?;

    let id = http.create("Buy groceries", "u1").await?;
    until_notified(&http, "u1", 1).await?;
    until("it is counted", async || {
        Ok(http.get("/analytics/events?type=todos.task.created").await?["total"] == 1)
    })
    .await?;
    assert_eq!(broker_health(&http).await?, json!({ "status": "up" }));

    // Whoever else listens hears it too: one structured CloudEvent for each of the two subscriptions.
    let mut topics = Vec::new();
    for _ in 0..2 {
        let message = tokio::time::timeout(DEADLINE, heard.next())
            .await?
            .expect("the connection holds");
        let event = json::decode(&message.payload)?;
        assert_eq!((&*event.event_type, &event.subject), ("todos.task.created", &id));
        topics.push(message.topic);
    }
    topics.sort();
    assert_eq!(
        topics,
        ["analytics/todos/task/created", "notifications/todos/task/created"]
    );
    Ok(())
}

#[tokio::test]
async fn an_event_that_someone_else_publishes_is_heard_once() -> anyhow::Result<()> {
    let broker = Mosquitto::start(Access::Open)?;
    let state = tempfile::tempdir()?;
    let process = start(&[("mqtt_url", &broker.url())], &state)?;
    let http = HttpClient::new(process.url());
    // Who publishes before the trigger listens, publishes to nobody: the application's own first event shows that it does.
    http.create("Buy groceries", "u1").await?;
    until_notified(&http, "u1", 1).await?;

    let event = Event::new("1", "/elsewhere", "todos.task.created")
        .with_json(&json!({ "title": "Größe: 1 m² 🌍", "userId": "u2" }))?;
    let connection = RealNetwork::new().mqtt(outsider(&broker)).await?;
    for payload in [
        b"this is no event".to_vec(),
        json::encode(&event)?,
        json::encode(&event)?,
    ] {
        connection
            .publish("notifications/from/elsewhere", payload, MqttQos::AtLeastOnce)
            .await?;
    }
    // One message at a time: when this one is told, the others were looked at.
    let last =
        Event::new("2", "/elsewhere", "todos.task.created").with_json(&json!({ "title": "", "userId": "u3" }))?;
    let topic = "notifications/from/elsewhere";
    connection
        .publish(topic, json::encode(&last)?, MqttQos::AtLeastOnce)
        .await?;
    until_notified(&http, "u3", 1).await?;
    until_notified(&http, "u2", 1).await?;
    let told = http.all("notifications", "u2").await?;
    assert_eq!(told[0]["text"], "New: Größe: 1 m² 🌍");
    Ok(())
}

#[tokio::test]
async fn a_broker_with_a_password_and_one_with_tls_are_brokers_too() -> anyhow::Result<()> {
    for access in [Access::Password("s3cret"), Access::Tls] {
        let broker = Mosquitto::start(access)?;
        let (url, (username, password)) = (broker.url(), broker.credentials());
        let state = tempfile::tempdir()?;
        let variables = [
            ("mqtt_url", &*url),
            ("mqtt_username", username),
            ("mqtt_password", password),
        ];
        let process = start(&variables, &state)?;
        let http = HttpClient::new(process.url());
        http.create("Buy groceries", "u1").await?;
        until_notified(&http, "u1", 1).await?;
        assert_eq!(broker_health(&http).await?, json!({ "status": "up" }));
    }
    Ok(())
}

/// What is wrong with a broker, as `/health` says it, and as the event that waits for it does.
async fn refusals(variables: &[(&str, &str)]) -> anyhow::Result<[String; 2]> {
    let state = tempfile::tempdir()?;
    let process = start(variables, &state)?;
    let http = HttpClient::new(process.url());
    assert!(
        http.create("Buy groceries", "u1").await?.is_some(),
        "commands don't need the broker"
    );
    let health = broker_health(&http).await?;
    assert_eq!(health["status"], "down", "{health}");
    let database = rusqlite::Connection::open(state.path().join("sqlite_db.db"))?;
    let mut reason = String::new();
    until("the event waits for a retry", async || {
        let query = "SELECT reason FROM exceptions WHERE state = 'retry' AND subscription = 'notifications'";
        match database.query_row(query, [], |row| row.get(0)) {
            Ok(found) => reason = found,
            Err(rusqlite::Error::QueryReturnedNoRows) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(!reason.is_empty())
    })
    .await?;
    Ok([health["reason"].as_str().unwrap_or_default().to_owned(), reason])
}

#[tokio::test]
async fn what_is_wrong_with_a_broker_is_told_and_holds_nobody_up() -> anyhow::Result<()> {
    let guarded = Mosquitto::start(Access::Password("s3cret"))?;
    let tls = Mosquitto::start(Access::Tls)?;
    let silent = SilentServer::start()?;
    let closed = selvedge_testkit::servers::free_port()?;
    let (closed, silent) = (
        format!("mqtt://127.0.0.1:{closed}"),
        format!("mqtt://{}", silent.address()),
    );
    let wrong = [
        ("mqtt_url", &*guarded.url()),
        ("mqtt_username", "selvedge"),
        ("mqtt_password", "wrong-one"),
    ];
    // The certificate is for 127.0.0.1 and localhost.
    let stranger = tls.url().replace("127.0.0.1", "127.0.0.2");
    for (variables, says) in [
        (&wrong[..], "check the variables mqtt_username and mqtt_password"),
        (&[("mqtt_url", &*closed)], "refused"),
        (&[("mqtt_url", "mqtt://nowhere.invalid:1883")], "can't be reached"),
        (&[("mqtt_url", &*stranger)], "can't be reached"),
        (&[("mqtt_url", &*silent)], "within"),
    ] {
        for refusal in refusals(variables).await? {
            assert!(refusal.contains(says), "{variables:?}: {refusal}");
            assert!(!refusal.contains("wrong-one"), "{refusal}");
        }
    }
    Ok(())
}
