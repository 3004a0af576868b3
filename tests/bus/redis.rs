//! The shipped application with its events on Redis: spin.redis.toml, on a real server.

use std::time::{Duration, Instant};

use selvedge_testkit::servers::{Access, RedisServer};
use selvedge_testkit::{RealProcess, real_process};

use crate::harness::root;
use crate::real_process::client::HttpClient;

/// How long a test waits for something before it says that it doesn't come.
const DEADLINE: Duration = Duration::from_secs(30);

fn start(server: &RedisServer, state: &tempfile::TempDir) -> anyhow::Result<RealProcess> {
    let variable = format!("redis_url={}", server.url());
    let manifest = root().join("spin.redis.toml");
    RealProcess::start(
        &real_process::binary()?,
        &manifest,
        state.path(),
        &["--variable", &variable],
    )
}

/// Waits until a user has so many notifications.
async fn until_notified(http: &HttpClient, user: &str, count: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let notified = http.all("notifications", user).await?.len();
        assert!(notified <= count, "{notified} notifications instead of {count}");
        if notified == count {
            return Ok(());
        }
        anyhow::ensure!(
            begun.elapsed() < DEADLINE,
            "{notified} notifications instead of {count}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_todo_goes_by_channels_to_notifications_and_analytics() -> anyhow::Result<()> {
    let server = RedisServer::start(Access::Open)?;
    let state = tempfile::tempdir()?;
    let process = start(&server, &state)?;
    let http = HttpClient::new(process.url());
    http.create("Buy groceries", "u1").await?;
    until_notified(&http, "u1", 1).await?;
    let health = http.get("/health").await?;
    assert_eq!(health["brokers"]["redis"]["status"], "up", "{health}");
    assert_eq!(http.get("/analytics/events?type=todos.task.created").await?["total"], 1);
    Ok(())
}
