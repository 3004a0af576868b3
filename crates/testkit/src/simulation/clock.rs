//! A clock that moves with tokio's paused time, and can be stepped.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use selvedge_engine::ports::Clock;
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z: where every simulated run begins.
pub const START_NS: u64 = 1_767_225_600_000_000_000;

/// The clock of a simulated world.
#[derive(Debug)]
pub struct SimulatedClock {
    start: Instant,
    step_ns: AtomicI64,
    stepped: AtomicBool,
    /// The latest time that it ever showed before it was stepped.
    latest_ns: AtomicU64,
}

impl SimulatedClock {
    /// A clock that begins now, at [`START_NS`].
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            step_ns: AtomicI64::new(0),
            stepped: AtomicBool::new(false),
            latest_ns: AtomicU64::new(0),
        }
    }

    /// Steps the wall clock; time that passes is not touched.
    pub fn step_ms(&self, step_ms: i64) {
        self.stepped.store(true, Ordering::SeqCst);
        self.latest_ns.fetch_max(self.wall_ns(), Ordering::SeqCst);
        self.step_ns.fetch_add(step_ms * 1_000_000, Ordering::SeqCst);
    }

    /// Whether the wall clock was ever stepped.
    pub fn was_stepped(&self) -> bool {
        self.stepped.load(Ordering::SeqCst)
    }

    /// How much time has to pass until the wall clock shows again what it showed before it was set back, by all of its steps.
    pub fn behind(&self) -> Duration {
        let latest_ns = self.latest_ns.load(Ordering::SeqCst);
        Duration::from_nanos(latest_ns.saturating_sub(self.wall_ns()))
    }

    /// How much time has passed since the world began, whatever the wall clock says.
    pub fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// The wall clock in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.wall_ns() / 1_000_000
    }
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimulatedClock {
    fn wall_ns(&self) -> u64 {
        (START_NS + self.monotonic_ns()).saturating_add_signed(self.step_ns.load(Ordering::SeqCst))
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
