//! Circuit breaker: what keeps failing isn't asked for a while.
//!
//! A breaker is closed while calls go well. It opens when too many fail, and then refuses calls at once, so that nobody
//! waits for what won't come and what is down isn't kept down. After a cool-down it is half-open: one call goes through
//! as a probe. If that goes well the breaker closes, if not the cool-down begins anew.
//!
//! This is the rule alone: state and time go in, new state comes out. [`shared`] keeps the state where all instances of
//! a function find it, and [`crate::http::Upstream`] makes calls under it.

pub mod shared;

use serde::{Deserialize, Serialize};

use crate::mutant;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    /// It opens when this many calls in a row failed; 0 stands for never.
    pub consecutive_failures: u32,
    /// It opens when this share of the window's calls failed, from 0 to 1; more than 1 stands for never.
    pub failure_rate: f64,
    /// The failure rate says nothing before the window has this many calls.
    pub min_calls: u32,
    /// How far back the failure rate looks, in milliseconds: never further, and never less than half as far.
    pub window_ms: i64,
    /// How long it stays open before a probe may go through, in milliseconds.
    pub cool_down_ms: i64,
    /// How long a probe may take, in milliseconds. One that said nothing by then is taken for dead, and the next may go.
    pub probe_ms: i64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: 0.5,
            min_calls: 20,
            window_ms: 10_000,
            cool_down_ms: 5_000,
            probe_ms: 10_000,
        }
    }
}

/// Which of its three states a breaker is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls are refused.
    Open,
    /// One probe is under way, everything else is refused.
    HalfOpen,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Call,
    /// It may as the probe, if nobody else is faster: the probe must be claimed first, then noted by
    /// [`Breaker::probing`].
    Probe,
    /// It may not.
    Refused {
        /// After how many milliseconds asking again is worth while.
        retry_after_ms: u64,
    },
}

/// A breaker's state. The default is a closed one that knows of no call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    state: State,
    since_ms: i64,
    /// When the cool-down ends, or the time of the probe that is under way.
    until_ms: i64,
    /// When it opened: names the opening. Kept while probes fail.
    opened_at_ms: i64,
    /// How many probes of this opening were claimed.
    probes: u32,
    consecutive_failures: u32,
    window: Window,
}

/// The calls of the recent past, in two halves: the rate is taken over both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    half_began_ms: i64,
    half: Counts,
    half_before: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Counts {
    calls: u32,
    failures: u32,
}

impl Breaker {
    /// Its state as it was last changed. One whose cool-down is over is still open until a probe goes through.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is in this state, in milliseconds since the Unix epoch; `None` when it was never in another.
    pub fn since_ms(&self) -> Option<i64> {
        (self.since_ms != 0).then_some(self.since_ms)
    }

    /// What names the next probe: when it opened, and how many probes went before. No two probes of an opening
    /// have the same name.
    pub fn next_probe(&self) -> (i64, u32) {
        (self.opened_at_ms, self.probes)
    }

    /// Whether it remembers failures that a success would make it forget, or count.
    pub fn remembers_failures(&self) -> bool {
        self.consecutive_failures > 0 || self.window.half.failures > 0 || self.window.half_before.failures > 0
    }

    /// How many calls in a row failed, up to the last one that it knows of.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// Whether a call may be made now. However far the clock is set back, nothing is refused for longer than the
    /// cool-down or the time of a probe.
    pub fn admit(&self, policy: &BreakerPolicy, now_ms: i64) -> Admission {
        let longest_ms = match self.state {
            State::Closed => return Admission::Call,
            State::Open => policy.cool_down_ms,
            State::HalfOpen => policy.probe_ms,
        };
        let left_ms = self.until_ms.saturating_sub(now_ms);
        // One that ends later than anyone would say was written before the clock was set back.
        if !mutant::is("breaker_never_closes") && (left_ms <= 0 || left_ms > longest_ms) {
            Admission::Probe
        } else {
            let retry_after_ms = left_ms.unsigned_abs();
            Admission::Refused { retry_after_ms }
        }
    }

    /// The breaker once a probe was claimed: half-open for as long as the probe may take.
    pub fn probing(mut self, policy: &BreakerPolicy, now_ms: i64) -> Self {
        if self.state != State::HalfOpen {
            self.state = State::HalfOpen;
            self.since_ms = now_ms;
        }
        self.probes = self.probes.saturating_add(1);
        self.until_ms = now_ms.saturating_add(policy.probe_ms);
        self
    }

    /// The breaker after this many calls went well. Calls that were made before it opened change nothing any more.
    pub fn succeeded(mut self, policy: &BreakerPolicy, now_ms: i64, calls: u32) -> Self {
        if self.state == State::Closed && calls > 0 {
            self.window.count(policy, now_ms, Counts { calls, failures: 0 });
            self.consecutive_failures = 0;
        }
        self
    }

    /// The breaker after a call failed. Calls that were made before it opened change nothing any more.
    pub fn failed(mut self, policy: &BreakerPolicy, now_ms: i64) -> Self {
        if self.state != State::Closed {
            return self;
        }
        let failure = Counts { calls: 1, failures: 1 };
        self.window.count(policy, now_ms, failure);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let in_a_row = policy.consecutive_failures > 0 && self.consecutive_failures >= policy.consecutive_failures;
        if in_a_row || self.window.has_tripped(policy) {
            Self {
                opened_at_ms: now_ms,
                ..Self::default()
            }
            .opened(policy, now_ms)
        } else {
            self
        }
    }

    /// The breaker after the probe went well: closed, and without a past.
    pub fn probe_succeeded(self, now_ms: i64) -> Self {
        Self {
            since_ms: now_ms,
            ..Self::default()
        }
    }

    /// The breaker after the probe failed: it cools down anew. One that others closed meanwhile counts it as a call.
    pub fn probe_failed(self, policy: &BreakerPolicy, now_ms: i64) -> Self {
        match self.state {
            State::Closed => self.failed(policy, now_ms),
            State::Open | State::HalfOpen => self.opened(policy, now_ms),
        }
    }

    fn opened(self, policy: &BreakerPolicy, now_ms: i64) -> Self {
        Self {
            state: State::Open,
            since_ms: now_ms,
            until_ms: now_ms.saturating_add(policy.cool_down_ms),
            ..self
        }
    }
}

impl Window {
    fn count(&mut self, policy: &BreakerPolicy, now_ms: i64, counts: Counts) {
        let half_ms = (policy.window_ms / 2).max(1);
        match now_ms.saturating_sub(self.half_began_ms) {
            age_ms if (0..half_ms).contains(&age_ms) => {}
            age_ms if (half_ms..half_ms.saturating_mul(2)).contains(&age_ms) => {
                self.half_before = std::mem::take(&mut self.half);
                self.half_began_ms += half_ms;
            }
            // Long ago, or the clock was set back.
            _ => *self = Self::default().beginning(now_ms),
        }
        self.half.calls = self.half.calls.saturating_add(counts.calls);
        self.half.failures = self.half.failures.saturating_add(counts.failures);
    }

    fn beginning(self, half_began_ms: i64) -> Self {
        Self { half_began_ms, ..self }
    }

    fn has_tripped(&self, policy: &BreakerPolicy) -> bool {
        let calls = self.half.calls.saturating_add(self.half_before.calls);
        let failures = self.half.failures.saturating_add(self.half_before.failures);
        calls >= policy.min_calls.max(1) && f64::from(failures) >= policy.failure_rate * f64::from(calls)
    }
}

#[cfg(test)]
mod tests;
