//! A breaker that all instances share: its state lies in the key-value store under `breaker/<name>`.
//!
//! Instances come and go, so that no count would get far within one. The store has no compare-and-swap, so that two
//! instances that write at the same moment may lose the count of a failure, or in the worst case an opening: then the
//! breaker opens a few failures later. What must not happen twice, the probe, is claimed by an atomic increment of a key
//! that names the opening and the probe.
//!
//! While all is well the store is asked at most every [`limits::BREAKER_SEEN_MS`] per instance, and nothing is written:
//! successes are counted in the instance, and go to the store with the next failure or, while failures are remembered,
//! with the next look. While the store fails, every instance goes by what it saw last, and probes without a claim: the
//! breaker never keeps a call from what is well for longer than the cool-down.

use std::cell::RefCell;
use std::collections::HashMap;

use selvedge_events::Timestamp;
use serde::Serialize;

use super::{Admission, Breaker, BreakerPolicy, State};
use crate::{Error, Host, limits};

/// One instance's view of a shared breaker.
#[derive(Debug)]
pub struct SharedBreaker {
    name: String,
    policy: BreakerPolicy,
    seen: RefCell<Seen>,
}

/// What an instance knows without asking the store.
#[derive(Debug, Default)]
struct Seen {
    breaker: Breaker,
    /// When the store was asked; `None` before the first time.
    at_ms: Option<i64>,
    /// Calls that went well and that the store hasn't heard of.
    successes: u32,
}

/// The right to make one call. Say how it ended with [`SharedBreaker::settle`]. If it never ends, because its caller went
/// away, nothing is counted, and a probe ends in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the breaker wants to know how the call ended"]
pub struct Permit {
    /// Whether the call is the probe of a half-open breaker: it must be made at once, and once.
    pub is_probe: bool,
}

/// A breaker as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name: whom it guards.
    pub name: String,
    /// Its state. One whose cool-down is over is open until the next call comes.
    pub state: State,
    /// Since when it is in this state; `None` when it was never in another.
    pub since: Option<Timestamp>,
}

