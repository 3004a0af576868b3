//! The machine's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::ports::Clock;

/// The machine's clocks; the monotonic one counts from when this was made.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ns(&self) -> u64 {
        // A machine whose clock stands before 1970 is told the epoch: a component gets an unsigned number.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_in_this_century_and_the_monotonic_one_does_not_go_back() {
        let clock = SystemClock::new();
        let year_2020_ns = 1_577_836_800_000_000_000;
        assert!(clock.wall_ns() > year_2020_ns);
        let first = clock.monotonic_ns();
        assert!(clock.monotonic_ns() >= first);
    }
}
