//! Waits until nothing is left to do.

use std::time::Duration;

use tokio::time::Instant;

use super::storm;
use crate::checkers::{self, Violation};
use crate::simulation::World;
use crate::simulation::world::Cron;

/// How long, in virtual time, the system may take to come to rest after the faults stopped; longer by all that the clock was set
/// back, so that a promise that only waits for the clock isn't taken for a broken one.
pub(super) const REST_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// The same where there are no faults and no cron: what the bells don't bring soon they never will.
pub(super) const CALM_DEADLINE: Duration = Duration::from_secs(30);
/// How long the world goes on after it came to rest, so that everything that was late or copied arrives.
const AFTERMATH: Duration = Duration::from_millis(storm::LATE_MS_MAX + 1_000);
/// How often it is asked whether the system is at rest, at the most.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until the system is at rest, and what was under way for long has arrived, and it is at rest still.
pub(super) async fn settle_down(world: &World, cron: Option<Cron>) -> Vec<Violation> {
    let deadline = if cron.is_some() { REST_DEADLINE } else { CALM_DEADLINE };
    let had_cron = cron.is_some();
    let mut violations = rest(world, deadline, had_cron).await;
    drop(cron);
    tokio::time::sleep(AFTERMATH).await;
    let _cron = had_cron.then(|| world.start_cron_that_misses(storm::sparse_ticks()));
    if violations.is_empty() {
        violations = rest(world, deadline, had_cron).await;
    }
    violations
}

/// Waits until the system is at rest; where it has a cron, until no timer is to come either.
pub(super) async fn rest(world: &World, deadline: Duration, has_cron: bool) -> Vec<Violation> {
    let deadline = deadline + world.clock.set_back();
    let begun = Instant::now();
    loop {
        world.revive();
        let is_there = if has_cron {
            checkers::is_through(world)
        } else {
            checkers::is_at_rest(world)
        };
        if is_there {
            return Vec::new();
        }
        if begun.elapsed() > deadline {
            let (held, to_come) = (checkers::at_rest(world), checkers::still_to_come(world));
            return vec![Violation(format!(
                "the system doesn't come to rest within {deadline:?}: {held:?}, and there are still to come {to_come:?}"
            ))];
        }
        tokio::time::sleep((begun.elapsed() / 16).max(LOOK_EVERY)).await;
    }
}
