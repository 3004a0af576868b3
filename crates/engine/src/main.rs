//! The `selvedge` binary: runs a Spin application on the embedded engine.

mod cli;
mod open_files;

use std::process::ExitCode;

use clap::Parser;

/// An event's way is many small allocations; this allocator takes a twentieth of its CPU time off.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What was asked for can't be done as it is written; nothing was started.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let cli::Command::Up(options) = cli::Command::parse();
    open_files::raise_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.into()),
    };
    let code = match runtime.block_on(cli::up(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    };
    // Tasks that are still at work must not hold the process: their requests had their time to end.
    runtime.shutdown_background();
    code
}

/// One sentence, with what lies behind it.
fn refuse(error: &anyhow::Error) -> ExitCode {
    // Some causes speak in several lines.
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = one_line(error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = one_line(error.to_string());
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    eprintln!("selvedge: {text}");
    ExitCode::from(EXIT_REFUSED)
}
