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
    set_back_ms: AtomicU64,
}

impl SimulatedClock {
    /// A clock that begins now, at [`START_NS`].
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            step_ns: AtomicI64::new(0),
            stepped: AtomicBool::new(false),
            set_back_ms: AtomicU64::new(0),
        }
    }

    /// Steps the wall clock; time that passes is not touched.
    pub fn step_ms(&self, step_ms: i64) {
        self.stepped.store(true, Ordering::SeqCst);
        if step_ms < 0 {
            self.set_back_ms.fetch_add(step_ms.unsigned_abs(), Ordering::SeqCst);
        }
        self.step_ns.fetch_add(step_ms * 1_000_000, Ordering::SeqCst);
    }

    /// Whether the wall clock was ever stepped.
    pub fn was_stepped(&self) -> bool {
        self.stepped.load(Ordering::SeqCst)
    }

    /// How far the wall clock was set back, all steps together: what is due at a time may come later by so much.
    pub fn set_back(&self) -> Duration {
        Duration::from_millis(self.set_back_ms.load(Ordering::SeqCst))
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
