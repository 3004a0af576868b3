//! The command line of the `selvedge` binary.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser, ValueEnum};
use selvedge_engine::config::{Manifest, RuntimeConfig, RuntimeFolders};
use selvedge_engine::wiring::{self, OutputTo};
use selvedge_engine::{Application, Error, Program, preflight, program};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Event-driven microservices as Wasm functions, without anything to install.
#[derive(Parser)]
#[command(name = "selvedge", version)]
pub enum Command {
    /// Runs an application until Ctrl-C or SIGTERM.
    Up(Up),
}

/// How to run an application.
#[derive(Args)]
pub struct Up {
    /// The application's manifest.
    #[arg(long, short = 'f', default_value = "spin.toml", value_name = "FILE")]
    from: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the default stores and the logs lie; default: `.spin` beside the manifest.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Where the stores are, in Spin's format; default: files in the state folder.
    #[arg(long, value_name = "FILE")]
    runtime_config_file: Option<PathBuf>,
    /// The value of an application variable; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    variable: Vec<(String, String)>,
    /// Where components' output goes.
    #[arg(long, value_enum, default_value = "all")]
    log: Log,
    /// Print nothing but the address and errors.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    /// To files in the state folder, and to the terminal.
    All,
    /// To files in the state folder only.
    File,
    /// To the terminal only.
    Terminal,
    /// Nowhere.
    Off,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the application until it is told to stop.
pub async fn up(options: Up) -> anyhow::Result<()> {
    let manifest = Manifest::read(&options.from)?;
    let folders = RuntimeFolders {
        application: manifest.folder.clone(),
        current: std::env::current_dir()?,
        state_dir: options.state_dir.clone(),
    };
    let runtime = RuntimeConfig::read(options.runtime_config_file.as_deref(), &folders)?;
    let overrides: BTreeMap<String, String> = options.variable.iter().cloned().collect();
    let variables = program::variables(&manifest, &runtime, overrides.clone(), options.listen)?;
    preflight::check(&manifest, &runtime, &variables)?;
    let ports = wiring::real_ports(&runtime, options.log.output())?;
    let address = options.listen.to_string();
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|cause| Error::Listen { address, cause })?;
    let listening = listener.local_addr()?;
    // Only now is it known where a listener on port 0 listens.
    let variables = program::variables(&manifest, &runtime, overrides, listening)?;
    let progress = |line: &str| {
        if !options.quiet {
            println!("{line}");
        }
    };
    let program = Arc::new(Program::compile(manifest, Some(cache_folder()), &progress)?);
    program.start_epoch();
    let application = Application::start(program, ports, &variables)?;
    announce(&application, listening, &runtime.state_dir, options.quiet)?;
    application.serve(listener, stop()?).await;
    progress("Stopped.");
    Ok(())
}

impl Log {
    fn output(self) -> OutputTo {
        OutputTo {
            files: matches!(self, Self::All | Self::File),
            terminal: matches!(self, Self::All | Self::Terminal),
        }
    }
}

/// Resolves with Ctrl-C or SIGTERM.
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Compiled components are kept here; they are made again when they are gone.
fn cache_folder() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("SELVEDGE_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("selvedge")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/selvedge")))
        .unwrap_or_else(|| std::env::temp_dir().join("selvedge"));
    folder.join("components")
}

/// Says where the application is, what it offers, and what to try.
fn announce(application: &Application, address: SocketAddr, data: &Path, quiet: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Serving http://{address}")?;
    if !quiet {
        writeln!(out, "Routes:")?;
        for (route, component) in application.routes() {
            writeln!(out, "  {route:24} {component}")?;
        }
        writeln!(out, "Data: {}", data.display())?;
        writeln!(out, "Try:")?;
        writeln!(
            out,
            r#"  curl -d '{{"title":"Buy groceries","userId":"u1"}}' http://{address}/todos"#
        )?;
        writeln!(out, "  curl 'http://{address}/notifications?userId=u1'")?;
        if out.is_terminal() {
            writeln!(out, "Ctrl-C ends it.")?;
        }
    }
    out.flush()
}
