//! `cargo xtask sim --report`: what was tried, how often, and what was found, as a page.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use selvedge_engine::Program;
use selvedge_testkit::sweep::{self, COPIES, FAULTS, Report};

use crate::Search;
use crate::commit::commit_hash;
use crate::mutant_hunt::{self, Hunted};
use crate::todo_journey::{only_its_events, todo_journey};

/// The lines between which the testkit's README has the table.
const TABLE: [&str; 2] = [
    "<!-- mutants: written by `cargo xtask sim --report` -->\n",
    "<!-- /mutants -->\n",
];

/// Sweeps and hunts, and writes that and `search` to docs/reliability.md and the testkit's README.
pub fn write(root: &Path, program: &Arc<Program>, search: &Search) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let swept = sweep::sweep(program, &todo_journey, &only_its_events);
    let sweep_seconds = begun.elapsed().as_secs_f64();
    println!("{swept}");
    // A journey that panics is one of the ways in which a mutant is found.
    std::panic::set_hook(Box::new(|_| {}));
    let hunted = mutant_hunt::hunt_all(root, None)?;
    let missed = hunted.iter().filter(|(.., found)| found.is_none()).count();

    let page = page(root, search, &swept, sweep_seconds, &hunted);
    std::fs::write(root.join("docs/reliability.md"), page).context("writing docs/reliability.md")?;
    let readme = root.join("crates/testkit/README.md");
    let text = std::fs::read_to_string(&readme)?;
    let [begin, end] = TABLE;
    let (before, rest) = text
        .split_once(begin)
        .context("the testkit's README has no place for the mutants")?;
    let (_, after) = rest.split_once(end).context("the place for the mutants has no end")?;
    std::fs::write(&readme, format!("{before}{begin}{}{end}{after}", table(&hunted)))?;
    let holds = search.broken.is_empty() && swept.broken.is_empty() && missed == 0;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(hunted: &[Hunted]) -> String {
    let mut table = "\n| Mutant | Its mistake | Found by | Runs |\n|---|---|---|---|\n".to_owned();
    for (mutant, mistake, found) in hunted {
        let (by, runs) = found
            .as_ref()
            .map_or(("**nothing**", 0), |found| (&found.by, found.runs));
        // Writing to a String can't fail.
        let _ = writeln!(table, "| `{mutant}` | {mistake} | {by} | {runs} |");
    }
    table.push('\n');
    table
}

fn page(root: &Path, search: &Search, swept: &Report, sweep_seconds: f64, hunted: &[Hunted]) -> String {
    let commit = commit_hash(root).unwrap_or_else(|| "without git".to_owned());
    let found = hunted.iter().filter(|(.., found)| found.is_some()).count();
    let broken_cases = swept.broken.len();
    let broken_seeds = if search.broken.is_empty() {
        "none".to_owned()
    } else {
        format!("{:?}", search.broken)
    };
    let Search {
        from,
        runs,
        journeys,
        events,
        calls,
        faults,
        seconds,
        threads,
        ..
    } = search;
    let per_second = *journeys as f64 / seconds;
    format!(
        "# Reliability: what was tried

Written by `cargo xtask sim --report`, from its own runs. Commit {commit}.

The shipped `.wasm` files run in simulated worlds ([testkit](../crates/testkit/README.md)): every world has its own clock,
randomness, stores and network, and the same number makes the same run, call for call.

## Random seeds

Random clients give commands, by turns sensible and not; two of them complete the same todo at once; another producer's
events can't be understood. Meanwhile calls fail, hang, are late, reach their goal and lose their answer; instances trap;
requests are copied and overtake each other; nodes are lost and started; clients go away; the clock is stepped by up to an
hour; the cron misses ticks; the webhook fails, hangs, and answers late. Then the faults end, the world comes to rest, and
checkers read the stores. Every eighth seed has no faults and no cron: the bells alone must bring everything.

| | |
|---|---|
| Seeds | {runs}, from {from} |
| Journeys (accepted commands and all that followed) | {journeys} |
| Events | {events} |
| Host calls | {calls} |
| Faults met | {faults} |
| Time | {seconds:.0} s on {threads} threads: {per_second:.0} journeys per second |
| Seeds that broke a promise | {broken_seeds} |

Again: `cargo xtask sim --runs {runs} --from {from}`; one seed with its story: `cargo xtask sim --seed N`.

## The crash sweep

One journey (a todo is created and completed), run again for every host call that it makes and every fault that the call
can meet: trapped, node lost, failed, hung, late, before and after its effect; client gone; a request copied at once and
after 20 s.

| | |
|---|---|
| Host calls of the journey | {sweep_calls} |
| Kinds of fault | {kinds} |
| Runs | {sweep_runs}, in {sweep_seconds:.0} s |
| Runs that broke a promise | {broken_cases} |

Again: `cargo xtask test --only crash_sweep`.

## What the silence is worth

{found} of {mutants} mistakes that the kernel can be told to make were found by these runs.
{table}
Again: `cargo xtask sim --mutants`.

## What is checked

- Every event has exactly one effect per subscription that hears it, or is a dead letter with its reason and attempts.
- What was answered with 201 is in the journal, once; no command took effect twice.
- A todo is completed once, however many ask at the same moment; every stream's versions follow each other.
- The counts of analytics are what a fold over the journal gives.
- No cursor ever goes back; no lease, retry or mark is left when the world is at rest.
- Every notification that isn't a dead letter was taken by the webhook, at least once.
- A dead letter had its attempts, and the time between them.
- What is done is marked as done for as long as it could be delivered again.
",
        sweep_calls = swept.calls,
        sweep_runs = swept.runs,
        kinds = FAULTS.len() + COPIES.len(),
        mutants = hunted.len(),
        table = table(hunted),
    )
}