impl SharedBreaker {
    /// This instance's view of the breaker of this name.
    pub fn new(name: impl Into<String>, policy: BreakerPolicy) -> Self {
        Self {
            name: name.into(),
            policy,
            seen: RefCell::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks for the right to make a call.
    ///
    /// # Errors
    /// [`Error::CircuitOpen`] when no call may be made now.
    pub fn admit(&self, host: &Host) -> Result<Permit, Error> {
        let now_ms = host.now_ms();
        if !self.is_fresh(now_ms) {
            self.look(host, now_ms);
        }
        match self.admission(now_ms) {
            Admission::Call => Ok(Permit { is_probe: false }),
            Admission::Refused { retry_after_ms } => Err(self.refusal(retry_after_ms)),
            Admission::Probe => self.claim(host, now_ms),
        }
    }

    /// Says how a call ended.
    pub fn settle(&self, host: &Host, permit: Permit, went_well: bool) {
        let now_ms = host.now_ms();
        match (permit.is_probe, went_well) {
            (true, true) => {
                let probe = self.seen.borrow().breaker.clone();
                self.write(host, now_ms, probe.clone().probe_succeeded(now_ms));
                self.forget_probe(host, &probe);
            }
            (true, false) => {
                self.look(host, now_ms);
                let breaker = self.seen.borrow().breaker.clone();
                self.write(host, now_ms, breaker.probe_failed(&self.policy, now_ms));
            }
            (false, true) => {
                let mut seen = self.seen.borrow_mut();
                seen.successes = seen.successes.saturating_add(1);
                let ends_a_row = seen.breaker.consecutive_failures() > 0;
                drop(seen);
                if ends_a_row {
                    self.look(host, now_ms);
                }
            }
            (false, false) => {
                self.look(host, now_ms);
                let breaker = self.seen.borrow().breaker.clone();
                self.write(host, now_ms, breaker.failed(&self.policy, now_ms));
            }
        }
    }

    fn is_fresh(&self, now_ms: i64) -> bool {
        let age_ms = self.seen.borrow().at_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        age_ms.is_some_and(|age_ms| (0..limits::BREAKER_SEEN_MS).contains(&age_ms))
    }

    fn admission(&self, now_ms: i64) -> Admission {
        self.seen.borrow().breaker.admit(&self.policy, now_ms)
    }

    fn refusal(&self, retry_after_ms: u64) -> Error {
        Error::CircuitOpen {
            target: self.name.clone(),
            retry_after_ms,
        }
    }

    /// Looks at what the store has, and tells it of successes where it remembers failures.
    fn look(&self, host: &Host, now_ms: i64) {
        let breaker = match read(host, [&*self.name]) {
            Ok(breakers) => breakers.into_iter().next().unwrap_or_default(),
            Err(error) => {
                eprintln!("warning: the breaker {} can't be read: {error}", self.name);
                self.seen.borrow().breaker.clone()
            }
        };
        let successes = std::mem::take(&mut self.seen.borrow_mut().successes);
        if successes > 0 && breaker.remembers_failures() {
            self.write(host, now_ms, breaker.succeeded(&self.policy, now_ms, successes));
        } else {
            let breaker = breaker.succeeded(&self.policy, now_ms, successes);
            self.keep(breaker, now_ms);
        }
    }

    fn keep(&self, breaker: Breaker, now_ms: i64) {
        let mut seen = self.seen.borrow_mut();
        seen.breaker = breaker;
        seen.at_ms = Some(now_ms);
    }

    fn write(&self, host: &Host, now_ms: i64, breaker: Breaker) {
        let value = serde_json::to_vec(&breaker).expect("numbers and names can be written as JSON");
        if let Err(error) = host.set_many(vec![(key(&self.name), value)]) {
            eprintln!("warning: the breaker {} can't be written: {error}", self.name);
        }
        self.keep(breaker, now_ms);
    }

    /// Claims the probe, if it is still to be had.
    fn claim(&self, host: &Host, now_ms: i64) -> Result<Permit, Error> {
        // What was seen may be old: others may have closed it, or probed before.
        self.look(host, now_ms);
        match self.admission(now_ms) {
            Admission::Call => return Ok(Permit { is_probe: false }),
            Admission::Refused { retry_after_ms } => return Err(self.refusal(retry_after_ms)),
            Admission::Probe => {}
        }
        let breaker = self.seen.borrow().breaker.clone();
        let is_claimed = match host.increment(&probe_key(&self.name, breaker.next_probe()), 1) {
            Ok(count) => count == 1,
            Err(error) => {
                eprintln!(
                    "warning: the probe of the breaker {} can't be claimed: {error}",
                    self.name
                );
                true
            }
        };
        if is_claimed {
            self.write(host, now_ms, breaker.clone().probing(&self.policy, now_ms));
            self.forget_probe(host, &breaker);
            return Ok(Permit { is_probe: true });
        }
        // Whoever claimed it says so in the store at once, or died before: then it is said here, so that the probe ends in
        // time and the next one can be claimed.
        let unsaid = breaker.next_probe();
        self.look(host, now_ms);
        let breaker = self.seen.borrow().breaker.clone();
        if breaker.state() != State::Closed && breaker.next_probe() == unsaid {
            self.write(host, now_ms, breaker.probing(&self.policy, now_ms));
        }
        match self.admission(now_ms) {
            Admission::Refused { retry_after_ms } => Err(self.refusal(retry_after_ms)),
            Admission::Call => Ok(Permit { is_probe: false }),
            Admission::Probe => Err(self.refusal(1)),
        }
    }

    /// Removes the claim of the probe before the next one: nobody asks for it any more.
    fn forget_probe(&self, host: &Host, breaker: &Breaker) {
        let (opened_at_ms, next) = breaker.next_probe();
        let Some(last) = next.checked_sub(1) else { return };
        if let Err(error) = host.delete_many(vec![probe_key(&self.name, (opened_at_ms, last))]) {
            eprintln!("warning: an old probe of the breaker {} stays: {error}", self.name);
        }
    }
}

/// What is to be told of these breakers, in their order.
///
/// # Errors
/// [`Error::KeyValue`].
pub fn reports(host: &Host, names: Vec<String>) -> Result<Vec<Report>, Error> {
    let breakers = read(host, names.iter().map(String::as_str))?;
    let report = |(name, breaker): (String, Breaker)| Report {
        name,
        state: breaker.state(),
        since: breaker.since_ms().map(Timestamp::from_unix_ms),
    };
    Ok(names.into_iter().zip(breakers).map(report).collect())
}

/// The breakers in the store. One that nobody wrote is closed, and so is one that can't be understood.
fn read<'a>(host: &Host, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Breaker>, Error> {
    let keys: Vec<_> = names.into_iter().map(key).collect();
    let stored: HashMap<String, Vec<u8>> = host.get_many(keys.clone())?.into_iter().collect();
    let breaker = |key: &String| stored.get(key).and_then(|value| serde_json::from_slice(value).ok());
    Ok(keys.iter().map(|key| breaker(key).unwrap_or_default()).collect())
}

fn key(name: &str) -> String {
    format!("breaker/{name}")
}

fn probe_key(name: &str, (opened_at_ms, probe): (i64, u32)) -> String {
    format!("breaker/{name}/probe/{opened_at_ms}/{probe}")
}
