//! A system root for `wasm32-wasip2` from Debian's packages and crates.io, for machines that can't reach rustup's server.
//!
//! Debian packages a current compiler with the library's sources, but no `wasm32-wasip2`. So: take WASI's libc from a
//! later release (one package, unpacked but not installed), build the standard library from the packaged sources, and
//! put both into a folder of our own that a wrapper hands to Debian's compiler as its system root.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{TARGET, Toolchain, apt, linkers, version_field};
use crate::process::{self, say};

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const LIBRARY_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The first Debian release whose `wasi-libc` knows `wasm32-wasip2`.
const LIBC_SUITE: &str = "trixie";

/// Part of the cache key: raise it when the recipe changes, and everyone's is made anew.
const RECIPE: u32 = 2;

/// Finds the system root in the cache, or makes it there. Runs at the same time wait for each other; an interrupted run
/// leaves only a folder that the next one removes.
pub fn find_or_make() -> Result<Toolchain> {
    let (component_linker, wasm_linker) = linkers()?;
    if !is_packaged() {
        install_packages()?;
    }
    let version = process::output(Command::new(RUSTC).arg("-vV"))?;
    let hash = version_field(&version, "commit-hash").context("rustc -vV names no commit-hash")?;
    let host = version_field(&version, "host").context("rustc -vV names no host")?;

    let cache = cache_folder()?;
    let sysroot = cache.join(format!("{hash}-{RECIPE}"));
    if !sysroot.is_dir() {
        fs::create_dir_all(&cache).with_context(|| format!("could not create {}", cache.display()))?;
        let lock = File::create(cache.join("lock"))?;
        if lock.try_lock().is_err() {
            say("another run is making the toolchain: waiting for it");
            lock.lock()?;
        }
        if !sysroot.is_dir() {
            make(&cache, &sysroot, &host).context("could not make a toolchain from Debian's packages")?;
        }
    }
    Ok(Toolchain::Made {
        rustc: sysroot.join("bin/rustc"),
        component_linker,
        wasm_linker,
    })
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("SELVEDGE_CACHE_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(std::path::absolute(folder)?.join("wasm-toolchain"));
    }
    let user_cache = match std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = std::env::home_dir().context("there is no home folder: set SELVEDGE_CACHE_DIR to a folder")?;
            home.join(".cache")
        }
    };
    Ok(user_cache.join("selvedge/wasm-toolchain"))
}

fn is_packaged() -> bool {
    [RUSTC, CARGO, LIBRARY_SOURCES]
        .iter()
        .all(|file| Path::new(file).is_file())
}

/// Installs Debian's compiler beside the active toolchain, which stays first on PATH.
fn install_packages() -> Result<()> {
    let wanted = PACKAGES.join(" ");
    let has_apt = Path::new("/usr/bin/apt-get").is_file();
    if !has_apt || process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "{TARGET} is not installed and can't be installed here: run `rustup target add {TARGET}` where rustup reaches \
             its server, or `apt-get install --no-install-recommends {wanted}` as root on Debian 12 or later, and try again"
        );
    }
    say(format_args!("apt-get install {wanted} (once)"));
    let mut install = apt_get();
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(PACKAGES);
    let mut show = Command::new("/usr/bin/apt-cache");
    show.args(["show", "--no-all-versions"])
        .args(PACKAGES)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // A fresh machine has no package lists yet, and an old one may list versions that are gone.
    if !process::status(&mut show)?.success() || !process::status(&mut install)?.success() {
        process::run(apt_get().arg("update"))?;
        process::run(&mut install)?;
    }
    if !is_packaged() {
        bail!(
            "{wanted} are installed, yet one of {RUSTC}, {CARGO}, {LIBRARY_SOURCES} is missing: use Debian 12, or a \
             machine where rustup reaches its server"
        );
    }
    Ok(())
}

/// apt-get with signatures checked whatever the machine's configuration says, and no questions. Its output goes to
/// standard error, like everything else that isn't a result.
fn apt_get() -> Command {
    let mut command = Command::new("/usr/bin/apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    command.args([
        "-qq",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::AllowInsecureRepositories=false",
    ]);
    command.args(["-o", "APT::Get::AllowUnauthenticated=false"]);
    command
}

