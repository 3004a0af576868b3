//! When a failed delivery is tried again: exponential backoff with jitter.

use crate::{limits, mutant};

/// How often and how fast deliveries of a subscription are tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. The event is a dead letter when the last one failed.
    pub max_attempts: u32,
    /// The time between the first attempt and the second, in milliseconds.
    pub initial_interval_ms: u64,
    /// How much longer each interval is than the one before.
    pub multiplier: f64,
    /// No interval is longer than this, in milliseconds.
    pub max_interval_ms: u64,
    /// The share of each interval that is left to chance, from 0 to 1, so that what failed together isn't tried again
    /// together. Chance only shortens.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            initial_interval_ms: 1_000,
            multiplier: 2.0,
            max_interval_ms: 300_000,
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// How long to wait after attempt number `attempt` (the first is 1) failed, in milliseconds. `None` when that was the
    /// last attempt. `random` is a number from 0 up to 1.
    ///
    /// ```
    /// let policy = selvedge::retry::RetryPolicy { jitter: 0.0, max_attempts: 4, ..Default::default() };
    /// let delays = [1, 2, 3, 4].map(|attempt| policy.delay_ms(attempt, 0.5));
    /// assert_eq!(delays, [Some(1_000), Some(2_000), Some(4_000), None]);
    /// ```
    pub fn delay_ms(&self, attempt: u32, random: f64) -> Option<u64> {
        if attempt >= self.max_attempts {
            return None;
        }
        if mutant::is("retry_without_backoff") {
            return Some(0);
        }
        let max_ms = self.max_interval_ms.min(limits::RETRY_INTERVAL_MS_MAX) as f64;
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let interval_ms = (self.initial_interval_ms as f64 * self.multiplier.powi(exponent)).min(max_ms);
        // A float to integer cast saturates, and a NaN becomes 0: at worst the next attempt is made at once.
        Some((interval_ms * (1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0))) as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> impl Strategy<Value = RetryPolicy> {
        (
            1..=100_u32,
            1..100_000_u64,
            1.0..10.0_f64,
            1..10_000_000_u64,
            0.0..=1.0_f64,
        )
            .prop_map(
                |(max_attempts, initial_interval_ms, multiplier, max_interval_ms, jitter)| RetryPolicy {
                    max_attempts,
                    initial_interval_ms,
                    multiplier,
                    max_interval_ms,
                    jitter,
                },
            )
    }

    proptest! {
        #[test]
        fn every_delay_is_within_its_bounds(policy in policy(), attempt in 1..200_u32, random in 0.0..1.0_f64) {
            match policy.delay_ms(attempt, random) {
                None => prop_assert!(attempt >= policy.max_attempts),
                Some(delay_ms) => {
                    prop_assert!(attempt < policy.max_attempts);
                    prop_assert!(delay_ms <= policy.max_interval_ms);
                    let longest_ms = policy.delay_ms(attempt, 0.0).expect("not the last attempt");
                    prop_assert!(delay_ms <= longest_ms);
                    prop_assert!(delay_ms as f64 + 1.0 >= longest_ms as f64 * (1.0 - policy.jitter));
                }
            }
        }

        #[test]
        fn without_chance_delays_never_shrink(policy in policy(), attempt in 1..99_u32) {
            if let (Some(one), Some(next)) = (policy.delay_ms(attempt, 0.0), policy.delay_ms(attempt + 1, 0.0)) {
                prop_assert!(one <= next);
            }
        }
    }

    #[test]
    fn a_single_attempt_is_never_repeated() {
        assert_eq!(
            RetryPolicy {
                max_attempts: 1,
                ..RetryPolicy::default()
            }
            .delay_ms(1, 0.0),
            None
        );
    }
}
