//! The shipped binary as its own process, over real HTTP, on real files and the real clock.

mod brokers;
pub mod client;
mod clock;
mod connections;
mod crashes;
mod load;
pub mod promise;
mod stores;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use selvedge_testkit::real_process::Memory;
use selvedge_testkit::{RealProcess, figures, real_process};
use serde_json::json;

use crate::harness::root;
use client::HttpClient;

/// How soon after the 201 both effects must be there.
const EFFECTS_WITHIN: Duration = Duration::from_millis(100);
/// How long a test waits for something before it says that it doesn't come.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the process may take to end when nothing holds it.
const END_WITHIN: Duration = Duration::from_secs(5);
/// What the process may take of the machine's memory, whatever is done to it.
const MEMORY_BYTES_MAX: u64 = 400_000_000;

/// Real processes get the machine for themselves, as far as this test binary goes: one of the tests measures time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often something is to be killed, where `SELVEDGE_KILLS` says so.
fn kills() -> anyhow::Result<Option<u32>> {
    match std::env::var("SELVEDGE_KILLS") {
        Ok(kills) => Ok(Some(kills.parse()?)),
        Err(_) => Ok(None),
    }
}

/// The seed of the moments at which something is killed.
fn seed() -> u64 {
    let seed = std::env::var("SELVEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("SELVEDGE_SEED={seed} makes the same moments again");
    seed
}

/// Keeps the figures of a run that was asked for as hardship, for the report on reliability.
fn kept(name: &str, kills: u32, accepted: usize, took: Duration, memory: Memory) -> anyhow::Result<()> {
    if self::kills()?.is_none() {
        return Ok(());
    }
    let told = [
        ("kills", kills.to_string()),
        ("accepted, each effect once", accepted.to_string()),
        ("seconds", took.as_secs().to_string()),
        ("memory at most", format!("{} MB", memory.peak_bytes / 1_000_000)),
    ];
    figures::keep(&root(), "hardship", name, &told)
}

/// A runtime for the client's side.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

fn start(state: &tempfile::TempDir) -> anyhow::Result<RealProcess> {
    RealProcess::start(&real_process::binary()?, &root().join("spin.toml"), state.path(), &[])
}

/// The host and port of a URL.
fn authority(process: &RealProcess) -> &str {
    process.url().trim_start_matches("http://")
}

/// Creates a todo for a user who has none, and says how long after the answer both effects were there, each once.
async fn journey(http: &HttpClient, number: u64) -> anyhow::Result<Duration> {
    let user = format!("u{number}");
    let id = http.create("Buy groceries", &user).await?;
    let accepted = Instant::now();
    loop {
        let notifications = http.all("notifications", &user).await?;
        let counts = http.get("/analytics/events?type=todos.task.created").await?;
        let delay = accepted.elapsed();
        if notifications.len() == 1 && counts["total"] == number + 1 {
            assert_eq!(notifications[0]["todoId"].as_str(), id.as_deref());
            return Ok(delay);
        }
        assert!(
            notifications.len() <= 1 && counts["total"].as_u64() <= Some(number + 1),
            "{notifications:?} {counts}"
        );
        anyhow::ensure!(
            delay < DEADLINE,
            "todo {number} has no effects yet: {notifications:?} {counts}"
        );
    }
}

#[test]
fn a_todo_is_a_notification_and_a_count_within_100_ms() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    let http = HttpClient::new(process.url());
    runtime()?.block_on(async {
        // The first finds nothing running yet. Of the others the middle one counts: other tests share the machine.
        journey(&http, 0).await?;
        let mut delays = Vec::new();
        for number in 1..=11 {
            delays.push(journey(&http, number).await?);
        }
        delays.sort_unstable();
        println!("from 201 to both effects: {delays:?}");
        assert!(
            delays[delays.len() / 2] < EFFECTS_WITHIN,
            "from 201 to both effects: {delays:?}"
        );
        let health = http.get("/health").await?;
        assert_eq!(health["status"], "up", "{health}");
        anyhow::Ok(())
    })?;
    process.terminate()?;
    // The client still holds its connection, which has nothing to say: it must not hold the process.
    let status = process.ended(END_WITHIN)?;
    assert_eq!(status.code(), Some(0), "{status}");
    Ok(())
}

