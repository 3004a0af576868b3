//! Certificates for servers that speak TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::ensure_installed;

/// A certificate for 127.0.0.1 and localhost, its key, and the authority that signed it, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Those that all servers of this process share.
    ///
    /// # Errors
    /// Where `openssl` isn't installed and can't be, or fails.
    pub fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceLock<Result<Certificates, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::make().map_err(|error| format!("{error:#}")));
        shared
            .as_ref()
            .map_err(|error| anyhow::anyhow!("no certificates: {error}"))
    }

    fn make() -> anyhow::Result<Self> {
        ensure_installed("openssl", "openssl")?;
        let made = Self {
            folder: tempfile::tempdir()?,
        };
        let folder = made.folder.path();
        openssl(
            folder,
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout authority.key -out authority.pem \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign",
        )?;
        std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
        openssl(
            folder,
            "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        )?;
        openssl(
            folder,
            "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names \
             -out server.pem",
        )?;
        Ok(made)
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// The server's private key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// The certificate of the authority: who trusts it (SSL_CERT_FILE) trusts the server.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }
}

fn openssl(folder: &Path, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output();
    let output = output.context("openssl can't be started")?;
    if !output.status.success() {
        bail!("openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
