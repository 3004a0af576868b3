//! The process is killed at random moments under load, and started again on what it left behind: nothing that it
//! accepted is lost, and nothing happens twice.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use selvedge_testkit::{RealProcess, real_process};

use super::client::HttpClient;
use super::promise::{Accepted, until_kept};
use super::{alone, kept, kills, runtime, seed};
use crate::harness::{application_copy, edit};

/// How often the process is killed where `SELVEDGE_KILLS` doesn't say.
const CRASHES: u32 = 10;
/// Connections that create todos at the same time, each for a user of its own.
const CLIENTS: usize = 6;
/// How soon, and how late, a process is killed after it began to serve. Leases of a relay that was killed end after six
/// seconds, so that some crashes meet a relay that catches up.
const KILLED_AFTER_MS: std::ops::Range<u64> = 20..1_500;

#[test]
fn every_201_survives_crashes_under_load_with_each_effect_once() -> anyhow::Result<()> {
    let _alone = alone();
    let mut random = StdRng::seed_from_u64(seed());
    let application = application_copy()?;
    let manifest = application.path().join("spin.toml");
    // A lease lasts as long as a delivery may take: nobody wants to wait half a minute for each that a crash leaves.
    let subscriptions = application.path().join("subscriptions.toml");
    for target in ["target = \"function:notifications\"", "target = \"function:analytics\""] {
        edit(&subscriptions, target, &format!("{target}\ntimeout = \"1s\""))?;
    }
    let state = application.path().join("state");
    let start = || RealProcess::start(&real_process::binary()?, &manifest, &state, &[]);

    let crashes = kills()?.unwrap_or(CRASHES);
    let mut accepted = Accepted::new();
    let begin = Instant::now();
    for round in 0..crashes {
        let moment = Duration::from_millis(random.random_range(KILLED_AFTER_MS));
        load_until_killed(start()?, round, moment, &mut accepted)?;
    }
    println!("{crashes} crashes took {:?}", begin.elapsed());
    let last = start()?;
    until_kept(&last, &state, &accepted)?;
    let count: usize = accepted.values().map(Vec::len).sum();
    let memory = last.memory()?;
    println!(
        "{count} todos were accepted, and all effects are there after {:?}; {memory}",
        begin.elapsed()
    );
    assert!(count > crashes as usize * CLIENTS, "only {count} todos were accepted");
    kept("SIGKILL of the engine", crashes, count, begin.elapsed(), memory)
}

/// Has clients create todos until the process is killed.
fn load_until_killed(
    process: RealProcess,
    round: u32,
    moment: Duration,
    accepted: &mut Accepted,
) -> anyhow::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let clients = (0..CLIENTS).map(|client| {
            let (http, user) = (HttpClient::new(process.url()), format!("user-{client}"));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                // Until the process is gone. What it didn't answer may have been accepted or not.
                for number in 0.. {
                    match http.create(&format!("round {round}, todo {number}"), &user).await {
                        Ok(Some(id)) => ids.push(id),
                        Ok(None) => panic!("a todo was refused"),
                        Err(_) => break,
                    }
                }
                (user, ids)
            })
        });
        let clients: Vec<_> = clients.collect();
        tokio::time::sleep(moment).await;
        process.kill()?;
        for client in clients {
            let (user, ids) = client.await?;
            accepted.entry(user).or_default().extend(ids);
        }
        Ok(())
    })
}
