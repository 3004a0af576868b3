//! A Redis server.

use super::{Access, Certificates, Server};

/// A `redis-server`. What it acknowledged is in its append-only file, so that a SIGKILL loses none of it.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    access: Access,
}

impl RedisServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// Where it isn't installed and can't be, or doesn't start; the text says what to do.
    pub fn start(access: Access) -> anyhow::Result<Self> {
        let server = Server::start("redis-server", "redis-server", |port, folder| {
            let port = port.to_string();
            let plain = ["--port", &port];
            let mut arguments: Vec<String> = match access {
                Access::Open => plain.map(str::to_owned).into(),
                Access::Password(password) => [&plain[..], &["--requirepass", password]]
                    .concat()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                Access::Tls => {
                    let files = Certificates::shared()?;
                    let (certificate, key, authority) = (files.certificate(), files.key(), files.authority());
                    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
                    [
                        "--port",
                        "0",
                        "--tls-port",
                        &port,
                        "--tls-auth-clients",
                        "no",
                        "--tls-cert-file",
                    ]
                    .map(str::to_owned)
                    .into_iter()
                    .chain([path(&certificate), "--tls-key-file".to_owned(), path(&key)])
                    .chain(["--tls-ca-cert-file".to_owned(), path(&authority)])
                    .collect()
                }
            };
            let kept = ["--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--dir"];
            arguments.extend(kept.map(str::to_owned));
            arguments.push(folder.to_string_lossy().into_owned());
            Ok(arguments)
        })?;
        Ok(Self { server, access })
    }

    /// Its URL, with the password if it has one.
    pub fn url(&self) -> String {
        let address = self.server.address;
        match self.access {
            Access::Open => format!("redis://{address}"),
            Access::Password(password) => format!("redis://:{password}@{address}"),
            Access::Tls => format!("rediss://{address}"),
        }
    }

    /// SIGKILL, as a crash would be.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.server.kill()
    }

    /// Starts it again on the same port, with what it kept.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.server.start_again()
    }

    /// The events in a stream, as JSON, in their order.
    ///
    /// # Errors
    /// What the server or the network says, or where an entry has another shape.
    pub fn entries(&self, stream: &str) -> anyhow::Result<Vec<String>> {
        let mut connection = self.connect()?;
        let entries: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
            .arg(stream)
            .arg("-")
            .arg("+")
            .query(&mut connection)?;
        let event = |(id, mut fields): (String, Vec<(String, String)>)| match (fields.pop(), fields.len()) {
            (Some((name, event)), 0) if name == "event" => Ok(event),
            _ => anyhow::bail!("the entry {id} isn't one field `event`"),
        };
        entries.into_iter().map(event).collect()
    }

    /// A connection of the test's own.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection()
    }
}