/// Makes the system root in a folder beside its place, and renames it there as the last thing.
fn make(cache: &Path, sysroot: &Path, host: &str) -> Result<()> {
    let partial = cache.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let root = partial.join("sysroot");
    let libraries = root.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(libraries.join("self-contained"))?;
    fs::create_dir_all(root.join("bin"))?;

    say(format_args!(
        "making a {TARGET} toolchain in {} (once, about a minute)",
        sysroot.display()
    ));
    for name in [host, "src", "etc"] {
        symlink(
            Path::new("/usr/lib/rustlib").join(name),
            root.join("lib/rustlib").join(name),
        )?;
    }
    fetch_libc(&partial.join("libc"), &libraries.join("self-contained"))?;
    build_std(&partial.join("std"), &libraries)?;

    let wrapper = root.join("bin/rustc");
    fs::write(
        &wrapper,
        format!("#!/bin/sh\nexec {RUSTC} --sysroot '{}' \"$@\"\n", sysroot.display()),
    )?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;

    fs::rename(&root, sysroot)?;
    fs::remove_dir_all(&partial)?;
    say("the toolchain is ready");
    Ok(())
}

/// Takes WASI's libc out of the later release's package. Nothing is installed, and apt's own state isn't touched.
fn fetch_libc(work: &Path, destination: &Path) -> Result<()> {
    fs::create_dir_all(work.join("state/lists/partial"))?;
    fs::create_dir_all(work.join("cache/archives/partial"))?;
    let sources = work.join("private.sources");
    fs::write(&sources, apt::sources_for(LIBC_SUITE)?)?;

    let private_apt_get = || {
        let mut command = apt_get();
        command.current_dir(work);
        for (option, path) in [
            ("Dir::Etc::sourcelist", sources.clone()),
            ("Dir::Etc::sourceparts", work.join("none")),
            ("Dir::State", work.join("state")),
            ("Dir::Cache", work.join("cache")),
        ] {
            command.arg("-o").arg(format!("{option}={}", path.display()));
        }
        // The package's index only: no translations, no descriptions for software centres. Fetched as the user who
        // runs this, whose cache folder apt's own user can't enter.
        command.args(["-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"]);
        command.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
        command
    };
    say(format_args!("fetching wasi-libc of Debian {LIBC_SUITE} with apt"));
    // A mirror may not carry the later release while another one does: the download decides.
    let updated = process::status(private_apt_get().arg("update"))?;
    process::run(private_apt_get().args(["download", "wasi-libc"])).with_context(|| {
        format!("no wasi-libc of Debian {LIBC_SUITE} from this machine's mirrors (update: {updated})")
    })?;

    let package = fs::read_dir(work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    process::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(&package)
            .arg(work.join("unpacked")),
    )?;
    let files = work.join("unpacked/usr/lib").join(TARGET);
    for name in ["libc.a", "crt1-command.o", "crt1-reactor.o"] {
        fs::copy(files.join(name), destination.join(name))
            .with_context(|| format!("wasi-libc of Debian {LIBC_SUITE} has no {TARGET}/{name}"))?;
    }
    Ok(())
}

/// Builds the standard library from the packaged sources, as a dependency of an empty crate.
fn build_std(work: &Path, destination: &Path) -> Result<()> {
    say("building the standard library");
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "")?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(work.join("Cargo.toml"), manifest)?;

    let mut cargo = Command::new(CARGO);
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "LD_LIBRARY_PATH",
    ] {
        cargo.env_remove(name);
    }
    cargo.current_dir(work).env("RUSTC", RUSTC);
    // Building std is an unstable feature that the packaged compiler's sources were made for.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    // Machine code and bitcode: without the second the functions' own link-time optimisation can't read the libraries,
    // without the first the linker optimises by itself and brings in their WIT descriptions twice. One unit for each
    // library, as Rust's own are built.
    cargo
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", "-Cembed-bitcode=yes");
    cargo.args([
        "build",
        "-Zbuild-std=std,panic_abort",
        "--target",
        TARGET,
        "--release",
        "--target-dir",
        "target",
    ]);
    process::run(&mut cargo)?;

    for entry in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(entry.path(), destination.join(&name))?;
        }
    }
    Ok(())
}
