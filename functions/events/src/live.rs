//! `GET /events/stream`: the journal as it grows, as server-sent events.
//!
//! A page is read when the client has taken the one before, so a slow client costs one page of memory. The stream ends
//! by itself before hosts would end it: the client comes back with `Last-Event-ID`, as every EventSource does.

use std::collections::VecDeque;

use selvedge::feed::{self, Filter};
use selvedge::http::{Problem, Request, Streaming};
use selvedge::journal::Record;
use selvedge::{Error, Host, limits};
use selvedge_events::json;

use crate::pages::{filter, parse_position, position};

/// How long a client waits before it comes back, in milliseconds.
const RETRY_MS: u64 = 500;

/// From `Last-Event-ID` on, or from `after`, or from now.
pub async fn answer(host: Host, request: Request) -> Result<Streaming, Problem> {
    let filter = filter(&request)?;
    let cursor = match (request.headers.get("last-event-id"), position(&request, "after")?) {
        (Some(id), _) => parse_position("Last-Event-ID", id.to_str().unwrap_or_default())?,
        (None, Some(after)) => after,
        (None, None) => feed::head(&host)?,
    };
    let now_ms = host.now_ms();
    let follower = Follower {
        host,
        filter,
        cursor,
        told: None,
        begun_ms: now_ms,
        spoken_ms: now_ms,
        waiting: VecDeque::from([format!("retry: {RETRY_MS}\n\n")]),
        is_over: false,
    };
    let chunks = futures::stream::unfold(follower, |mut follower| async {
        follower.next().await.map(|chunk| (chunk, follower))
    });
    let streaming = Streaming::new("text/event-stream", chunks);
    Ok(streaming
        .header(http::header::CACHE_CONTROL, "no-store")
        .header(http::HeaderName::from_static("x-accel-buffering"), "no"))
}

/// A client's way along the journal.
struct Follower {
    host: Host,
    filter: Filter,
    /// Up to where the journal was looked at.
    cursor: i64,
    /// The last position that the client knows of.
    told: Option<i64>,
    begun_ms: i64,
    spoken_ms: i64,
    /// Texts that were made and not taken yet: those of one page at most.
    waiting: VecDeque<String>,
    is_over: bool,
}

impl Follower {
    /// The next part of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(text) = self.waiting.pop_front() {
                self.spoken_ms = self.host.now_ms();
                return Some(text.into_bytes());
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.look().await {
                eprintln!("warning: a stream of events ends early ({error}): its client comes back");
                self.is_over = true;
            }
        }
    }

    /// Reads the next page, or waits a little where there is none.
    async fn look(&mut self) -> Result<(), Error> {
        let now_ms = self.host.now_ms();
        // A clock that was set back ends the stream as well: nobody knows how long it has lasted.
        if !(0..limits::STREAM_MS_MAX).contains(&(now_ms - self.begun_ms)) {
            self.is_over = true;
            self.tell_cursor();
            return Ok(());
        }
        let page = feed::read(&self.host, &self.filter, self.cursor, limits::PAGE_ITEMS)?;
        self.cursor = page.cursor;
        if let Some(last) = page.records.last() {
            self.told = Some(last.position);
        }
        self.waiting
            .extend(page.records.iter().map(text).collect::<Result<Vec<_>, _>>()?);
        if self.waiting.is_empty() && !page.has_more {
            if now_ms - self.spoken_ms >= limits::STREAM_HEARTBEAT_MS {
                self.waiting.push_back(": nothing new\n\n".to_owned());
                self.tell_cursor();
            }
            self.host.wait(limits::STREAM_POLL_MS).await;
        }
        Ok(())
    }

    /// Has the client come back behind what its filter left out. An id without data is kept, and no event.
    fn tell_cursor(&mut self) {
        if self.told != Some(self.cursor) {
            self.told = Some(self.cursor);
            self.waiting.push_back(format!("id: {}\n\n", self.cursor));
        }
    }
}

/// An event as its position and its JSON.
fn text(record: &Record) -> Result<String, Error> {
    let json = json::encode(&record.event)?;
    let json = String::from_utf8_lossy(&json);
    let mut text = format!("id: {}\n", record.position);
    // A producer's JSON may have line breaks between its parts: each line is a field, and a client puts them together.
    for line in json.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use selvedge::Event;
    use selvedge_events::Data;

    use super::*;

    #[test]
    fn an_event_is_one_message_whatever_its_json_looks_like() {
        let data = Data::from_json_text("{\n  \"a\": 1,\r\n  \"b\": \"x\\ny\"\r}".to_owned()).expect("JSON");
        let record = Record {
            position: 7,
            stream: "s".to_owned(),
            version: 1,
            event: Event::new("1", "/tests", "a.b.c").with_data("application/json", data),
        };
        let text = text(&record).expect("valid");
        let (head, rest) = text.split_once('\n').expect("lines");
        assert_eq!(head, "id: 7");
        assert!(text.ends_with("\n\n") && !text.contains('\r'), "{text:?}");
        let lines: Vec<_> = rest
            .trim_end()
            .lines()
            .map(|line| line.strip_prefix("data: ").expect(line))
            .collect();
        let event = json::decode(lines.join("\n").as_bytes()).expect("an event");
        let data: serde_json::Value = event.data_as().expect("JSON");
        assert_eq!(data, serde_json::json!({"a": 1, "b": "x\ny"}));
    }
}
