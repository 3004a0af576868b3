//! Clients that hold connections and give nothing: thousands of idle ones, heads and bodies that dribble or stop half-way.
//! Others are served meanwhile, each such connection ends in bounded time, and nothing of it is stored.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use selvedge_testkit::{RealProcess, real_process};

use super::client::HttpClient;
use super::{MEMORY_BYTES_MAX, alone, authority, runtime, start};
use crate::harness::root;

/// Connections that say nothing.
const IDLE: usize = 2_000;
/// Clients of each kind that send slowly.
const SLOW: usize = 30;
/// How soon a request is answered beside all of them.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How soon the engine is rid of a client that gives nothing: the limits of head and body are 10 s.
const RID_WITHIN: Duration = Duration::from_secs(25);
/// Between two bytes of a client that dribbles.
const DRIBBLE: Duration = Duration::from_millis(250);

/// Gives this process as many open files as the system allows it.
fn raise_open_files() -> anyhow::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls touch nothing but `limit`, which outlives them.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    anyhow::ensure!(
        raised == 0 && limit.rlim_max > 2 * IDLE as u64,
        "too few open files are allowed"
    );
    Ok(())
}

/// Starts the engine with the limit of open files that a shell gives, whatever this process has.
fn start_from_a_shell(state: &tempfile::TempDir) -> anyhow::Result<RealProcess> {
    let script = state.path().join("selvedge.sh");
    let binary = real_process::binary()?;
    std::fs::write(
        &script,
        format!("#!/bin/sh\nulimit -S -n 1024\nexec '{}' \"$@\"\n", binary.display()),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    RealProcess::start(&script, &root().join("spin.toml"), state.path(), &[])
}

/// Creates todos for a new user, and says how long the slowest answer took.
fn slowest_answer(process: &RealProcess, user: &str) -> anyhow::Result<Duration> {
    let http = HttpClient::new(process.url());
    runtime()?.block_on(async {
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let begin = Instant::now();
            anyhow::ensure!(
                http.create(&format!("todo {number}"), user).await?.is_some(),
                "a todo was refused"
            );
            slowest = slowest.max(begin.elapsed());
        }
        Ok(slowest)
    })
}

/// Whether the server has closed it; what it said before is added to `answer`.
fn is_closed(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(length) => answer.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Waits until the server has closed all of them.
fn until_closed(streams: Vec<TcpStream>) -> anyhow::Result<()> {
    let end = Instant::now() + RID_WITHIN;
    for mut stream in streams {
        stream.set_nonblocking(true)?;
        while !is_closed(&mut stream, &mut Vec::new()) {
            anyhow::ensure!(
                Instant::now() < end,
                "an idle connection is still open after {RID_WITHIN:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() -> anyhow::Result<()> {
    let _alone = alone();
    raise_open_files()?;
    let state = tempfile::tempdir()?;
    let process = start_from_a_shell(&state)?;
    slowest_answer(&process, "before")?;
    let before = process.memory()?;
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut stream = TcpStream::connect(authority(&process))?;
        // Some have asked something before they fell silent, some began to speak HTTP/2.
        match number % 4 {
            0 => stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")?,
            1 => stream.write_all(b"PRI * HTTP/2.0\r\n")?,
            _ => {}
        }
        idle.push(stream);
    }
    let slowest = slowest_answer(&process, "beside")?;
    let memory = process.memory()?;
    println!("{IDLE} idle connections: slowest answer {slowest:?}; {before} before, {memory} with them");
    assert!(slowest < ANSWERED_WITHIN, "{slowest:?}");
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    let begin = Instant::now();
    until_closed(idle)?;
    println!("they were closed after {:?}", begin.elapsed());
    slowest_answer(&process, "after")?;
    Ok(())
}

/// A client that sends a byte now and then, or nothing any more.
struct Slow {
    stream: TcpStream,
    /// What it goes on with, again and again.
    byte: Option<u8>,
    answer: Vec<u8>,
}

impl Slow {
    fn begin(process: &RealProcess, head: &str, byte: Option<u8>) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(authority(process))?;
        stream.write_all(head.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            byte,
            answer: Vec::new(),
        })
    }

    /// Sends its next byte; says whether the server has had enough.
    fn go_on(&mut self) -> bool {
        if let Some(byte) = self.byte {
            // What can't be sent shows when the answer is read.
            let _ = self.stream.write(&[byte]);
        }
        is_closed(&mut self.stream, &mut self.answer)
    }
}

#[test]
fn heads_and_bodies_that_dribble_or_stop_end_in_bounded_time_and_store_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    slowest_answer(&process, "before")?;
    let post = "POST /todos HTTP/1.1\r\nhost: localhost\r\n";
    let begun = "{\"title\":\"half\",\"userId\":\"half\"";
    let kinds = [
        (
            "a head that dribbles",
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: ".to_owned(),
            Some(b'x'),
        ),
        ("a head that stops", post.to_owned(), None),
        (
            "a body that dribbles",
            format!("{post}content-length: 60000\r\n\r\n{begun}"),
            Some(b' '),
        ),
        (
            "a body that stops",
            format!("{post}content-length: 100\r\n\r\n{begun}"),
            None,
        ),
        (
            "a chunked body that stops",
            format!("{post}transfer-encoding: chunked\r\n\r\n1f\r\n{begun}"),
            None,
        ),
        (
            "a large body that stops",
            format!("{post}content-length: 1000000\r\n\r\n{begun}"),
            None,
        ),
    ];
    let mut slow = Vec::new();
    for (kind, head, byte) in &kinds {
        for _ in 0..SLOW {
            slow.push((*kind, Slow::begin(&process, head, *byte)?));
        }
    }
    let begin = Instant::now();
    let slowest = slowest_answer(&process, "beside")?;
    while !slow.is_empty() {
        let open: Vec<_> = slow.iter().map(|(kind, _)| *kind).collect();
        anyhow::ensure!(
            begin.elapsed() < RID_WITHIN,
            "still open after {RID_WITHIN:?}: {open:?}"
        );
        let mut left = Vec::new();
        for (kind, mut client) in slow {
            if !client.go_on() {
                left.push((kind, client));
                continue;
            }
            // A head that never ended has no answer. A body that didn't has a refusal, or a connection that just ends.
            let answer = String::from_utf8_lossy(&client.answer).into_owned();
            let status = answer.split(' ').nth(1).unwrap_or("400");
            assert!(status.starts_with('4'), "{kind}: {answer}");
        }
        slow = left;
        std::thread::sleep(DRIBBLE);
    }
    let memory = process.memory()?;
    println!(
        "{} slow clients: gone after {:?}, slowest answer to others {slowest:?}; {memory}",
        kinds.len() * SLOW,
        begin.elapsed()
    );
    assert!(slowest < ANSWERED_WITHIN, "{slowest:?}");
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    let http = HttpClient::new(process.url());
    let half = runtime()?.block_on(http.all("todos", "half"))?;
    assert!(half.is_empty(), "{half:?}");
    Ok(())
}
