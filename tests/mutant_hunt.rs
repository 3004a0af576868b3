//! Mutants of the kernel, and the hunt for them: is the simulator's silence worth anything?
//!
//! Each is a mistake that the kernel can be told to make (`crates/selvedge/src/mutant.rs`), in a build of its own that
//! `cargo xtask build --mutants` makes. A hunt ends with the first run in which a promise is broken.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use selvedge_engine::config::Manifest;
use selvedge_testkit::chaos::Bounds;
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::sweep;

use crate::application::{Broker, Clients, Programs, Setting};
use crate::todo_journey::{only_its_events, todo_journey};

/// The environment variable that names a component's mutant.
const VARIABLE: &str = "SELVEDGE_MUTANT";
/// The components that are built with mutants in them: those that a todo's events and an order's pass, and the operator's.
pub const HUNTED: [&str; 10] = [
    "todos",
    "relay",
    "notifications",
    "analytics",
    "outbox_cron",
    "orders",
    "payments",
    "shipping",
    "admin",
    "kafka_consumer",
];
/// Seeds that are tried before the sweep is.
const SEEDS: u64 = 24;
/// Mutants that are hunted with the clients of every route: a todo's way doesn't meet them.
const NOT_OF_TODOS: [&str; 6] = [
    "breaker_never_closes",
    "compensation_skipped",
    "expiry_ignored",
    "late_success_stands",
    "provider_asked_under_new_key",
    "redrive_keeps_attempts",
];

/// Those that only an event by way of a message broker meets, and which.
const BY_BROKER: [(&str, Broker); 2] = [
    ("offset_committed_early", Broker::Kafka),
    ("silence_is_success", Broker::Redis),
];

/// Every mutant, and what it does wrong.
pub const MUTANTS: [(&str, &str); 28] = [
    (
        "accepted_without_commit",
        "a failed append is answered as if it had worked",
    ),
    (
        "append_at_any_version",
        "an append doesn't care which version it was decided on",
    ),
    ("attempts_not_counted", "a retry counts as the first attempt, for ever"),
    (
        "batch_skips_what_does_not_fit",
        "the cursor goes past events that the batch had no room for",
    ),
    ("bell_never_rung", "nobody tells the relay that there is work"),
    (
        "breaker_never_closes",
        "a breaker that has opened lets nobody through again",
    ),
    (
        "compensation_skipped",
        "a saga that goes back is cancelled, and nothing is undone",
    ),
    ("cron_never_due", "the cron finds nothing to do"),
    (
        "cursor_before_exceptions",
        "the cursor moves before the failed events are written down",
    ),
    ("cursor_without_fence", "a relay moves a cursor whose lease it has lost"),
    (
        "dead_letter_forgotten",
        "an event that is given up on leaves nothing behind",
    ),
    ("drop_is_success", "a refused event counts as done"),
    (
        "effect_without_unique_key",
        "an effect doesn't know that it was made before",
    ),
    (
        "event_id_not_derived",
        "a command that is sent again makes events with new ids",
    ),
    ("expiry_ignored", "what has expired is delivered all the same"),
    ("failure_is_success", "a delivery that failed as a whole counts as done"),
    (
        "idempotency_key_ignored",
        "a request that is sent again is another request",
    ),
    ("late_success_stands", "what succeeds after its timeout isn't undone"),
    ("lease_without_end", "a lease lasts for ever"),
    ("marker_before_effect", "an event is marked as done before it is"),
    (
        "marker_collected_early",
        "a marker goes while its event could be delivered again",
    ),
    (
        "marker_for_what_failed",
        "an event that is to be tried again is marked as done",
    ),
    (
        "offset_committed_early",
        "a topic's offset is committed before its records are done",
    ),
    (
        "provider_asked_under_new_key",
        "each time a provider is asked it looks like another order",
    ),
    (
        "redrive_keeps_attempts",
        "a dead letter that is redriven has its attempts behind it already",
    ),
    ("retry_without_backoff", "retries follow each other at once"),
    (
        "settle_before_effect",
        "the cursor moves before the events are delivered",
    ),
    (
        "silence_is_success",
        "what a consumer of messages says nothing about counts as done",
    ),
];

