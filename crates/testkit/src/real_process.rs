//! The engine as its own process: the shipped binary, on a state folder and a free port.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long the engine may take to say that it serves: it may have to compile every component first, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// A running `selvedge` process. It is killed when this is dropped.
#[derive(Debug)]
pub struct RealProcess {
    child: Child,
    address: String,
}

/// What a process takes of the machine's memory.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now.
    pub resident_bytes: u64,
    /// At most, since it was started.
    pub peak_bytes: u64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let (now, peak) = (megabytes(self.resident_bytes), megabytes(self.peak_bytes));
        write!(formatter, "{now} MB resident, {peak} MB at most")
    }
}

impl RealProcess {
    /// Starts `binary` on the manifest with its state in `state_dir`, on a free port.
    ///
    /// # Errors
    /// Where it doesn't say within three minutes that it serves; with what it printed.
    pub fn start(binary: &Path, manifest: &Path, state_dir: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(binary, manifest, state_dir, arguments, &[])
    }

    /// [`Self::start`] with more variables in the process's environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        binary: &Path,
        manifest: &Path,
        state_dir: &Path,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        Self::launch(binary, manifest, state_dir, "127.0.0.1:0", arguments, environment)
    }

    /// [`Self::start`] where others look for it: on the address that it had before, such as `127.0.0.1:41234`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(binary: &Path, manifest: &Path, state_dir: &Path, address: &str) -> anyhow::Result<Self> {
        Self::launch(binary, manifest, state_dir, address, &[], &[])
    }

    fn launch(
        binary: &Path,
        manifest: &Path,
        state_dir: &Path,
        listen: &str,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .envs(environment.iter().copied())
            .args(["up", "--listen", listen, "--log", "file", "--from"])
            .arg(manifest)
            .arg("--state-dir")
            .arg(state_dir)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("{} can't be started; build it with `cargo build`", binary.display()))?;
        let output = child.stdout.take().context("its output was asked for")?;
        let (found, address) = mpsc::channel();
        // Reads to the end, so that the process never waits for a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("Serving ") {
                    let _ = found.send(url.to_owned());
                }
            }
        });
        match address.recv_timeout(START_TIMEOUT) {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                bail!(
                    "{} didn't say within {START_TIMEOUT:?} that it serves",
                    binary.display()
                )
            }
        }
    }

    /// The application's URL, for example `http://127.0.0.1:41234`.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How much of the machine's memory it takes now, and took at most so far.
    ///
    /// # Errors
    /// Where the system doesn't say.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
            let kilobytes: u64 = kilobytes.with_context(|| format!("no {name} in /proc"))?.parse()?;
            anyhow::Ok(kilobytes * 1024)
        };
        Ok(Memory {
            resident_bytes: bytes("VmRSS")?,
            peak_bytes: bytes("VmHWM")?,
        })
    }

    /// SIGTERM: asks it to end.
    ///
    /// # Errors
    /// What the system says.
    pub fn terminate(&self) -> std::io::Result<()> {
        let id = libc::pid_t::try_from(self.child.id()).map_err(std::io::Error::other)?;
        // SAFETY: kill has no memory effects here. The id is the child's: it isn't given away before the child is waited for.
        match unsafe { libc::kill(id, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    /// Waits until it has ended by itself, at most `deadline`.
    ///
    /// # Errors
    /// Where it is still running then; it is killed.
    pub fn ended(mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + deadline;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the process didn't end within {deadline:?}")
    }

    /// SIGKILL, as a crash would be.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for RealProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `selvedge` binary of the build that the running test belongs to.
///
/// # Errors
/// Where it isn't there.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("a test runs from target/<profile>/deps")?;
    let binary = folder.join("selvedge");
    if !binary.is_file() {
        bail!(
            "{} isn't there; build it with `cargo build -p selvedge-engine`, or run `cargo xtask test`",
            binary.display()
        );
    }
    Ok(binary)
}
