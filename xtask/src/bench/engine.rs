//! The engine under measurement: a child process with a state folder of its own, watched through /proc.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::EngineKind;
use super::http::Connection;
use crate::{process, workspace};

/// How long an engine may take to start (the first start compiles the components) and to stop.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running application. It is stopped, with all its child processes, when this is dropped.
pub struct Engine {
    kind: EngineKind,
    child: Child,
    state: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub started_in: Duration,
}

impl Engine {
    /// Starts the application with empty stores and waits until it answers.
    pub fn start(kind: EngineKind) -> Result<Self> {
        // One folder, emptied before each start: what the engine said stays there to be read when something failed.
        let state = workspace::root().join("target/bench").join(kind.name());
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        fs::create_dir_all(&state)?;
        Self::start_in(kind, state)
    }

    /// Stops it, lets `change` work on its database, and starts it again on its stores.
    pub fn restart(self, change: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let (kind, state, database) = (self.kind, self.state.clone(), self.database());
        drop(self);
        change(&database)?;
        Self::start_in(kind, state)
    }

    fn start_in(kind: EngineKind, state: PathBuf) -> Result<Self> {
        let address = free_address()?;
        let mut command = match kind {
            EngineKind::Selvedge => {
                let mut command = Command::new(workspace::binary("release", "selvedge"));
                command.args(["up", "--quiet", "--log", "off"]);
                command
            }
            EngineKind::Spin => {
                let mut command = Command::new("spin");
                command.args(["up", "--quiet"]);
                command
            }
        };
        command.current_dir(&state);
        command.arg("--from").arg(workspace::root().join("spin.toml"));
        command.args([
            "--listen",
            &address.to_string(),
            "--variable",
            &format!("app_url=http://{address}"),
        ]);
        command.arg("--state-dir").arg(&state);
        let log = File::create(state.join("engine.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);

        let begin = Instant::now();
        let child = process::spawn(&mut command)?;
        let mut engine = Self {
            kind,
            child,
            state,
            address,
            started_in: Duration::ZERO,
        };
        engine.wait_for_answer(begin)?;
        engine.started_in = begin.elapsed();
        Ok(engine)
    }

    fn wait_for_answer(&mut self, begin: Instant) -> Result<()> {
        loop {
            if let Ok(mut connection) = Connection::open(self.address)
                && connection
                    .send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .is_ok_and(|status| status == 200)
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the engine ended with {status} before it answered; it said:\n{}",
                    self.said()
                );
            }
            if begin.elapsed() > START_LIMIT {
                bail!(
                    "no 200 from GET /health/live within {START_LIMIT:?}; the engine said:\n{}",
                    self.said()
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the engine wrote so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.state.join("engine.log")).unwrap_or_default()
    }

    /// The file of the default SQLite database, where both engines put it.
    pub fn database(&self) -> PathBuf {
        self.state.join("sqlite_db.db")
    }

    /// The processor time that it and its child processes used so far, in user and kernel mode.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for process in self.processes() {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
            ticks += stat_fields(&stat)
                .and_then(cpu_ticks)
                .with_context(|| format!("/proc/{process}/stat is odd"))?;
        }
        // SAFETY: sysconf only reads a constant of the system.
        let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(ticks as f64 / ticks_per_second as f64)
    }

    /// The most memory that it and its child processes had resident, each at its own peak, in kilobytes.
    pub fn peak_memory_kb(&self) -> Result<u64> {
        let mut total = 0;
        for process in self.processes() {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            total += peak_kb(&status).with_context(|| format!("/proc/{process}/status names no VmHWM"))?;
        }
        Ok(total)
    }

    /// The ids of the engine's process and all below it: Spin has one process per kind of trigger.
    fn processes(&self) -> Vec<u32> {
        let mut tree = vec![self.child.id()];
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let process: u32 = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                Some((process, stat_fields(&stat)?.get(1)?.parse().ok()?))
            })
            .collect();
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            tree.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(process, _)| *process),
            );
            next += 1;
        }
        tree
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let processes = self.processes();
        for process in &processes {
            // SAFETY: kill takes plain numbers; the ids are this engine's own processes, of which ours isn't waited for.
            unsafe { libc::kill(*process as libc::pid_t, libc::SIGTERM) };
        }
        let begin = Instant::now();
        while begin.elapsed() < STOP_LIMIT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It didn't stop in time; there is nobody left to tell when this fails too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port of this machine. Another process could take it before the engine does; then the engine says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The fields of /proc/<id>/stat after the program's name, which may itself contain spaces and brackets.
fn stat_fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(") ")?.1.split(' ').collect())
}

/// User and kernel time: fields 14 and 15 of the file, 11 and 12 after the name.
fn cpu_ticks(fields: Vec<&str>) -> Option<u64> {
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn peak_kb(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_after_a_name_with_brackets() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 1 2 20 0 9 0 100 0 0";
        let fields = stat_fields(stat).unwrap();
        assert_eq!(fields[1], "7");
        assert_eq!(cpu_ticks(fields), Some(300));
        assert_eq!(stat_fields("nothing"), None);
    }

    #[test]
    fn peak_memory_is_read_in_kilobytes() {
        assert_eq!(peak_kb("Name:\tx\nVmHWM:\t   51200 kB\nVmRSS:\t 1 kB\n"), Some(51200));
        assert_eq!(peak_kb("Name:\tx\n"), None);
    }
}