/// How a mutant was found.
#[derive(Debug)]
pub struct Found {
    /// What found it: a seed, or a case of the sweep.
    pub by: String,
    /// How many runs it took.
    pub runs: usize,
    /// The first promise that was broken.
    pub violation: String,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, run {}: {}", self.by, self.runs, self.violation)
    }
}

/// The application with a mutant in every component that is hunted in; with none where `mutant` is empty.
pub fn programs(root: &Path, mutant: &str) -> Programs {
    let (folder, mutant) = (root.join("target/mutants/wasm32-wasip2/mutants"), mutant.to_owned());
    Programs::new(root, move |manifest: &mut Manifest| {
        for component in manifest.components.values_mut() {
            let Some(name) = component.source.file_stem().and_then(|name| name.to_str()) else {
                continue;
            };
            if !HUNTED.contains(&name) {
                continue;
            }
            component.source = folder.join(name).with_extension("wasm");
            component.environment.insert(VARIABLE.to_owned(), mutant.clone());
        }
    })
}

/// Looks for a mutant: first with seeds, then with the sweep. `None`: it wasn't found.
///
/// # Panics
/// Where the mutants aren't built: `cargo xtask build --mutants`.
pub fn hunt(root: &Path, mutant: &str) -> Option<Found> {
    let programs = programs(root, mutant);
    let found = |by, runs, violations: &[Violation]| {
        let violation = violations.first().map(ToString::to_string).unwrap_or_default();
        Some(Found { by, runs, violation })
    };
    let (clients, by) = match NOT_OF_TODOS.contains(&mutant) {
        true => (Clients::Everything, "every route, seed"),
        false => (Clients::Todos, "seed"),
    };
    let by_broker = BY_BROKER.iter().find(|(name, _)| *name == mutant);
    let (broker, by) = match by_broker {
        Some((_, broker)) => (*broker, format!("{broker}, {by}")),
        None => (Broker::None, by.to_owned()),
    };
    let setting = Setting { clients, broker };
    // From 2: the eighth seed is the first without faults and cron.
    for (run, seed) in (1..).zip(2..2 + SEEDS) {
        let outcome = programs.run(setting, seed, Bounds::default(), false);
        if !outcome.violations.is_empty() {
            return found(format!("{by} {seed}"), run, &outcome.violations);
        }
    }
    if setting != Setting::without_broker(Clients::Todos) {
        return None;
    }
    let report = sweep::sweep_until(&programs.sandboxed(), &todo_journey, &only_its_events, 1);
    let (case, violations) = report.broken.first()?;
    let by = format!("the sweep: call {}, {:?} {:?}", case.call, case.fault, case.when);
    found(by, usize::try_from(SEEDS).unwrap_or(0) + report.runs, violations)
}

/// A mutant's name, what it does wrong, and how it was found.
pub type Hunted = (&'static str, &'static str, Option<Found>);

/// Hunts all mutants, or the only one that is named, on all cores.
pub fn hunt_all(root: &Path, only: Option<&str>) -> Vec<Hunted> {
    let next = AtomicUsize::new(0);
    let hunted = Mutex::new(Vec::new());
    let work = || {
        while let Some((mutant, mistake)) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
            if only.is_some_and(|only| only != *mutant) {
                continue;
            }
            let found = hunt(root, mutant);
            println!(
                "{mutant}: {}",
                found.as_ref().map_or("not found".to_owned(), ToString::to_string)
            );
            let mut hunted = hunted.lock().unwrap_or_else(PoisonError::into_inner);
            hunted.push((*mutant, *mistake, found));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut hunted = hunted.into_inner().unwrap_or_else(PoisonError::into_inner);
    hunted.sort_by_key(|(mutant, ..)| *mutant);
    hunted
}
