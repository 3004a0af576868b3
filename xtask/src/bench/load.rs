//! The load generator: sends commands to an engine and watches what becomes of them.
//!
//! Two phases for todos and two for orders, each on an engine with empty stores. The first of two sends as fast as the connections can, for rates and what an
//! event costs. The second sends at a steady rate that any engine bears, for delays: there every request has its time,
//! kept whatever the ones before it take, so that a stall is seen in all requests that it held up.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::effects::Effects;
use super::engine::Engine;
use super::http::Connection;
use super::journey::{Journey, ORDER, TODO};
use super::long;
use super::report::{self, Figures, FullSpeed, JourneyFigures};
use super::{Broker, EngineKind, Subject};
use crate::process::say;
use crate::workspace;

/// Requests before a phase begins: the tables are made, the instances exist.
const WARM_UP: u64 = 200;
/// Of this many starts the median is taken.
const STARTS: usize = 5;
/// The connections that share the steady rate of the second phase.
const STEADY_CONNECTIONS: u64 = 4;

/// Drive engines that are built already and print the table.
#[derive(clap::Args)]
pub struct Load {
    #[arg(long = "engine", value_enum)]
    engines: Vec<EngineKind>,
    #[arg(long = "broker", value_enum)]
    brokers: Vec<Broker>,
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    connections: u64,
    #[arg(long)]
    long: bool,
    #[arg(long)]
    todos_only: bool,
}

impl Load {
    /// Measures each engine, one after the other.
    pub fn run(self) -> Result<()> {
        let _alone = wait_to_be_alone()?;
        if self.long {
            let length = Duration::from_secs(self.seconds);
            return self
                .subjects()
                .try_for_each(|subject| long::measure(subject, self.connections, length));
        }
        let mut figures = Vec::new();
        for subject in self.subjects() {
            figures.push(self.measure(subject)?);
        }
        println!("{} connections, {} s each phase\n", self.connections, self.seconds);
        print!("{}", report::table(&figures));
        Ok(())
    }

    /// Every engine with every broker.
    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let with_brokers = |engine: &EngineKind| {
            let engine = *engine;
            self.brokers.iter().map(move |broker| Subject {
                engine,
                broker: *broker,
            })
        };
        self.engines.iter().flat_map(with_brokers)
    }

    fn measure(&self, subject: Subject) -> Result<Figures> {
        let name = subject.name();
        say(format_args!("{name}: starting {STARTS} times"));
        // The first start may compile the components; it isn't one of those that count.
        drop(Engine::start(subject)?);
        let mut starts = (0..STARTS)
            .map(|_| Ok(Engine::start(subject)?.started_in))
            .collect::<Result<Vec<_>>>()?;
        starts.sort();
        Ok(Figures {
            engine: name,
            todos: self.measure_journey(subject, &TODO)?,
            orders: match self.todos_only {
                true => None,
                false => Some(self.measure_journey(subject, &ORDER)?),
            },
            start: starts[STARTS / 2],
        })
    }

    fn measure_journey(&self, subject: Subject, journey: &Journey) -> Result<JourneyFigures> {
        let length = Duration::from_secs(self.seconds);
        let what = format!("{}: {}", subject.name(), journey.name);
        say(format_args!(
            "{what}: as fast as {} connections can, for {} s",
            self.connections, self.seconds
        ));
        let engine = Engine::start(subject)?;
        let full_speed = at_full_speed(&engine, journey, self.connections, length)?;
        drop(engine);

        let rate = journey.steady_rate;
        say(format_args!("{what}: {rate} a second, for {} s", self.seconds));
        let engine = Engine::start(subject)?;
        let (answers, delays) = steadily(&engine, journey, length)?;

        Ok(JourneyFigures {
            full_speed,
            answers,
            delays,
        })
    }
}

/// Holds the lock that only one benchmark of a checkout can hold: two would use the same folder, and measure each other.
fn wait_to_be_alone() -> Result<File> {
    let folder = workspace::root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        say("another benchmark of this checkout is running: waiting for it");
        lock.lock()?;
    }
    Ok(lock)
}

/// Journeys on an engine that is warmed up first, as fast as the connections can.
pub fn at_full_speed(engine: &Engine, journey: &Journey, connections: u64, length: Duration) -> Result<FullSpeed> {
    let (mut effects, before) = warm_up(engine, journey)?;
    let cpu_before = engine.cpu_seconds()?;
    let begin = Instant::now();
    let journeys = post_for(engine.address, journey, connections, length)?;
    let accepting = begin.elapsed();
    effects.wait_for(before + journeys, |_, _| ())?;
    Ok(FullSpeed {
        journeys,
        accepting,
        delivering: begin.elapsed(),
        cpu_seconds: engine.cpu_seconds()? - cpu_before,
        peak_memory_kb: engine.peak_memory_kb()?,
    })
}

