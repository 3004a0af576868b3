//! The stores fail under the process: the disk is full, the folder may only be read, somebody else locks the database.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use rusqlite::Connection;
use selvedge_testkit::{RealProcess, real_process};
use tempfile::TempDir;

use super::load::{Load, Record};
use super::promise::until_kept;
use super::{MEMORY_BYTES_MAX, alone, start};
use crate::harness::root;

/// How long another process keeps the database locked: twice as long as a statement waits for it.
const LOCKED_FOR: Duration = Duration::from_secs(10);

/// A disk of its own, of a size of its own. It goes when this is dropped.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// `None` where this user may not mount anything; that is printed.
    fn mount(options: &str) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let mount = mount(options, folder.path())?;
        if mount.is_some() {
            println!("no disk of its own can be mounted here (it takes root): {mount:?}");
            // The reason must be the rights and nothing else, so that this can't hide a mistake.
            // SAFETY: geteuid has no effects and can't fail.
            let is_root = unsafe { libc::geteuid() } == 0;
            let reason = mount.unwrap_or_default().to_lowercase();
            anyhow::ensure!(!is_root || reason.contains("permi"), "{reason}");
            return Ok(None);
        }
        Ok(Some(Self { folder }))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Changes how it is mounted, while it is used.
    fn remount(&self, options: &str) -> anyhow::Result<()> {
        match mount(&format!("remount,{options}"), self.path())? {
            None => Ok(()),
            Some(reason) => anyhow::bail!("{reason}"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Mounts a tmpfs; `Some` says why it can't be done.
fn mount(options: &str, folder: &Path) -> anyhow::Result<Option<String>> {
    let output = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(folder)
        .output()?;
    let refused = !output.status.success();
    Ok(refused.then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Whoever wasn't answered 201 was told to try again.
fn only_refused_for_now(record: &Record) {
    let mut statuses = record.refused.keys();
    assert!(
        statuses.all(|status| *status == StatusCode::SERVICE_UNAVAILABLE),
        "{:?}",
        record.refused
    );
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=4m")? else {
        return Ok(());
    };
    let process = RealProcess::start(&real_process::binary()?, &root().join("spin.toml"), disk.path(), &[])?;
    let load = Load::start(&process);
    load.until_refused(40)?;
    disk.remount("size=256m")?;
    // It goes on by itself, with nobody's help but room.
    load.until_accepted(200)?;
    let record = load.stop()?;
    until_kept(&process, disk.path(), &record.accepted)?;
    let memory = process.memory()?;
    println!(
        "full disk: {} accepted, refused {:?}, slowest answer {:?}; {memory}",
        record.accepted.values().map(Vec::len).sum::<usize>(),
        record.refused,
        record.slowest
    );
    only_refused_for_now(&record);
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    Ok(())
}

#[test]
fn a_state_folder_that_may_only_be_read_is_refused_in_one_sentence() -> anyhow::Result<()> {
    let _alone = alone();
    // Root may write wherever the disk can be written; where there is none to mount, a file in the folder's place is as good.
    let disk = Disk::mount("size=1m,ro")?;
    let file = tempfile::NamedTempFile::new()?;
    let state = disk
        .as_ref()
        .map_or_else(|| file.path().join("state"), |disk| disk.path().to_owned());
    let begin = Instant::now();
    let output = Command::new(real_process::binary()?)
        .args(["up", "--listen", "127.0.0.1:0", "--from"])
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(&state)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    println!("{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.contains(&*state.to_string_lossy()), "{said}");
    assert!(output.stdout.is_empty() && begin.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[test]
fn a_database_that_another_process_locks_for_ten_seconds_answers_503_and_loses_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let process = start(&state)?;
    let load = Load::start(&process);
    load.until_accepted(50)?;
    let other = Connection::open(state.path().join("sqlite_db.db"))?;
    other.busy_timeout(Duration::from_secs(5))?;
    other.execute_batch("BEGIN EXCLUSIVE")?;
    let locked = Instant::now();
    load.until_refused(1)?;
    let first_refusal = locked.elapsed();
    while let Some(left) = LOCKED_FOR.checked_sub(locked.elapsed()) {
        std::thread::sleep(left);
    }
    other.execute_batch("ROLLBACK")?;
    let unlocked = Instant::now();
    load.until_accepted(50)?;
    let again = unlocked.elapsed();
    let record = load.stop()?;
    until_kept(&process, state.path(), &record.accepted)?;
    let memory = process.memory()?;
    println!(
        "locked database: {} accepted, refused {:?}, the first after {first_refusal:?}, accepted again after {again:?}, \
         slowest answer {:?}; {memory}",
        record.accepted.values().map(Vec::len).sum::<usize>(),
        record.refused,
        record.slowest
    );
    only_refused_for_now(&record);
    assert!(memory.peak_bytes < MEMORY_BYTES_MAX, "{memory}");
    Ok(())
}
