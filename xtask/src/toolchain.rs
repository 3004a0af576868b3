//! Finds a Rust toolchain that builds for `wasm32-wasip2`, or makes one.
//!
//! Three ways, the first that works is taken: the target is installed; rustup installs it; or, where rustup can't reach
//! its server, the standard library is built from Debian's packages and crates.io ([`debian`]).

mod apt;
mod debian;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};

/// The target that Spin's components are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// Picks one way instead of trying them in turn: `rustup` or `debian`.
const WAY: &str = "SELVEDGE_WASM_TOOLCHAIN";

/// How long rustup may take to install the target. It is 20 MB; where a firewall swallows packets it would wait longer.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// What builds for [`TARGET`].
pub enum Toolchain {
    /// The active toolchain has the target.
    Installed,
    /// A system root of our own for Debian's compiler, with the linkers of the active toolchain.
    Made {
        rustc: PathBuf,
        component_linker: PathBuf,
        wasm_linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds the toolchain, or makes it once and keeps it in the user's cache folder.
    pub fn find_or_make() -> Result<Self> {
        match std::env::var(WAY).as_deref() {
            Ok("debian") => return debian::find_or_make(),
            Ok("rustup") | Err(_) => {}
            Ok(other) => bail!("{WAY} is {other:?}; set it to \"rustup\" or \"debian\", or leave it unset"),
        }
        if is_installed()? || add_with_rustup()? {
            return Ok(Self::Installed);
        }
        if std::env::var_os(WAY).is_some() {
            bail!("rustup could not install {TARGET}; unset {WAY} to have it made from Debian's packages instead");
        }
        debian::find_or_make()
    }

    /// Makes cargo use this toolchain for [`TARGET`].
    pub fn apply_to(&self, cargo: &mut Command) {
        // Either would replace the flags below, and the functions' profile already says all there is to say.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Self::Made {
            rustc,
            component_linker,
            wasm_linker,
        } = self
        {
            cargo
                .env("RUSTC", rustc)
                .env("CARGO_TARGET_WASM32_WASIP2_LINKER", component_linker)
                .env(
                    "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
                    format!("-Clink-arg=--wasm-ld-path={}", wasm_linker.display()),
                );
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => f.write_str("the active toolchain"),
            Self::Made { rustc, .. } => write!(f, "{}", rustc.display()),
        }
    }
}

/// The compiler that cargo would use here.
fn active_rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Whether the active toolchain has the target's standard library; asked of the compiler, so that it holds without
/// rustup too.
fn is_installed() -> Result<bool> {
    let folder = process::output(active_rustc().args(["--print", "target-libdir", "--target", TARGET]))?;
    let Ok(entries) = std::fs::read_dir(folder.trim()) else {
        return Ok(false);
    };
    Ok(entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

/// Lets rustup install the target. `false` when there is no rustup, or it failed, or it took too long.
fn add_with_rustup() -> Result<bool> {
    let there_is_rustup = Command::new("rustup")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !there_is_rustup.is_ok_and(|status| status.success()) {
        say("there is no rustup to install the target with");
        return Ok(false);
    }
    say(format_args!(
        "rustup target add {TARGET} (at most {} s)",
        RUSTUP_LIMIT.as_secs()
    ));
    match process::status_within(Command::new("rustup").args(["target", "add", TARGET]), RUSTUP_LIMIT)? {
        Some(status) if status.success() => is_installed(),
        Some(status) => {
            say(format_args!("rustup ended with {status}"));
            Ok(false)
        }
        None => {
            say("rustup took too long and was stopped");
            Ok(false)
        }
    }
}

/// The two linkers that come with the active toolchain: `wasm-component-ld` and `wasm-ld`.
fn linkers() -> Result<(PathBuf, PathBuf)> {
    let sysroot = process::output(active_rustc().args(["--print", "sysroot"]))?;
    let folder = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host_of(&mut active_rustc())?)
        .join("bin");
    let linkers = (folder.join("wasm-component-ld"), folder.join("gcc-ld/wasm-ld"));
    for linker in [&linkers.0, &linkers.1] {
        if !linker.is_file() {
            bail!(
                "{} is missing: the active Rust toolchain must be one that rustup installed (stable has both linkers)",
                linker.display()
            );
        }
    }
    Ok(linkers)
}

/// A compiler's host triple.
fn host_of(rustc: &mut Command) -> Result<String> {
    version_field(&process::output(rustc.arg("-vV"))?, "host").context("rustc -vV names no host")
}

/// A field of what `rustc -vV` prints.
fn version_field(version: &str, name: &str) -> Option<String> {
    version
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_field_is_read_by_its_whole_name() {
        let version = "rustc 1.96.0\nbinary: rustc\ncommit-hash: ac68\ncommit-date: 2026-05-25\nhost: x86_64-unknown\n";
        assert_eq!(version_field(version, "commit-hash").as_deref(), Some("ac68"));
        assert_eq!(version_field(version, "host").as_deref(), Some("x86_64-unknown"));
        assert_eq!(version_field(version, "commit"), None);
    }
}