/// Sends a few commands and waits for their ends. Gives back the view of the ends and their count.
pub fn warm_up(engine: &Engine, journey: &Journey) -> Result<(Effects, u64)> {
    // A new database has no tables yet.
    let before = Effects::open(&engine.database(), journey.ends).and_then(|mut effects| effects.count());
    let before = before.unwrap_or(0);
    let mut connection = Connection::open(engine.address)?;
    for _ in 0..WARM_UP {
        connection.expect(&journey.request(0), journey.status)?;
    }
    let mut effects = Effects::open(&engine.database(), journey.ends)?;
    effects.wait_for(before + WARM_UP, |_, _| ())?;
    Ok((effects, before + WARM_UP))
}

/// Sends on all connections at once until the time is over; the count of what was accepted.
fn post_for(address: SocketAddr, journey: &Journey, connections: u64, length: Duration) -> Result<u64> {
    let together = Barrier::new(connections as usize);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|user| {
                let together = &together;
                scope.spawn(move || -> Result<u64> {
                    let connection = Connection::open(address);
                    together.wait();
                    let mut connection = connection?;
                    let request = journey.request(user);
                    let deadline = Instant::now() + length;
                    let mut accepted = 0;
                    while Instant::now() < deadline {
                        connection.expect(&request, journey.status)?;
                        accepted += 1;
                    }
                    Ok(accepted)
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender doesn't panic"))
            .sum()
    })
}

/// From the time that each request was due to its 201, and from there to the journey's end; each sorted.
///
/// The n-th 201 is paired with the n-th journey that came to its end. That is the same one unless two overtake each other,
/// which at this rate takes a delay of more than 10 ms, and even then no sum of delays changes.
fn steadily(engine: &Engine, journey: &Journey, length: Duration) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut effects, before) = warm_up(engine, journey)?;
    let total = u64::from(journey.steady_rate) * length.as_secs();
    let begin = Instant::now() + Duration::from_millis(10);
    let (answers, seen) = std::thread::scope(|scope| -> Result<_> {
        let senders: Vec<_> = (0..STEADY_CONNECTIONS)
            .map(|first| scope.spawn(move || post_steadily(engine.address, journey, begin, first, total)))
            .collect();
        let mut seen = Vec::new();
        effects.wait_for(before + total, |count, at| seen.push((count - before, at)))?;
        let mut answers = Vec::new();
        for sender in senders {
            answers.extend(sender.join().expect("a sender doesn't panic")?);
        }
        Ok((answers, seen))
    })?;
    let mut accepted: Vec<_> = answers.iter().map(|answer| answer.accepted).collect();
    accepted.sort();
    let mut waits: Vec<_> = answers.iter().map(|answer| answer.accepted - answer.due).collect();
    waits.sort();
    Ok((waits, delays(&accepted, &seen)))
}

/// When a request was to be sent, and when its 201 was read.
struct Answer {
    due: Instant,
    accepted: Instant,
}

/// Sends every [`STEADY_CONNECTIONS`]th request of the schedule, at its time.
fn post_steadily(
    address: SocketAddr,
    journey: &Journey,
    begin: Instant,
    first: u64,
    total: u64,
) -> Result<Vec<Answer>> {
    let mut connection = Connection::open(address)?;
    let request = journey.request(first);
    let mut answers = Vec::new();
    for number in (first..total).step_by(STEADY_CONNECTIONS as usize) {
        let due = begin + Duration::from_secs(number) / journey.steady_rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        connection.expect(&request, journey.status)?;
        answers.push(Answer {
            due,
            accepted: Instant::now(),
        });
    }
    Ok(answers)
}

/// Pairs the n-th time of `accepted` with the first of `seen` whose count reached n. An effect may be seen before its 201
/// was read: then there was no delay.
fn delays(accepted: &[Instant], seen: &[(u64, Instant)]) -> Vec<Duration> {
    let mut delays: Vec<Duration> = accepted
        .iter()
        .zip(1..)
        .filter_map(|(accepted, number)| {
            let (_, at) = seen.get(seen.partition_point(|(count, _)| *count < number))?;
            Some(at.saturating_duration_since(*accepted))
        })
        .collect();
    delays.sort();
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_ends_with_the_first_look_that_saw_the_effect() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let seen = [(0, at(0)), (1, at(12)), (3, at(35))];
        let delays = delays(&[at(10), at(20), at(40)], &seen);
        assert_eq!(delays, [0, 2, 15].map(Duration::from_millis));
    }
}
