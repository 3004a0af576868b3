//! What the sweeps and the chaos know of this application: its promise, and two workloads over its public routes.

mod checks;
mod everything;
pub mod money;
mod providers;
mod runs;
pub mod schemas;
mod setting;
mod todos;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::World;
use selvedge_testkit::checkers::{self, Attempts, Effects, Violation};
use tempfile::TempDir;

pub use money::money_conserved;
pub use runs::Programs;
pub use schemas::events_have_their_schemas;
pub use setting::{Broker, Clients, Setting};

/// Where the application's subscriptions have their effects.
pub const EFFECTS: [Effects; 2] = [
    Effects {
        subscription: "notifications",
        hears: "todos.task.*",
        publisher: Some("todos-to-kafka"),
        count: "SELECT count(*) FROM notifications WHERE event_id = ?1 AND source = ?2
            AND generation = (SELECT generation FROM projections WHERE function = 'notifications')",
    },
    Effects {
        subscription: "analytics",
        hears: "*.*.*",
        publisher: Some("events-to-kafka"),
        count: "SELECT count(*) FROM analytics_counted WHERE event_id = ?1 AND source = ?2
            AND generation = (SELECT generation FROM projections WHERE function = 'analytics')",
    },
];

/// The same of those subscriptions whose effect is an event that names its cause.
const ANSWERS: [Effects; 3] = [
    Effects {
        subscription: "payments",
        hears: "payments.*.requested",
        publisher: None,
        count: "SELECT count(*) FROM journal WHERE source = '/payments' AND extensions ->> 'causationid' = ?1",
    },
    Effects {
        subscription: "shipping",
        hears: "shipping.*.requested",
        publisher: None,
        count: "SELECT count(*) FROM journal WHERE source = '/shipping' AND extensions ->> 'causationid' = ?1",
    },
    Effects {
        subscription: "todo-verification",
        hears: "todos.verification.requested",
        publisher: None,
        // A todo that was deleted first needs no user any more.
        count:
            "SELECT max((SELECT count(*) FROM journal WHERE source = '/todos' AND extensions ->> 'causationid' = ?1),
            (SELECT count(*) FROM journal AS asked JOIN journal AS deleted ON deleted.stream = asked.stream
             WHERE asked.id = ?1 AND asked.source = ?2 AND asked.type = 'todos.verification.requested'
                 AND deleted.type = 'todos.task.deleted'))",
    },
];

/// The token of its operators.
const ADMIN_TOKEN: &str = "correct-horse-battery-staple-7f3a";
/// How long a done marker is kept, as docs/delivery.md says.
const MARKER_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What the subscriptions of [`under_pressure`] give an event: 1, 2 and 4 s between four attempts, a fifth less by chance.
const ATTEMPTS: Attempts = Attempts {
    attempts_max: 4,
    waits_ms_min: 5_600,
};

/// The application as chaos runs it: its shipped components with small batches, few attempts and a webhook, so that a
/// short run meets what else takes thousands of events. Components and environment are the manifest's, unless `change`
/// says otherwise.
pub fn under_pressure(root: &Path, broker: Broker, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<Arc<Program>> {
    let infix = broker.infix();
    let mut manifest = Manifest::read(&root.join(format!("spin{infix}.toml")))?;
    let folder = TempDir::with_prefix("selvedge-chaos-")?;
    let file = format!("subscriptions{infix}.toml");
    let text = std::fs::read_to_string(root.join(&file))?;
    std::fs::write(folder.path().join(file), pressed(&text))?;
    // The components' files are read from the manifest's folder.
    std::os::unix::fs::symlink(root.join("schemas"), folder.path().join("schemas"))?;
    folder.path().clone_into(&mut manifest.folder);
    set(
        &mut manifest,
        "notify_webhook_url",
        &format!("http://{}/notify", todos::WEBHOOK),
    )?;
    set(&mut manifest, "admin_token", ADMIN_TOKEN)?;
    change(&mut manifest);
    let cache = root.join("target/component-cache");
    Ok(Arc::new(Program::compile(manifest, Some(cache), &|_| {})?))
}

/// Subscriptions of which those with effects get small batches and few attempts, whatever they had.
fn pressed(subscriptions: &str) -> String {
    let mut is_pressed = false;
    let mut text = String::new();
    for line in subscriptions.lines() {
        let [key, value] = line.split_once(" = ").map_or([line, ""], |(key, value)| [key, value]);
        if key == "name" {
            is_pressed = EFFECTS
                .iter()
                .any(|effect| value.trim_matches('"') == effect.subscription);
        }
        if !(is_pressed && matches!(key, "batch" | "max_attempts")) {
            text.extend([line, "\n"]);
        }
        if is_pressed && key == "name" {
            // Writing to a String can't fail.
            let _ = writeln!(text, "batch = 3\nmax_attempts = {}", ATTEMPTS.attempts_max);
        }
    }
    text
}

fn set(manifest: &mut Manifest, name: &str, value: &str) -> anyhow::Result<()> {
    let variable = manifest.variables.get_mut(name);
    variable
        .with_context(|| format!("the manifest has no variable {name}"))?
        .default = Some(value.to_owned());
    Ok(())
}

/// What the application promises of every run under pressure.
pub fn promise_under_pressure(world: &World) -> Vec<Violation> {
    let mut violations = promise(world);
    let pressed = EFFECTS.map(|effect| effect.subscription);
    violations.extend(checkers::dead_letters_had_their_attempts(world, &pressed, &ATTEMPTS));
    violations.extend(checks::told_outside(world));
    violations.extend(checks::commands_took_effect_once(world));
    violations
}

/// What the application promises of every run.
pub fn promise(world: &World) -> Vec<Violation> {
    let effects = [&EFFECTS[..], &ANSWERS].concat();
    let mut violations = checkers::exactly_once(world, &effects);
    violations.extend(checkers::counts_equal_fold(world));
    violations.extend(checkers::streams_have_no_gaps(world));
    violations.extend(money_conserved(world));
    violations.extend(checkers::cursors_only_move_on(world));
    violations.extend(checkers::markers_are_kept(world, &effects, MARKER_RETENTION));
    violations.extend(checks::addresses_are_unique(world));
    violations.extend(events_have_their_schemas(world));
    violations
}
