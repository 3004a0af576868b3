//! The bus contract: what holds of an event on its way from publisher to consumer, whichever bus carries it.
//!
//! A [`Bus`] says how it is configured and what it promises ([`Features`]); the [`contract`] has a case for each promise, and
//! [`table`] writes them down. The application under test is the project's own relay and cron with a function that does
//! what its events ask for; it runs as its own process on real files.

pub mod application;
pub mod contract;

pub use application::BusApplication;

/// What a bus promises.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Its name, as it is in a target.
    pub name: &'static str,
    /// When an event is settled.
    pub settled_by: &'static str,
    /// Whether functions of the application hear it. Otherwise others do, who are on their own with what they make of it.
    pub has_consumers: bool,
    /// In which order a stream's events arrive.
    pub order: &'static str,
    /// What becomes of an event that is published while nobody listens.
    pub nobody_listens: &'static str,
    /// What several replicas of a consumer make of an event.
    pub replicas: &'static str,
    /// How events travel.
    pub batches: &'static str,
}

/// A bus that the contract is tried on.
pub trait Bus {
    /// What it promises.
    fn features(&self) -> Features;

    /// Lines of the subscription that brings events to `place`: its `target`, and what belongs to it.
    fn subscription(&self, place: &str) -> String;

    /// Lines of a further subscription that publishes events to `place`, where the first one hears them there. It hears the same events.
    fn publisher(&self, place: &str) -> Option<String> {
        let _ = place;
        None
    }

    /// Tables of spin.toml that have the component `listener` hear `place`.
    fn trigger(&self, place: &str) -> String;

    /// A component beside the relay that reaches the bus: its id, which is its file's name as well.
    fn consumer(&self) -> Option<&'static str> {
        None
    }

    /// Tables of spin.toml that all of its triggers share.
    fn trigger_settings(&self) -> &'static str {
        ""
    }

    /// The hosts that the relay must be allowed to reach.
    fn hosts(&self) -> &'static [&'static str] {
        &[]
    }

    /// The relay's variables that say how the bus is reached.
    fn variables(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// SIGKILL of its server. `false`: it has none.
    ///
    /// # Errors
    /// What the system says.
    fn kill(&mut self) -> anyhow::Result<bool> {
        Ok(false)
    }

    /// Starts its server again, with what it kept.
    ///
    /// # Errors
    /// Where it doesn't start.
    fn start_again(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// The events that others than functions of the application got at `place`, as JSON, in their order; an event may be there more
    /// than once.
    ///
    /// # Errors
    /// What its server says.
    fn taken_by_others(&self, place: &str) -> anyhow::Result<Vec<String>> {
        let _ = place;
        Ok(Vec::new())
    }
}

/// What buses promise, as a table in Markdown.
pub fn table(buses: &[Features]) -> String {
    type Column = fn(&Features) -> &'static str;
    let rows: [(&str, Column); 10] = [
        ("an event is settled by", |bus| bus.settled_by),
        ("arrives", |bus| match bus.has_consumers {
            true => "one effect",
            false => "at least once; consumers tell copies by source and id",
        }),
        ("a stream's order, with `order = \"stream\"`", |bus| bus.order),
        ("RETRY, a trap, a timeout", |bus| match bus.has_consumers {
            true => "the next attempt",
            false => "the consumers' own affair",
        }),
        ("DROP, the last attempt", |bus| match bus.has_consumers {
            true => "dead letter with the reason",
            false => "the consumers' own affair",
        }),
        ("published while nobody listens", |bus| bus.nobody_listens),
        ("the server is killed under load", after_a_kill),
        ("the application is killed under load", after_a_kill),
        ("replicas of a consumer", |bus| bus.replicas),
        ("on the way", |bus| bus.batches),
    ];
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let names: Vec<String> = buses.iter().map(|bus| format!("`{}`", bus.name)).collect();
    let mut text = line([""].into_iter().chain(names.iter().map(String::as_str)).collect());
    text.push_str(&line(vec!["---"; buses.len() + 1]));
    for (name, column) in rows {
        text.push_str(&line([name].into_iter().chain(buses.iter().map(column)).collect()));
    }
    text
}

fn after_a_kill(bus: &Features) -> &'static str {
    match bus.has_consumers {
        true => "nothing lost, nothing doubled",
        false => "nothing lost; copies are possible",
    }
}
