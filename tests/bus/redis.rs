//! The shipped application with its events on Redis: spin.redis.toml, on a real server.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use selvedge_testkit::servers::{Access, Certificates, RedisServer, SilentServer, free_port};
use selvedge_testkit::{RealProcess, real_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::root;
use crate::real_process::client::HttpClient;

/// How long a test waits for something before it says that it doesn't come.
const DEADLINE: Duration = Duration::from_secs(60);
/// How soon a broker's trouble is told, whatever it is.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// The application with its events on the server at `url`.
fn start(url: &str, state: &TempDir, arguments: &[&str]) -> anyhow::Result<RealProcess> {
    let variable = format!("redis_url={url}");
    let manifest = root().join("spin.redis.toml");
    let arguments = [&["--variable", &variable][..], arguments].concat();
    // Trusted in all tests, so that none depends on which ran before it.
    let trusted = Certificates::shared()?.authority();
    let environment: [(&str, &OsStr); 1] = [("SSL_CERT_FILE", trusted.as_os_str())];
    RealProcess::start_with(
        &real_process::binary()?,
        &manifest,
        state.path(),
        &arguments,
        &environment,
    )
}

/// Waits until a user has so many notifications, and checks that there are never more.
async fn until_notified(http: &HttpClient, user: &str, count: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let notified = http.all("notifications", user).await?.len();
        assert!(notified <= count, "{user}: {notified} notifications instead of {count}");
        if notified == count {
            return Ok(());
        }
        let health = http.send(Method::GET, "/health", String::new()).await?;
        anyhow::ensure!(
            begun.elapsed() < DEADLINE,
            "{user}: {notified} notifications instead of {count}: {health:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_todo_goes_by_channels_to_notifications_and_analytics() -> anyhow::Result<()> {
    for access in [Access::Open, Access::Password("s3cret"), Access::Tls] {
        let server = RedisServer::start(access)?;
        let state = tempfile::tempdir()?;
        let process = start(&server.url(), &state, &[])?;
        let http = HttpClient::new(process.url());
        http.create("Buy groceries", "u1").await?;
        until_notified(&http, "u1", 1).await?;
        let begun = Instant::now();
        while http.get("/analytics/events?type=todos.task.created").await?["total"] != 1 {
            anyhow::ensure!(begun.elapsed() < DEADLINE, "{access:?}: it isn't counted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let health = http.get("/health").await?;
        assert_eq!(health["brokers"]["redis"]["status"], "up", "{access:?}: {health}");
    }
    Ok(())
}

/// What `/health` says of the broker, once the relay has met it as well.
async fn trouble(http: &HttpClient) -> anyhow::Result<String> {
    let begun = Instant::now();
    loop {
        let (status, health) = http.send(Method::GET, "/health", String::new()).await?;
        anyhow::ensure!(begun.elapsed() < TOLD_WITHIN, "no retry waits: {health}");
        let retries = |lag: &Value| lag["retries"].as_i64().unwrap_or_default();
        let lags = health["subscriptions"].as_array().cloned().unwrap_or_default();
        let redis = &health["brokers"]["redis"];
        if lags.iter().map(retries).sum::<i64>() > 0 {
            assert_eq!(
                (status, &redis["status"]),
                (StatusCode::SERVICE_UNAVAILABLE, &"down".into()),
                "{health}"
            );
            return Ok(redis["reason"].as_str().unwrap_or_default().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn trouble_with_the_server_is_told_and_holds_nothing_up() -> anyhow::Result<()> {
    let server = RedisServer::start(Access::Password("s3cret"))?;
    let silent = SilentServer::start()?;
    let cases = [
        ("wrong-password", server.url().replace("s3cret", "s4cret"), "redis_url"),
        ("no-password", server.url().replace(":s3cret@", ""), "redis_url"),
        (
            "refused",
            format!("redis://:s3cret@127.0.0.1:{}", free_port()?),
            "refused",
        ),
        (
            "no-such-name",
            "redis://:s3cret@redis.invalid:6379".to_owned(),
            "redis.invalid",
        ),
        ("silent", format!("redis://:s3cret@{}", silent.address()), ""),
    ];
    let state = tempfile::tempdir()?;
    for (user, url, expected) in &cases {
        let process = start(url, &state, &[])?;
        let http = HttpClient::new(process.url());
        assert!(
            http.create("Buy groceries", user).await?.is_some(),
            "{user}: a todo needs no broker"
        );
        let reason = trouble(&http).await?;
        println!("{user}: {reason}");
        assert!(!reason.is_empty() && reason.contains(expected), "{user}: {reason}");
        assert!(
            !reason.contains("s3cret") && !reason.contains("s4cret"),
            "{user}: {reason}"
        );
        let (ready, _) = http.send(Method::GET, "/health/ready", String::new()).await?;
        assert_eq!(ready, StatusCode::OK, "{user}: requests are served");
        process.kill()?;
    }
    assert!(silent.connections() > 0);
    // What waited goes on by itself.
    let process = start(&server.url(), &state, &[])?;
    let http = HttpClient::new(process.url());
    for (user, ..) in &cases {
        until_notified(&http, user, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_key_value_store_on_redis_keeps_markers_and_claims_of_two_replicas() -> anyhow::Result<()> {
    let server = RedisServer::start(Access::Password("s3cret"))?;
    let state = tempfile::tempdir()?;
    let config = state.path().join("runtime-config.toml");
    let text = format!(
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"{}\"\n",
        server.url()
    );
    std::fs::write(&config, text)?;
    let arguments = ["--runtime-config-file", config.to_str().expect("a path in UTF-8")];
    let process = start(&server.url(), &state, &arguments)?;
    let _replica = start(&server.url(), &state, &arguments)?;
    let http = HttpClient::new(process.url());
    let mut ids = BTreeSet::new();
    for number in 0..60 {
        ids.extend(http.create(&format!("todo {number}"), "u1").await?);
    }
    until_notified(&http, "u1", 60).await?;
    let told = http.all("notifications", "u1").await?;
    let told = told.iter().filter_map(|notification| notification["todoId"].as_str());
    assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), ids);

    let mut redis = server.connect()?;
    let begun = Instant::now();
    loop {
        let keys =
            |pattern: &str, redis: &mut redis::Connection| redis::cmd("KEYS").arg(pattern).query::<Vec<String>>(redis);
        let (done, counted) = (
            keys("done/notifications/*", &mut redis)?,
            keys("done/analytics/*", &mut redis)?,
        );
        let claims = keys("claim/*", &mut redis)?;
        if (done.len(), counted.len(), claims.len()) == (60, 60, 0) {
            return Ok(());
        }
        let (done, counted) = (done.len(), counted.len());
        anyhow::ensure!(
            begun.elapsed() < DEADLINE,
            "{done} and {counted} markers of 60, claims {claims:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
