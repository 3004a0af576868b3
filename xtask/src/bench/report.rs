//! The table that `cargo xtask bench` prints.

use std::time::Duration;

/// What was measured of one engine.
pub struct Figures {
    /// The engine's name.
    pub engine: String,
    /// A todo, from its POST to both effects.
    pub todos: JourneyFigures,
    /// An order, from its POST until it is confirmed, where orders were measured.
    pub orders: Option<JourneyFigures>,
    /// Start to first answer, with compiled components in the cache.
    pub start: Duration,
}

/// What was measured of one kind of journey.
pub struct JourneyFigures {
    /// As fast as the connections could.
    pub full_speed: FullSpeed,
    /// From the time that a request was due to its answer, at a steady rate of requests; sorted.
    pub answers: Vec<Duration>,
    /// From that answer to the journey's end, at a steady rate of requests; sorted.
    pub delays: Vec<Duration>,
}

/// What journeys at full speed came to.
pub struct FullSpeed {
    /// How many were accepted, and came to their end.
    pub journeys: u64,
    /// From the first request to the last answer, while events were delivered.
    pub accepting: Duration,
    /// From the first request until all came to their end.
    pub delivering: Duration,
    /// Processor time of the engine for all of them.
    pub cpu_seconds: f64,
    /// The engine's peak resident memory after them.
    pub peak_memory_kb: u64,
}

impl FullSpeed {
    fn accepted_per_second(&self) -> f64 {
        self.journeys as f64 / self.accepting.as_secs_f64()
    }

    /// Journeys that came to their end.
    pub fn journeys_per_second(&self) -> f64 {
        self.journeys as f64 / self.delivering.as_secs_f64()
    }

    /// Processor time of the engine for 10,000 of them.
    pub fn cpu_seconds_per_10_000(&self) -> f64 {
        self.cpu_seconds * 10_000.0 / self.journeys as f64
    }

    fn peak_memory_mb(&self) -> f64 {
        self.peak_memory_kb as f64 * 1.024 / 1000.0
    }
}

impl JourneyFigures {
    fn answer_ms(&self, percent: f64) -> f64 {
        milliseconds(percentile(&self.answers, percent))
    }

    fn delay_ms(&self, percent: f64) -> f64 {
        milliseconds(percentile(&self.delays, percent))
    }
}

