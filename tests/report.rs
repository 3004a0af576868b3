//! `cargo xtask sim --report`: what was tried, how often, and what was found, as a page.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use selvedge_testkit::chaos::Bounds;
use selvedge_testkit::figures::{self, Figures};
use selvedge_testkit::sweep::{COPIES, FAULTS};

use crate::application::{Broker, Clients, Programs, Setting};
use crate::mutant_hunt::{self, Hunted};
use crate::search::{self, Extent, Search};

/// The lines between which the testkit's README has the table.
const TABLE: [&str; 2] = [
    "<!-- mutants: written by `cargo xtask sim --report` -->\n",
    "<!-- /mutants -->\n",
];
/// For so many runs that were asked for there is one with the clients of todos, or by a broker one with either clients.
const SHARE: usize = 10;

/// Searches and hunts, and writes what came of it to docs/reliability.md and the testkit's README. The figures of the sweeps,
/// of hardship and of the fuzzers are those that the last of these runs has left.
pub fn write(root: &Path, programs: &Programs, from: u64, extent: Extent, bounds: Bounds) -> anyhow::Result<ExitCode> {
    let searches: Vec<_> = settings()
        .map(|setting| {
            let is_first = setting == Setting::without_broker(Clients::Everything);
            let extent = if is_first { extent } else { share(extent) };
            let found = search::search(programs, setting, from, extent, bounds);
            println!("{found}");
            found
        })
        .collect();
    // A journey that panics is one of the ways in which a mutant is found.
    std::panic::set_hook(Box::new(|_| {}));
    let hunted = mutant_hunt::hunt_all(root, None);
    let missed = hunted.iter().filter(|(.., found)| found.is_none()).count();
    let others = Others {
        sweeps: figures::read(root, "sweep")?,
        hardship: figures::read(root, "hardship")?,
        fuzz: figures::read(root, "fuzz")?,
    };

    let page = page(root, &searches, &hunted, &others);
    std::fs::write(root.join("docs/reliability.md"), page).context("writing docs/reliability.md")?;
    let readme = root.join("crates/testkit/README.md");
    let text = std::fs::read_to_string(&readme)?;
    let [begin, end] = TABLE;
    let (before, rest) = text
        .split_once(begin)
        .context("the testkit's README has no place for the mutants")?;
    let (_, after) = rest.split_once(end).context("the place for the mutants has no end")?;
    std::fs::write(&readme, format!("{before}{begin}{}{end}{after}", mutants(&hunted)))?;
    let holds = searches.iter().all(|search| search.broken.is_empty()) && missed == 0;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is searched with: both kinds of clients, without a broker and by each.
fn settings() -> impl Iterator<Item = Setting> {
    let with = |broker| [Clients::Everything, Clients::Todos].map(|clients| Setting { clients, broker });
    Broker::ALL.into_iter().flat_map(with)
}

fn share(extent: Extent) -> Extent {
    match extent {
        Extent::Runs(runs) => Extent::Runs(runs.div_ceil(SHARE as u64)),
        Extent::Journeys(journeys) => Extent::Journeys(journeys.div_ceil(SHARE)),
    }
}

/// Figures of runs that other commands make.
struct Others {
    sweeps: Vec<Figures>,
    hardship: Vec<Figures>,
    fuzz: Vec<Figures>,
}

fn mutants(hunted: &[Hunted]) -> String {
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

/// A column for each search.
fn seeds(searches: &[Search]) -> String {
    let mut table = String::new();
    let mut row = |name: &str, cell: &dyn Fn(&Search) -> String| {
        let cells: Vec<_> = searches.iter().map(cell).collect();
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    };
    row("", &|search| {
        let clients = match search.setting.clients {
            Clients::Everything => "every route",
            Clients::Todos => "todos",
        };
        match search.setting.broker {
            Broker::None => clients.to_owned(),
            broker => format!("{clients}, {broker}"),
        }
    });
    row("---", &|_| "---:".to_owned());
    row("Seeds", &|search| format!("{}, from {}", search.runs, search.from));
    row("Journeys (accepted commands and all that followed)", &|search| {
        search.journeys.to_string()
    });
    row("Events", &|search| search.events.to_string());
    row("Host calls", &|search| search.calls.to_string());
    row("Faults met", &|search| search.faults.to_string());
    row("Time", &|search| {
        let (seconds, threads) = (search.seconds, search.threads);
        format!("{seconds:.0} s on {threads} threads")
    });
    row("Journeys per second", &|search| format!("{:.0}", search.rate()));
    row("Seeds that broke a promise", &|search| match &search.broken[..] {
        [] => "none".to_owned(),
        broken => format!("{broken:?}"),
    });
    table
}

/// One line for each run, and where they come from; or that there were none.
fn others(runs: &[Figures], what: &str, command: &str) -> String {
    let Some(first) = runs.first() else {
        return format!("{what} weren't run here before this page was written: `{command}` runs them.\n");
    };
    let columns = |cells: Vec<&str>| cells.join(" | ");
    let names = columns(first.figures.iter().map(|(name, _)| &**name).collect());
    let uniform = runs.iter().all(|run| run.figures.len() == first.figures.len());
    let mut table = String::new();
    if uniform {
        let _ = writeln!(table, "| | {names} | When, commit |");
        let _ = writeln!(table, "|---|{}---|", "---:|".repeat(first.figures.len()));
    } else {
        table.push_str("| | | When, commit |\n|---|---|---|\n");
    }
    for run in runs {
        let cells = if uniform {
            columns(run.figures.iter().map(|(_, figure)| &**figure).collect())
        } else {
            let told = |(name, figure): &(String, String)| format!("{name}: {figure}");
            run.figures.iter().map(told).collect::<Vec<_>>().join("; ")
        };
        let (day, commit) = (run.at.split('T').next().unwrap_or_default(), &run.commit);
        let _ = writeln!(table, "| {} | {cells} | {day}, {:.12} |", run.name, commit);
    }
    format!("{table}\nAgain: `{command}`.\n")
}

fn page(root: &Path, searches: &[Search], hunted: &[Hunted], kept: &Others) -> String {
    let commit = figures::commit(root).unwrap_or_else(|| "without git".to_owned());
    let found = hunted.iter().filter(|(.., found)| found.is_some()).count();
    let again: String = searches
        .iter()
        .map(|search| {
            let Search {
                setting, runs, from, ..
            } = search;
            format!("`cargo xtask sim --release {setting} --runs {runs} --from {from}`, ")
        })
        .collect();
    format!(
        "# Reliability: what was tried

Written by `cargo xtask sim --report`, from its own runs and from the figures that other runs have left under
`target/figures`. Commit {commit}.

The shipped `.wasm` files run in simulated worlds ([testkit](../crates/testkit/README.md)): every world has its own clock,
randomness, stores and network, and the same number makes the same run, call for call.

## Random seeds

Random clients give commands, by turns sensible and not, on every public route: accounts (two of them ask for the same address
at once), todos (two change the same at once, or at a version that is no more), orders (paid, declined, too late, not to be
shipped), events from outside (again, changed, forged, expired, in batches, by Dapr's API), readers of every list, operators
(with the token and without) who pause, redrive, discard, replay and rebuild, and rubbish. In half of the runs providers outside
fulfil the orders. Other clients do nothing but create and complete todos. Either meet the application as it is in spin.toml, and
by way of each message broker.

Meanwhile calls fail, hang, are late, reach their goal and lose their answer; instances trap; requests are copied and overtake
each other; messages are lost, doubled and late, and brokers restart; nodes are lost and started; clients go away; the clock is
stepped by up to an hour; the cron misses ticks; webhook and providers fail, hang, answer late, and do what they deny. Then the
faults end, the world comes to rest, everything is tried once more, and checkers read the stores. Every eighth seed has no faults
and no cron: the bells alone must bring everything, and no answer may be an error of the server's.

{seeds}
Again: {again}one seed with its story: `cargo xtask sim --seed N`.

## The crash sweeps

One journey, run again for every host call that it makes and every fault that the call can meet: trapped, node lost, failed, hung,
late, before and after its effect; client gone; a request copied at once and after 20 s ({kinds} kinds).

{sweeps}
## What the silence is worth

{found} of {count} mistakes that the kernel can be told to make were found by these runs.
{mutants}
Again: `cargo xtask sim --mutants`.

## On real processes

{hardship}
## Fuzzing

{fuzz}
## What is checked

- Every event has exactly one effect per subscription that hears it, or is a dead letter with its reason and attempts.
- What was accepted is in the journal, once; no command took effect twice; what was refused changed nothing.
- A todo is completed once, however many ask at the same moment; of two who change what they saw, one is told; every stream's
  versions follow each other.
- An address belongs to one open account, at every moment.
- Captured − refunded = confirmed for every order that has ended, and every order has; what the provider's books say is what
  the journal says.
- The counts of analytics are what a fold over the journal gives.
- No cursor ever goes back; no lease, retry, timer, replay or mark is left when the world is at rest; then an account can be
  registered, its todo is verified at once, and an order is confirmed.
- Every notification that isn't a dead letter was taken by the webhook, at least once.
- A dead letter had its attempts, and the time between them.
- What expires before it may be delivered has no effect, and is a dead letter that says so; what hasn't expired is none.
- Of what a consumer of messages said too late one word stays for an event at most, until the event's marker is collected; without
  faults it leaves nothing in the store.
- What is done is marked as done for as long as it could be delivered again.
- Every event of a function is as its schema says.
",
        seeds = seeds(searches),
        kinds = FAULTS.len() + COPIES.len(),
        sweeps = others(&kept.sweeps, "The sweeps", "cargo xtask sim --sweep"),
        count = hunted.len(),
        mutants = mutants(hunted),
        hardship = others(&kept.hardship, "The tests on real processes", "cargo xtask hardship"),
        fuzz = others(&kept.fuzz, "The fuzzers", "cargo xtask fuzz"),
    )
}
