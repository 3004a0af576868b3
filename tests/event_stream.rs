//! `GET /events/stream`: the journal as it grows. It is resumed where it ended, is filtered, waits for slow clients, and
//! holds up nobody's stop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use selvedge_engine::ports::Body;
use selvedge_testkit::World;
use selvedge_testkit::simulation::Recorded;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::harness::{create, simulate};

/// An open stream, read part by part.
struct Stream {
    body: Body,
    text: String,
    last_id: Option<String>,
}

impl Stream {
    async fn open(world: &World, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let response = connect(world, path, headers).await?;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.headers().contains_key("content-length"));
        Ok(Self {
            body: response.into_body(),
            text: String::new(),
            last_id: None,
        })
    }

    /// The next message with data; `None` at the stream's end.
    async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let fields: Vec<_> = message.lines().filter_map(|line| line.split_once(": ")).collect();
                let values = |name: &str| {
                    let named = fields.iter().filter(|(field, _)| *field == name);
                    named.map(|(_, value)| *value).collect::<Vec<_>>().join("\n")
                };
                let (id, data) = (values("id"), values("data"));
                self.text = rest.to_owned();
                if !id.is_empty() {
                    self.last_id = Some(id);
                }
                if !data.is_empty() {
                    return Ok(Some(serde_json::from_str(&data)?));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let data = frame?.into_data().map_err(|_| anyhow::anyhow!("trailers"))?;
                    self.text.push_str(std::str::from_utf8(&data)?);
                }
            }
        }
    }

    /// The ids of all events up to the stream's end.
    async fn rest(&mut self) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        while let Some(event) = self.next().await? {
            ids.push(event["id"].as_str().unwrap_or_default().to_owned());
        }
        Ok(ids)
    }
}

async fn connect(world: &World, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Response<Body>> {
    let mut request = Request::builder().uri(path).header("host", "127.0.0.1:3000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let empty = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    let client = SocketAddr::from(([127, 0, 0, 1], 50_000));
    Ok(world.node().application.handle(request.body(empty)?, client).await)
}

async fn send(world: &World, ids: impl Iterator<Item = usize>, event_type: &str) {
    let event = |id: usize| json!({ "specversion": "1.0", "id": id.to_string(), "source": "/me", "type": event_type, "data": id });
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let body = json!(ids.map(event).collect::<Vec<_>>()).to_string();
    let answer = world.request(http::Method::POST, "/events", &headers, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
}

#[test]
fn what_happens_now_is_heard_within_a_moment() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "Before", "u1").await;
        let mut stream = Stream::open(&world, "/events/stream", &[]).await?;
        let id = create(&world, "Buy groceries", "u1").await;
        let begun = Instant::now();
        let event = stream.next().await?.expect("an event");
        assert!(begun.elapsed() <= Duration::from_millis(250), "{:?}", begun.elapsed());
        assert_eq!(event["subject"], id);
        assert_eq!(event["type"], "todos.task.created");
        assert_eq!(event["data"]["title"], "Buy groceries");
        assert_eq!(stream.last_id.as_deref(), Some("2"), "the id is the position");
        Ok(())
    })
}

#[test]
fn a_stream_ends_by_itself_and_goes_on_from_its_last_event_id() -> anyhow::Result<()> {
    simulate(async |world| {
        let mut heard = Vec::new();
        let mut last_id = "0".to_owned();
        for round in 0..3 {
            send(&world, round * 50..round * 50 + 30, "a.b.c").await;
            let mut stream = Stream::open(&world, "/events/stream?after=7", &[("last-event-id", &last_id)]).await?;
            let begun = Instant::now();
            heard.extend(stream.rest().await?);
            let lasted = begun.elapsed();
            assert!(
                (Duration::from_secs(20)..Duration::from_secs(30)).contains(&lasted),
                "{lasted:?}"
            );
            last_id = stream.last_id.expect("an id");
            // Nobody listens just now.
            send(&world, round * 50 + 30..round * 50 + 50, "a.b.c").await;
        }
        let mut stream = Stream::open(&world, "/events/stream", &[("last-event-id", &last_id)]).await?;
        heard.extend(stream.rest().await?);
        assert_eq!(heard.len(), 150);
        assert_eq!(
            heard.iter().collect::<BTreeSet<_>>().len(),
            150,
            "none is missing and none came twice"
        );
        Ok(())
    })
}

