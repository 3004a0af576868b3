//! Clients that create todos, one after the other, until they are told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::StatusCode;
use selvedge_testkit::RealProcess;

use super::client::HttpClient;
use super::promise::Accepted;
use super::{DEADLINE, runtime};

/// Connections at the same time, each for a user of its own.
const CLIENTS: usize = 4;
/// How long a client that was refused waits before it asks again.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// Load on a process, in the background.
pub struct Load {
    counts: Arc<Counts>,
    thread: JoinHandle<anyhow::Result<Record>>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    stop: AtomicBool,
    /// The process is about to be killed: what it didn't answer was accepted or not.
    may_break: AtomicBool,
}

/// What the clients were told.
#[derive(Debug, Default)]
pub struct Record {
    /// What was accepted.
    pub accepted: Accepted,
    /// How many requests were refused, by status.
    pub refused: BTreeMap<StatusCode, usize>,
    /// How long the longest answer took.
    pub slowest: Duration,
}

impl Load {
    /// Begins.
    pub fn start(process: &RealProcess) -> Self {
        let counts = Arc::new(Counts::default());
        let (url, shared) = (process.url().to_owned(), counts.clone());
        let thread = std::thread::spawn(move || {
            runtime()?.block_on(async {
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|client| tokio::spawn(create(HttpClient::new(&url), format!("user-{client}"), shared.clone())))
                    .collect();
                let mut record = Record::default();
                for client in clients {
                    record.add(client.await??);
                }
                Ok(record)
            })
        });
        Self { counts, thread }
    }

    /// Waits until this many more were accepted.
    pub fn until_accepted(&self, more: usize) -> anyhow::Result<()> {
        self.until("accepted", &self.counts.accepted, more)
    }

    /// Waits until this many more were refused.
    pub fn until_refused(&self, more: usize) -> anyhow::Result<()> {
        self.until("refused", &self.counts.refused, more)
    }

    fn until(&self, what: &str, count: &AtomicUsize, more: usize) -> anyhow::Result<()> {
        let (wanted, end) = (count.load(Relaxed) + more, Instant::now() + DEADLINE);
        while count.load(Relaxed) < wanted {
            anyhow::ensure!(
                !self.thread.is_finished(),
                "the clients got something that is no answer"
            );
            anyhow::ensure!(
                Instant::now() < end,
                "no {more} more todos were {what} within {DEADLINE:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends in the middle of it, by what `end` does to the process.
    pub fn stop_with(self, end: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Record> {
        self.counts.may_break.store(true, Relaxed);
        end()?;
        self.stop()
    }

    /// Ends, and says what the clients were told. An error where one of them got something that is no answer.
    pub fn stop(self) -> anyhow::Result<Record> {
        self.counts.stop.store(true, Relaxed);
        self.thread.join().expect("the clients don't panic")
    }
}

impl Record {
    fn add(&mut self, other: Record) {
        for (user, ids) in other.accepted {
            self.accepted.entry(user).or_default().extend(ids);
        }
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
    }
}

async fn create(http: HttpClient, user: String, counts: Arc<Counts>) -> anyhow::Result<Record> {
    let mut record = Record::default();
    let ids = record.accepted.entry(user.clone()).or_default();
    for number in 0.. {
        if counts.stop.load(Relaxed) {
            break;
        }
        let begin = Instant::now();
        // Long titles, so that a small disk is full soon.
        let title = format!("{number:0400}");
        let answer = match http.create_or_refusal(&title, &user).await {
            Err(_) if counts.may_break.load(Relaxed) => break,
            answer => answer?,
        };
        match answer {
            Ok(id) => {
                ids.push(id);
                counts.accepted.fetch_add(1, Relaxed);
            }
            Err(status) => {
                *record.refused.entry(status).or_default() += 1;
                counts.refused.fetch_add(1, Relaxed);
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
        record.slowest = record.slowest.max(begin.elapsed());
    }
    Ok(record)
}
