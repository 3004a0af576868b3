//! When a cron trigger fires: Spin's cron expressions.
//!
//! The parser and its settings are those of Spin's cron plugin: six fields (second, minute, hour, day of the month,
//! month, day of the week with Sunday as 0), in UTC. A seventh field, which the plugin's README shows, is refused by
//! the plugin itself, and so it is here.

use chrono::{DateTime, Utc};
use croner::Cron;

/// A parsed cron expression.
#[derive(Debug, Clone)]
pub struct CronSchedule {
    expression: String,
    cron: Cron,
}

impl CronSchedule {
    /// Parses an expression. The error says what is wrong, without a full stop.
    pub fn parse(expression: &str) -> Result<Self, String> {
        let fields = expression.split_whitespace().count();
        if fields != 6 && !expression.trim_start().starts_with('@') {
            return Err(format!(
                "the cron expression \"{expression}\" has {fields} fields, and Spin's cron trigger takes six \
                 (second, minute, hour, day of the month, month, day of the week)"
            ));
        }
        let cron = Cron::new(expression)
            .with_seconds_required()
            .with_dom_and_dow()
            .parse()
            .map_err(|error| format!("the cron expression \"{expression}\" is malformed: {error}"))?;
        let schedule = Self {
            expression: expression.to_owned(),
            cron,
        };
        match schedule.next_after_ms(0) {
            Some(_) => Ok(schedule),
            None => Err(format!("the cron expression \"{expression}\" never fires")),
        }
    }

    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The first time after `now_ms` at which it fires; both in milliseconds since the Unix epoch. `None` when it
    /// doesn't fire again.
    pub fn next_after_ms(&self, now_ms: u64) -> Option<u64> {
        let seconds = i64::try_from(now_ms / 1000).ok()?;
        let now: DateTime<Utc> = DateTime::from_timestamp(seconds, 0)?;
        let next = self.cron.find_next_occurrence(&now, false).ok()?;
        u64::try_from(next.timestamp()).ok().map(|seconds| seconds * 1000)
    }
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, now_ms: u64) -> Option<u64> {
        CronSchedule::parse(expression).unwrap().next_after_ms(now_ms)
    }

    #[test]
    fn ticks_come_after_now() {
        assert_eq!(next("* * * * * *", 0), Some(1000));
        assert_eq!(next("* * * * * *", 999), Some(1000));
        assert_eq!(next("* * * * * *", 1000), Some(2000));
        assert_eq!(next("*/10 * * * * *", 10_500), Some(20_000));
        assert_eq!(next("0 0 0 * * *", 1), Some(86_400_000));
        assert_eq!(next("@hourly", 1), Some(3_600_000));
    }

    #[test]
    fn sunday_is_zero() {
        // The epoch was a Thursday; three days later is Sunday, the fourth of January.
        assert_eq!(next("0 0 0 * * 0", 0), Some(3 * 86_400_000));
        assert_eq!(next("0 0 0 * * SUN", 0), Some(3 * 86_400_000));
    }

    #[test]
    fn what_the_plugin_refuses_is_refused() {
        for (expression, reason) in [
            ("* * * * * * *", "has 7 fields"),
            ("* * * * *", "has 5 fields"),
            ("", "has 0 fields"),
            ("60 * * * * *", "malformed"),
            ("a b c d e f", "malformed"),
            ("0 0 0 31 2 *", "never fires"),
        ] {
            let error = CronSchedule::parse(expression).unwrap_err();
            assert!(error.contains(reason), "{expression}: {error}");
        }
    }
}
