//! The engine as its own process: the shipped binary, on a state folder and a free port.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};

/// How long the engine may take to say that it serves.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running `selvedge` process. It is killed when this is dropped.
#[derive(Debug)]
pub struct RealProcess {
    child: Child,
    address: String,
}

impl RealProcess {
    /// Starts `binary` on the manifest with its state in `state_dir`, on a free port.
    ///
    /// # Errors
    /// Where it doesn't say within a minute that it serves; with what it printed.
    pub fn start(binary: &Path, manifest: &Path, state_dir: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .args(["up", "--listen", "127.0.0.1:0", "--log", "file", "--from"])
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