/// What a row is, with how many decimals its number is written, and the number, if it was measured.
type Row = (&'static str, usize, fn(&Figures) -> Option<f64>);

const ROWS: [Row; 17] = [
    ("todos accepted (201), per second", 0, |it| {
        Some(it.todos.full_speed.accepted_per_second())
    }),
    ("todos' journeys, per second", 0, |it| {
        Some(it.todos.full_speed.journeys_per_second())
    }),
    ("POST → 201, p50, ms", 2, |it| Some(it.todos.answer_ms(50.0))),
    ("POST → 201, p99, ms", 2, |it| Some(it.todos.answer_ms(99.0))),
    ("201 → both effects, p50, ms", 2, |it| Some(it.todos.delay_ms(50.0))),
    ("201 → both effects, p99, ms", 2, |it| Some(it.todos.delay_ms(99.0))),
    ("201 → both effects, max, ms", 2, |it| Some(it.todos.delay_ms(100.0))),
    ("CPU per 10,000 journeys, s", 2, |it| {
        Some(it.todos.full_speed.cpu_seconds_per_10_000())
    }),
    ("peak memory, MB", 0, |it| Some(it.todos.full_speed.peak_memory_mb())),
    ("orders accepted (202), per second", 0, |it| {
        it.orders.as_ref().map(|orders| orders.full_speed.accepted_per_second())
    }),
    ("orders confirmed, per second", 0, |it| {
        it.orders.as_ref().map(|orders| orders.full_speed.journeys_per_second())
    }),
    ("202 → confirmed, p50, ms", 2, |it| {
        it.orders.as_ref().map(|orders| orders.delay_ms(50.0))
    }),
    ("202 → confirmed, p99, ms", 2, |it| {
        it.orders.as_ref().map(|orders| orders.delay_ms(99.0))
    }),
    ("202 → confirmed, max, ms", 2, |it| {
        it.orders.as_ref().map(|orders| orders.delay_ms(100.0))
    }),
    ("CPU per 10,000 orders, s", 2, |it| {
        it.orders
            .as_ref()
            .map(|orders| orders.full_speed.cpu_seconds_per_10_000())
    }),
    ("peak memory with orders, MB", 0, |it| {
        it.orders.as_ref().map(|orders| orders.full_speed.peak_memory_mb())
    }),
    ("warm start, ms", 0, |it| Some(milliseconds(it.start))),
];

/// A Markdown table with a column per engine, and the first one's ratio to the second when there are two.
pub fn table(engines: &[Figures]) -> String {
    let mut text = String::from("| figure |");
    let mut rule = String::from("|---|");
    for figures in engines {
        text.push_str(&format!(" {} |", figures.engine));
        rule.push_str("---:|");
    }
    if let [first, second] = engines {
        text.push_str(&format!(" {} ÷ {} |", first.engine, second.engine));
        rule.push_str("---:|");
    }
    text.push('\n');
    text.push_str(&rule);
    text.push('\n');
    for (name, decimals, value) in ROWS {
        let values: Vec<f64> = engines.iter().filter_map(value).collect();
        if values.is_empty() {
            continue;
        }
        text.push_str(&format!("| {name} |"));
        for value in &values {
            text.push_str(&format!(" {value:.decimals$} |"));
        }
        if let [first, second] = &values[..] {
            text.push_str(&format!(" {:.2} |", first / second));
        }
        text.push('\n');
    }
    text
}

/// The smallest value that this part of all values doesn't exceed; zero of none.
pub fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// A duration as the table has it.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journeys(rate: f64) -> JourneyFigures {
        JourneyFigures {
            full_speed: FullSpeed {
                journeys: 20_000,
                accepting: Duration::from_secs_f64(20_000.0 / rate),
                delivering: Duration::from_secs_f64(20_000.0 / rate),
                cpu_seconds: 5.0,
                peak_memory_kb: 100_000,
            },
            answers: vec![Duration::from_millis(1)],
            delays: vec![Duration::from_millis(1), Duration::from_millis(3)],
        }
    }

    fn figures(engine: &str, rate: f64) -> Figures {
        Figures {
            engine: engine.to_owned(),
            todos: journeys(rate),
            orders: Some(journeys(rate / 10.0)),
            start: Duration::from_millis(250),
        }
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50.0), Duration::from_millis(50));
        assert_eq!(percentile(&sorted, 99.0), Duration::from_millis(99));
        assert_eq!(percentile(&sorted, 100.0), Duration::from_millis(100));
        assert_eq!(percentile(&sorted[..1], 1.0), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50.0), Duration::ZERO);
    }

    #[test]
    fn two_engines_are_compared() {
        let text = table(&[figures("selvedge", 6000.0), figures("spin", 4000.0)]);
        assert!(text.contains("| selvedge | spin | selvedge ÷ spin |"), "{text}");
        assert!(
            text.contains("| todos' journeys, per second | 6000 | 4000 | 1.50 |"),
            "{text}"
        );
        assert!(
            text.contains("| CPU per 10,000 journeys, s | 2.50 | 2.50 | 1.00 |"),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_measured_has_no_row() {
        let todos_only = |engine| Figures {
            orders: None,
            ..figures(engine, 6000.0)
        };
        let text = table(&[todos_only("none"), todos_only("redis"), todos_only("kafka")]);
        assert!(
            text.contains("| todos' journeys, per second | 6000 | 6000 | 6000 |"),
            "{text}"
        );
        assert!(!text.contains("orders"), "{text}");
    }

    #[test]
    fn one_engine_has_no_ratio() {
        assert!(table(&[figures("selvedge", 6000.0)]).contains("| warm start, ms | 250 |\n"));
    }
}
