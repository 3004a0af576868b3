//! The wall clock is set back an hour: as it runs under load, and between a crash and the next start.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use selvedge_testkit::{RealProcess, real_process};
use tempfile::TempDir;

use super::load::Load;
use super::promise::{Accepted, until_kept};
use super::{MEMORY_BYTES_MAX, alone};
use crate::harness::root;

/// A process on a clock that a test can set back.
struct SetBack {
    folder: TempDir,
    library: PathBuf,
}

impl SetBack {
    /// Compiles what stands between the process and the C library's clock.
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let library = folder.path().join("clock.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(root().join("tests/real_process/clock.c"))
            .arg("-ldl")
            .status()?;
        anyhow::ensure!(compiled.success(), "clock.c can't be compiled");
        Ok(Self { folder, library })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn switch(&self) -> PathBuf {
        self.folder.path().join("an hour back")
    }

    fn start(&self) -> anyhow::Result<RealProcess> {
        let switch = self.switch();
        let environment = [
            ("LD_PRELOAD", self.library.as_os_str()),
            ("SELVEDGE_TEST_CLOCK", AsRef::<OsStr>::as_ref(&switch)),
        ];
        let manifest = root().join("spin.toml");
        RealProcess::start_with(&real_process::binary()?, &manifest, &self.state(), &[], &environment)
    }

    fn set_back(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(self.switch(), "")?)
    }
}

/// Events whose time lies before the time of the event before them. An hour is more than everything else together.
fn steps_back(state: &Path) -> anyhow::Result<i64> {
    let steps = "SELECT count(*) FROM journal AS later JOIN journal AS earlier ON earlier.position = later.position - 1
        WHERE earlier.time_ms - later.time_ms > 3000000";
    Ok(Connection::open(state.join("sqlite_db.db"))?.query_row(steps, [], |row| row.get(0))?)
}

fn merge(first: Accepted, second: Accepted) -> Accepted {
    let mut accepted = first;
    for (user, ids) in second {
        accepted.entry(user).or_default().extend(ids);
    }
    accepted
}

#[test]
fn a_clock_that_is_set_back_an_hour_under_load_stops_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let clock = SetBack::new()?;
    let process = clock.start()?;
    let load = Load::start(&process);
    load.until_accepted(200)?;
    clock.set_back()?;
    load.until_accepted(200)?;
    let record = load.stop()?;
    until_kept(&process, &clock.state(), &record.accepted)?;
    let memory = process.memory()?;
    println!(
        "clock set back: refused {:?}, slowest answer {:?}; {memory}",
        record.refused, record.slowest
    );
    assert!(record.refused.is_empty(), "{:?}", record.refused);
    assert!(steps_back(&clock.state())? > 0, "the clock wasn't set back");
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    Ok(())
}

#[test]
fn a_clock_that_is_set_back_an_hour_after_a_crash_stops_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let clock = SetBack::new()?;
    let process = clock.start()?;
    let load = Load::start(&process);
    load.until_accepted(200)?;
    // Its leases and marks are from a time that is an hour away when the next one looks at them.
    let before = load.stop_with(|| Ok(process.kill()?))?;
    clock.set_back()?;
    let process = clock.start()?;
    let load = Load::start(&process);
    load.until_accepted(50)?;
    let after = load.stop()?;
    until_kept(&process, &clock.state(), &merge(before.accepted, after.accepted))?;
    assert!(steps_back(&clock.state())? > 0, "the clock wasn't set back");
    let memory = process.memory()?;
    println!("clock set back after a crash: {memory}");
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    Ok(())
}
