//! Message brokers for tests: real servers as processes of their own, on free ports, which a test may kill and start again.
//!
//! What isn't installed is installed by apt where the test runs as root; elsewhere an error says what to install.

mod certificates;
mod kafka;
mod mosquitto;
mod redis;
mod silent;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

pub use self::certificates::Certificates;
pub use self::kafka::KafkaBroker;
pub use self::mosquitto::Mosquitto;
pub use self::redis::RedisServer;
pub use self::silent::SilentServer;

/// How long a server may take to accept its first connection.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How a server is to be guarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Anybody may connect, in the clear.
    #[default]
    Open,
    /// With this password, in the clear.
    Password(&'static str),
    /// By TLS only, with certificates that only those trust who trust [`Certificates::authority`].
    Tls,
}

/// A server's process. It is killed when this is dropped.
#[derive(Debug)]
struct Server {
    program: &'static str,
    arguments: Vec<String>,
    address: SocketAddr,
    child: Option<Child>,
    folder: TempDir,
}

impl Server {
    /// Starts `program`, of the Debian package `package`. `arguments` gets a free port and an empty folder.
    fn start(
        program: &'static str,
        package: &str,
        arguments: impl FnOnce(u16, &Path) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Self> {
        ensure_installed(program, package)?;
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut server = Self {
            program,
            arguments: arguments(port, folder.path())?,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            child: None,
            folder,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it again where it was, with what it kept.
    fn start_again(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let child = Command::new(self.program)
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("{} can't be started", self.program))?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status} before it took a connection", self.program);
            }
            if Instant::now() > deadline {
                bail!("{} takes no connection within {START_TIMEOUT:?}", self.program);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// SIGKILL, as a crash would be.
    fn kill(&mut self) -> std::io::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A port of 127.0.0.1 on which nobody listens just now.
///
/// # Errors
/// What the system says.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn ensure_installed(program: &str, package: &str) -> anyhow::Result<()> {
    // apt lets only one process at it.
    static APT: Mutex<()> = Mutex::new(());
    let _apt = APT.lock();
    let is_there = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        folders.any(|folder| folder.join(program).is_file())
    };
    if is_there() {
        return Ok(());
    }
    println!("{program} isn't installed: apt-get install {package}");
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", package],
    ] {
        let apt = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The package's own start would take the well-known port.
            .env("RUNLEVEL", "1")
            .output();
        let failure = match apt {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        bail!("{program} is needed and can't be installed here: run `apt-get install {package}` as root ({failure})");
    }
    if !is_there() {
        bail!("{package} was installed and brought no {program}");
    }
    Ok(())
}
