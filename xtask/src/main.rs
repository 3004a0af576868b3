//! The project's commands: `cargo xtask <command>`.

mod bench;
mod components;
mod example;
mod fuzz;
mod hardship;
mod npm;
mod process;
mod sim;
mod test;
mod toolchain;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    Build(components::Build),
    Up(up::Up),
    Test(test::Test),
    Bench(bench::Bench),
    Sim(sim::Sim),
    Fuzz(fuzz::Fuzz),
    Hardship(hardship::Hardship),
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    Load(bench::load::Load),
}

fn main() -> ExitCode {
    let result = match Xtask::parse().command {
        Task::Build(build) => build.run(),
        Task::Up(up) => up.run(),
        Task::Test(test) => test.run(),
        Task::Bench(bench) => bench.run(),
        Task::Sim(sim) => sim.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Hardship(hardship) => hardship.run(),
        #[cfg(feature = "bench")]
        Task::Load(load) => load.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