#[test]
fn sigterm_lets_a_request_in_work_end() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    let body = json!({ "title": "Buy groceries", "userId": "u1" }).to_string();
    let mut stream = TcpStream::connect(authority(&process))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let length = body.len();
    let head =
        format!("POST /todos HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    // The server says this when the function asks for the body: from here on the request is in work.
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");

    process.terminate()?;
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(authority(&process)).is_ok() {
        anyhow::ensure!(Instant::now() < end, "it still takes connections after SIGTERM");
    }
    stream.write_all(body.as_bytes())?;
    let mut rest = String::new();
    answer.read_to_string(&mut rest)?;
    assert!(rest.contains("HTTP/1.1 201 Created"), "{rest}");
    let status = process.ended(END_WITHIN)?;
    assert_eq!(status.code(), Some(0), "{status}");

    // What was answered is there afterwards, and its effects come, though the process ended before or after its bell.
    let again = start(&state)?;
    let http = HttpClient::new(again.url());
    runtime()?.block_on(async {
        let todos = http.all("todos", "u1").await?;
        assert_eq!(todos.len(), 1, "{todos:?}");
        let end = Instant::now() + 2 * DEADLINE;
        while http.all("notifications", "u1").await?.len() != 1 {
            anyhow::ensure!(Instant::now() < end, "the notification doesn't come");
        }
        Ok(())
    })
}

#[test]
fn an_open_stream_of_events_does_not_hold_up_the_stop() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    let mut stream = TcpStream::connect(authority(&process))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let mut answer = BufReader::new(stream);
    let mut head = String::new();
    while !head.contains("retry: ") {
        anyhow::ensure!(answer.read_line(&mut head)? > 0, "the stream broke off: {head}");
    }
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");

    process.terminate()?;
    let begun = Instant::now();
    let mut rest = String::new();
    answer.read_to_string(&mut rest)?;
    assert!(
        rest.ends_with("0\r\n\r\n"),
        "the body has an end, so the client comes back: {rest:?}"
    );
    let status = process.ended(END_WITHIN)?;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(begun.elapsed() < END_WITHIN);
    Ok(())
}

#[test]
fn one_connection_serves_many_requests() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    runtime()?.block_on(async {
        let stream = tokio::net::TcpStream::connect(authority(&process)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        for number in 0..20 {
            sender.ready().await?;
            let body = json!({ "title": format!("todo {number}"), "userId": "u1" }).to_string();
            // Refusals keep the connection too.
            let (body, expected) = match number % 2 {
                0 => (body, StatusCode::CREATED),
                _ => ("{".to_owned(), StatusCode::BAD_REQUEST),
            };
            let request = Request::post("/todos")
                .header("host", "localhost")
                .body(Full::new(Bytes::from(body)))?;
            let answer = sender.send_request(request).await?;
            assert_eq!(answer.status(), expected);
            answer.into_body().collect().await?;
        }
        assert!(!connection.is_finished(), "the connection was closed");
        connection.abort();
        anyhow::Ok(())
    })
}

#[test]
fn http_2_is_spoken_to_those_who_begin_with_it() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    let http = HttpClient::http2(process.url());
    runtime()?.block_on(async {
        // At the same time, on one connection.
        let requests: Vec<_> = (0..32)
            .map(|number| {
                let http = http.clone();
                tokio::spawn(async move { http.create(&format!("todo {number}"), "u1").await })
            })
            .collect();
        for request in requests {
            assert!(request.await??.is_some(), "a todo was refused");
        }
        assert_eq!(http.all("todos", "u1").await?.len(), 32);
        let (status, _) = http.send(Method::GET, "/nothing", String::new()).await?;
        assert_eq!(status, StatusCode::NOT_FOUND);
        anyhow::Ok(())
    })
}

#[test]
fn what_is_no_http_is_refused_and_others_are_served() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    let long_head = format!(
        "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(1024 * 1024)
    );
    let many_headers = format!(
        "GET /health/live HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "x: y\r\n".repeat(5_000)
    );
    let cases = [
        "this is no HTTP\r\n\r\n",
        "GET\r\n\r\n",
        "GET /health/live HTTP/9.9\r\n\r\n",
        "GET /health/live HTTP/1.1\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nhost: todos.spin.internal\r\n\r\n",
        "GET http://todos.spin.internal/_selvedge/health HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /todos HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        "POST /todos HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "POST /todos HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n",
        "POST /todos HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{\"title\":\"cut off\",\"userId\":\"u1\"}",
        "POST /todos HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        &long_head,
        &many_headers,
    ];
    for case in cases {
        let mut stream = TcpStream::connect(authority(&process))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // The server may have closed before all of it was sent.
        let _ = stream.write_all(case.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(answer.is_empty() || status.starts_with('4'), "{case:.80}: {answer}");
        // What isn't even HTTP gets a bare status; whatever is gets told what is wrong.
        let is_problem = answer.contains("content-type: application/problem+json");
        assert!(
            is_problem || answer.is_empty() || answer.ends_with("\r\n\r\n"),
            "{case:.80}: {answer}"
        );
    }
    runtime()?.block_on(async {
        let http = HttpClient::new(process.url());
        assert_eq!(http.get("/analytics/events").await?["total"], 0, "nothing was stored");
        assert!(http.create("Buy groceries", "u1").await?.is_some());
        anyhow::Ok(())
    })
}