#[test]
fn a_filter_leaves_events_out_and_the_stream_resumes_behind_them() -> anyhow::Result<()> {
    simulate(async |world| {
        send(&world, 0..20, "a.b.c").await;
        let mut stream = Stream::open(&world, "/events/stream?after=0&type=a.*.wanted,b.*.*", &[]).await?;
        send(&world, 20..40, "a.b.c").await;
        send(&world, 40..41, "a.b.wanted").await;
        send(&world, 41..61, "a.b.c").await;
        assert_eq!(stream.rest().await?, ["40"]);
        assert_eq!(
            stream.last_id.as_deref(),
            Some("61"),
            "an id without data says how far it looked"
        );

        let mut stream = Stream::open(&world, "/events/stream?after=0&stream=external/id//me/50", &[]).await?;
        assert_eq!(stream.rest().await?, ["50"]);
        Ok(())
    })
}

#[test]
fn a_silent_stream_shows_that_it_lives() -> anyhow::Result<()> {
    simulate(async |world| {
        let mut stream = Stream::open(&world, "/events/stream", &[]).await?;
        let mut comments = 0;
        while let Some(frame) = stream.body.frame().await {
            let data = frame?.into_data().map_err(|_| anyhow::anyhow!("trailers"))?;
            comments += usize::from(data.starts_with(b": "));
        }
        assert!((3..=6).contains(&comments), "{comments} in 25 s");
        Ok(())
    })
}

#[test]
fn a_slow_client_is_waited_for_and_costs_no_reads() -> anyhow::Result<()> {
    simulate(async |world| {
        for first in (0..1000).step_by(100) {
            send(&world, first..first + 100, "a.b.c").await;
        }
        let mut stream = Stream::open(&world, "/events/stream?after=0", &[]).await?;
        assert!(stream.next().await?.is_some());
        tokio::time::sleep(Duration::from_secs(5)).await;
        let reads = || {
            let calls = world.node().faults.calls();
            let is_page = |call: &&Recorded| call.component == "events" && call.detail.contains("position > ?");
            calls.iter().filter(is_page).count()
        };
        let read_early = reads();
        assert!(
            (1..=2).contains(&read_early),
            "{read_early} pages were read for a client that took one event"
        );
        let mut count = 1;
        while count < 1000 && stream.next().await?.is_some() {
            count += 1;
        }
        assert_eq!(count, 1000, "and it gets all of them");
        assert!(reads() >= 50, "page by page");
        Ok(())
    })
}

#[test]
fn a_client_that_went_away_is_not_read_for_any_longer() -> anyhow::Result<()> {
    simulate(async |world| {
        let stream = Stream::open(&world, "/events/stream", &[]).await?;
        drop(stream);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let reads = || {
            world
                .node()
                .faults
                .calls()
                .iter()
                .filter(|call| call.component == "events")
                .count()
        };
        let read = reads();
        assert!(read > 0, "it was read for at first");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(reads(), read);
        Ok(())
    })
}

#[test]
fn many_streams_leave_room_for_commands() -> anyhow::Result<()> {
    simulate(async |world| {
        let mut streams = Vec::new();
        for _ in 0..40 {
            streams.push(Stream::open(&world, "/events/stream", &[]).await?);
        }
        let answered = timeout(Duration::from_secs(1), send(&world, 0..1, "a.b.c")).await;
        assert!(answered.is_ok(), "streams hold up nobody");
        for mut stream in streams {
            assert_eq!(stream.next().await?.expect("the event")["id"], "0");
        }
        Ok(())
    })
}

#[test]
fn a_position_that_is_none_is_a_400() -> anyhow::Result<()> {
    simulate(async |world| {
        for id in ["", "x", "-1", "1 2", "9999999999999999999999"] {
            let response = connect(&world, "/events/stream", &[("last-event-id", id)]).await?;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{id:?}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        Ok(())
    })
}
