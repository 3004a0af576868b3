//! The fuzzer; `cargo xtask fuzz` builds and starts it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use selvedge_fuzz::campaign::{self, Budget};
use selvedge_fuzz::target::Target;
use selvedge_fuzz::{corpus, coverage::Coverage, targets};
use selvedge_testkit::figures;

/// Seconds per target where nothing else is asked for.
const SECONDS: u64 = 10;

/// Run mutated examples through every parser, codec and route.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz", bin_name = "cargo xtask fuzz")]
struct Options {
    /// Seconds per target; 10 where no number of executions is given either.
    #[arg(long)]
    seconds: Option<u64>,
    /// Executions per target.
    #[arg(long)]
    executions: Option<u64>,
    /// Only this target; may be given several times.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// The seed; a random one where none is given. It is printed, and makes the same inputs again.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for, and says how many findings there are.
fn run(options: &Options) -> anyhow::Result<usize> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let budget = Budget {
        time: match (options.seconds, options.executions) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, Some(_)) => Duration::MAX,
            (None, None) => Duration::from_secs(SECONDS),
        },
        executions: options.executions.unwrap_or(u64::MAX),
    };
    let guidance = if Coverage::new().is_measured() {
        "guided by coverage"
    } else {
        "without coverage"
    };
    println!("seed {seed}, {guidance}");
    println!(
        "{:16} {:>12} {:>12} {:>8} {:>8} {:>9}",
        "target", "executions", "per second", "edges", "kept", "findings"
    );
    let (mut executions, mut findings) = (0, 0);
    for target in chosen(&options.target)? {
        let examples = corpus::read(&corpus::examples_folder(target.name))?;
        let examples: Vec<_> = examples.into_iter().map(|(_, bytes)| bytes).collect();
        let summary = campaign::run(target, &examples, seed, budget);
        println!(
            "{:16} {:>12} {:>12.0} {:>8} {:>8} {:>9}",
            target.name,
            summary.executions,
            summary.executions as f64 / summary.time.as_secs_f64(),
            summary.edges,
            summary.kept,
            summary.findings.len()
        );
        for finding in &summary.findings {
            let folder = corpus::findings_folder(target.name);
            let name = campaign::write(finding, &folder).context("the finding can't be written")?;
            println!(
                "  {}: {}",
                folder.join(name).display(),
                finding.message.replace('\n', " ")
            );
        }
        let told = [
            ("executions", summary.executions.to_string()),
            ("seconds", format!("{:.0}", summary.time.as_secs_f64())),
            ("edges", summary.edges.to_string()),
            ("findings", summary.findings.len().to_string()),
        ];
        figures::keep(corpus::root(), "fuzz", target.name, &told)?;
        executions += summary.executions;
        findings += summary.findings.len();
    }
    println!("{:16} {executions:>12} {:>40}", "all", findings);
    Ok(findings)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(targets::ALL.iter().collect());
    }
    let find = |name: &String| match targets::find(name) {
        Some(target) => Ok(target),
        None => {
            let known: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
            bail!("there is no target {name:?}; there are {}", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}
