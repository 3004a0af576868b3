//! `cargo xtask test`: every test there is, on the components as they are shipped.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::{components, example, npm, workspace};

/// What the end-to-end tests are and what they start: the packages of the tests and of the engine.
pub const END_TO_END: [&str; 4] = ["--package", "selvedge-tests", "--package", "selvedge-engine"];

/// Build the functions and run the tests: unit, documentation and end to end.
#[derive(clap::Args)]
pub struct Test {
    /// Only the end-to-end tests whose name contains this; `greetings` is the example outside the workspace.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Given to the test binaries as they are.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

impl Test {
    /// Runs what was asked for. An error when a test failed, when something didn't compile, or when `--only` named
    /// nothing.
    pub fn run(self) -> Result<()> {
        let started = Instant::now();
        components::build_all()?;
        let mut arguments = self.arguments.clone();
        for tool in &npm::TOOLS {
            if !tool.install()? {
                arguments.extend(["--skip".into(), tool.test.into()]);
            }
        }
        let mut totals = Totals::default();
        match &self.only {
            Some(name) if name == example::NAME => test_example(&mut totals, &arguments)?,
            Some(name) => {
                if "mutants::".contains(name.as_str()) || name.starts_with("mutants::") {
                    components::build_mutants()?;
                }
                build_engine(&END_TO_END)?;
                let behaviours = [&END_TO_END[..], &["--test", "behaviours"]].concat();
                totals.add(&mut cargo_test(&behaviours, Some(name), &arguments))?;
                if totals.passed + totals.failed + totals.unfinished == 0 {
                    bail!("no end-to-end test has {name:?} in its name; `cargo xtask test -- --list` lists them all");
                }
            }
            None => run_all(&mut totals, &arguments)?,
        }
        let seconds = started.elapsed().as_secs();
        let Totals {
            passed,
            failed,
            ignored,
            unfinished,
        } = totals;
        say(format_args!(
            "{passed} tests passed, {failed} failed, {ignored} ignored, in {seconds} s"
        ));
        if failed > 0 {
            bail!("{failed} tests failed; they are named above");
        }
        if unfinished > 0 {
            bail!("cargo test did not get to its end; the reason is above");
        }
        Ok(())
    }
}

fn run_all(totals: &mut Totals, arguments: &[OsString]) -> Result<()> {
    components::build_mutants()?;
    let functions = components::all()?;
    // The functions' handlers are exported under names that only a component can have, so that for the host only their
    // unit tests can be linked.
    let mut host = vec!["--workspace", "--features", "xtask/bench"];
    let mut guest = vec!["--lib", "--no-fail-fast"];
    for function in &functions {
        host.extend(["--exclude", function]);
        guest.extend(["--package", function]);
    }
    say("unit tests of the functions");
    totals.add(&mut cargo_test(&guest, None, arguments))?;
    say("the consumer's sweep, with the kernel's mutants");
    let consumer = ["--package", "selvedge", "--features", "mutants", "--test", "consumer"];
    totals.add(&mut cargo_test(&consumer, None, arguments))?;
    build_engine(&host)?;
    say("unit, documentation and end-to-end tests");
    host.push("--no-fail-fast");
    totals.add(&mut cargo_test(&host, None, arguments))?;
    test_example(totals, arguments)
}

/// The example outside the workspace.
fn test_example(totals: &mut Totals, arguments: &[OsString]) -> Result<()> {
    say("the example outside the workspace");
    example::build()?;
    totals.add(example::test()?.arg("--").args(arguments))
}

/// Some end-to-end tests start the engine's binary, which `cargo test` doesn't build by itself. The tests are built along
/// with it, so that cargo chooses the same features for both and compiles wasmtime once.
pub fn build_engine(packages: &[&str]) -> Result<()> {
    say("the engine and the tests");
    process::run(
        workspace::cargo()
            .arg("build")
            .args(packages)
            .args(["--bins", "--tests"]),
    )
}

fn cargo_test(what: &[&str], filter: Option<&str>, arguments: &[OsString]) -> Command {
    let mut cargo = workspace::cargo();
    cargo.arg("test").args(what).arg("--").args(filter).args(arguments);
    cargo
}

/// What the test binaries said, added up.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Runs of cargo that didn't end well.
    unfinished: u64,
}

impl Totals {
    /// Runs the tests with their output visible, and adds what they say in the end.
    fn add(&mut self, tests: &mut Command) -> Result<()> {
        let mut child = process::spawn(tests.stdout(Stdio::piped()))?;
        let stdout = child.stdout.take().context("the tests' output isn't piped")?;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.add_line(&line);
        }
        if !child.wait()?.success() {
            self.unfinished += 1;
        }
        Ok(())
    }

    /// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; …`; other lines say nothing.
    fn add_line(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, name)) = count.split_once(' ') else {
                continue;
            };
            let total = match name {
                "passed" => &mut self.passed,
                "failed" => &mut self.failed,
                "ignored" => &mut self.ignored,
                _ => continue,
            };
            *total += number.parse().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up_and_other_lines_are_not() {
        let mut totals = Totals::default();
        for line in [
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test results::are_kept ... ok",
            "test result: gibberish",
        ] {
            totals.add_line(line);
        }
        assert_eq!((totals.passed, totals.failed, totals.ignored), (7, 3, 1));
    }
}
