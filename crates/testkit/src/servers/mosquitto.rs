//! A Mosquitto broker.

use std::fmt::Write;
use std::process::Command;

use anyhow::Context;

use super::{Access, Certificates, Server};

/// The user that goes with a password.
const USER: &str = "selvedge";

/// A `mosquitto`. It keeps nothing on disk: what it hadn't passed on when it was killed is lost.
#[derive(Debug)]
pub struct Mosquitto {
    server: Server,
    access: Access,
}

impl Mosquitto {
    /// Starts one on a free port. Where it takes a password, the user is `selvedge`.
    ///
    /// # Errors
    /// Where it isn't installed and can't be, or doesn't start; the text says what to do.
    pub fn start(access: Access) -> anyhow::Result<Self> {
        let server = Server::start("mosquitto", "mosquitto", |port, folder| {
            let mut text = format!(
                "listener {port} 127.0.0.1\nallow_anonymous {}\nuser root\nlog_type error\n",
                !matches!(access, Access::Password(_))
            );
            match access {
                Access::Open => {}
                Access::Password(password) => {
                    let file = folder.join("passwords");
                    let made = Command::new("mosquitto_passwd")
                        .args(["-b", "-c"])
                        .arg(&file)
                        .args([USER, password])
                        .status();
                    anyhow::ensure!(made.context("mosquitto_passwd")?.success(), "mosquitto_passwd failed");
                    writeln!(text, "password_file {}", file.display())?;
                }
                Access::Tls => {
                    let files = Certificates::shared()?;
                    writeln!(text, "certfile {}", files.certificate().display())?;
                    writeln!(text, "keyfile {}", files.key().display())?;
                    writeln!(text, "cafile {}", files.authority().display())?;
                }
            }
            let file = folder.join("mosquitto.conf");
            std::fs::write(&file, text)?;
            Ok(vec!["-c".to_owned(), file.to_string_lossy().into_owned()])
        })?;
        Ok(Self { server, access })
    }

    /// Its URL; user and password aren't in it.
    pub fn url(&self) -> String {
        let scheme = if self.access == Access::Tls { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}", self.server.address)
    }

    /// As whom it is reached: user and password, empty where it asks for none.
    pub fn credentials(&self) -> (&'static str, &'static str) {
        match self.access {
            Access::Password(password) => (USER, password),
            Access::Open | Access::Tls => ("", ""),
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
}
