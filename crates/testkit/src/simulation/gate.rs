//! The gate of a simulated node: it records every host call, and injects the faults that were asked for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use selvedge_engine::ports::{Gate, HostCall, Verdict};
use tokio::sync::Notify;

use super::broker::Fate;
use super::clock::SimulatedClock;
use super::network::SimulatedNetwork;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The instance traps.
    Trap,
    /// The call answers its interface's error.
    Fail,
    /// The call never answers.
    Hang,
    /// The call waits until [`Faults::release`], and goes on then.
    Stall,
    /// The whole node is gone: no call of any of its instances ever gets through again.
    NodeLost,
    /// The client of the request from outside goes away; the call goes on.
    ClientGone,
    /// The call goes on after this time. Before its effect: a request that is long on its way, or overtaken by others.
    Late {
        /// The time, in milliseconds.
        by_ms: u64,
    },
    /// A copy of the HTTP request arrives after this time as well; its answer is lost. Other calls just go on.
    Copied {
        /// The time, in milliseconds.
        after_ms: u64,
    },
    /// The message that the call publishes meets this fate on its way to everybody who listens. Other calls just go on.
    Message(Fate),
    /// The message brokers are stopped, and started again after this time; the call goes on.
    BrokersRestarted {
        /// The time, in milliseconds.
        after_ms: u64,
    },
}

/// On which side of its effect a call is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// The call has no effect.
    Before,
    /// The call has its effect, but its answer doesn't come.
    After,
}

/// A host call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When, on the world's wall clock.
    pub at_ms: u64,
    /// By which component.
    pub component: String,
    /// Of which function, for example `sqlite.execute`.
    pub function: &'static str,
    /// The statement, keys or URL.
    pub detail: String,
    /// The fault that it met.
    pub fault: Option<(Fault, When)>,
}

/// How late a call is without any fault, in milliseconds.
type Latency = Box<dyn FnMut() -> u64 + Send>;
type Rule = Box<dyn FnMut(&HostCall, usize) -> Option<(Fault, When)> + Send>;

/// The faults of one node, and the record of its calls.
pub struct Faults {
    clock: Arc<SimulatedClock>,
    client_gone: Notify,
    released: Notify,
    gone: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    latency_ms: Option<Latency>,
    calls: Vec<Recorded>,
    recording: bool,
    /// The hash of every call so far.
    hasher: DefaultHasher,
    count: usize,
    lost: bool,
}

impl Faults {
    /// No faults; calls are recorded from the start.
    pub fn new(clock: Arc<SimulatedClock>) -> Self {
        Self {
            clock,
            client_gone: Notify::new(),
            released: Notify::new(),
            gone: Notify::new(),
            state: Mutex::new(State {
                recording: true,
                ..State::default()
            }),
        }
    }

    /// Asks `rule` before every call; its second argument is the call's number, from 0.
    pub fn inject(&self, rule: impl FnMut(&HostCall, usize) -> Option<(Fault, When)> + Send + 'static) {
        self.lock().rules.push(Box::new(rule));
    }

    /// `fault` for the first `times` calls of `component` to `function` whose detail contains `detail`.
    pub fn hit(&self, component: &str, function: &str, detail: &str, times: usize, fault: Fault, when: When) {
        let (component, function, detail) = (component.to_owned(), function.to_owned(), detail.to_owned());
        let mut left = times;
        self.inject(move |call, _| {
            let same = *call.component == *component && call.function == function && call.detail.contains(&detail);
            if !same || left == 0 {
                return None;
            }
            left -= 1;
            Some((fault, when))
        });
    }

    /// Lets every call take the time that `latency_ms` gives, so that what others do comes in between. It is no fault, and
    /// stays when faults are cleared.
    pub fn slow_down(&self, latency_ms: impl FnMut() -> u64 + Send + 'static) {
        self.lock().latency_ms = Some(Box::new(latency_ms));
    }

    /// No faults from now on. A lost node stays lost.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// Whether the node is lost.
    pub fn is_lost(&self) -> bool {
        self.lock().lost
    }

    /// Loses the node: none of its calls gets through any more.
    pub fn lose(&self) {
        self.lock().lost = true;
        self.gone.notify_waiters();
    }

    /// Resolves when the node is lost.
    pub async fn until_lost(&self) {
        let gone = self.gone.notified();
        if !self.is_lost() {
            gone.await;
        }
    }

    /// Resolves when a client is to go away.
    pub async fn client_gone(&self) {
        self.client_gone.notified().await;
    }

    /// Lets every call go on that is stalled now.
    pub fn release(&self) {
        self.released.notify_waiters();
    }

    /// Keeps no list of calls from now on: a long run doesn't need the memory. Their number and their hash go on.
    pub fn forget_calls(&self) {
        self.lock().recording = false;
    }

    /// The hash of every call so far, with its time, component, function and detail.
    pub fn trace_hash(&self) -> u64 {
        self.lock().hasher.finish()
    }

    /// How many calls met a fault so far.
    pub fn met(&self) -> usize {
        self.lock().calls.iter().filter(|call| call.fault.is_some()).count()
    }

    /// When the component called the function with a detail that contains `detail`, in milliseconds of the wall clock.
    pub fn times_ms(&self, component: &str, function: &str, detail: &str) -> Vec<u64> {
        let state = self.lock();
        let same =
            |call: &&Recorded| call.component == component && call.function == function && call.detail.contains(detail);
        state.calls.iter().filter(same).map(|call| call.at_ms).collect()
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Recorded> {
        self.lock().calls.clone()
    }

    /// How many calls were made so far.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the next call takes.
    fn latency(&self) -> Option<Duration> {
        let latency_ms = self.lock().latency_ms.as_mut()?();
        (latency_ms > 0).then(|| Duration::from_millis(latency_ms))
    }

    /// Records the call; says what it meets, and on which side.
    fn meet(&self, call: &HostCall) -> Option<(Fault, When)> {
        let at_ms = self.clock.now_ms();
        let mut state = self.lock();
        let number = state.count;
        state.count += 1;
        (at_ms, &*call.component, call.function, &*call.detail).hash(&mut state.hasher);
        let fault = state.rules.iter_mut().find_map(|rule| rule(call, number));
        if state.recording {
            let component = call.component.to_string();
            let detail = call.detail.clone();
            state.calls.push(Recorded {
                at_ms,
                component,
                function: call.function,
                detail,
                fault,
            });
        }
        fault
    }
}

/// One call's way through the gate: the fault that `before` found for `after`.
pub(super) struct NodeGate {
    pub faults: Arc<Faults>,
    network: Arc<SimulatedNetwork>,
    /// Faults that wait for their call's effect. A call is known by its component, function and detail; of two equal
    /// calls at once either may meet the fault.
    pending: Mutex<Vec<(HostCall, Fault)>>,
}

impl NodeGate {
    pub fn new(faults: Arc<Faults>, network: Arc<SimulatedNetwork>) -> Self {
        Self {
            faults,
            network,
            pending: Mutex::new(Vec::new()),
        }
    }

    async fn apply(&self, call: &HostCall, fault: Fault) -> Verdict {
        match fault {
            Fault::Trap => Verdict::Trap,
            Fault::Fail => Verdict::Fail("injected: the store is not reachable".to_owned()),
            Fault::Hang => std::future::pending().await,
            Fault::Stall => {
                self.faults.released.notified().await;
                Verdict::Proceed
            }
            Fault::Late { by_ms } => {
                tokio::time::sleep(Duration::from_millis(by_ms)).await;
                if self.faults.is_lost() {
                    return std::future::pending().await;
                }
                Verdict::Proceed
            }
            Fault::Copied { after_ms } => Verdict::Copy(Duration::from_millis(after_ms)),
            Fault::Message(fate) => {
                match call.function {
                    "redis.execute" if call.detail == "PUBLISH" => self.network.redis.fates(|fates| fates.next(fate)),
                    "mqtt.publish" => self.network.mqtt.fates(|fates| fates.next(fate)),
                    _ => {}
                }
                Verdict::Proceed
            }
            Fault::BrokersRestarted { after_ms } => {
                self.network.restart_brokers(Duration::from_millis(after_ms));
                Verdict::Proceed
            }
            Fault::ClientGone => {
                self.faults.client_gone.notify_waiters();
                Verdict::Proceed
            }
            Fault::NodeLost => {
                self.faults.lose();
                std::future::pending().await
            }
        }
    }

    fn take_pending(&self, call: &HostCall) -> Option<Fault> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(other, _): &(HostCall, Fault)| {
            other.component == call.component && other.function == call.function && other.detail == call.detail
        };
        let place = pending.iter().position(same)?;
        Some(pending.swap_remove(place).1)
    }
}

#[async_trait]
impl Gate for NodeGate {
    async fn before(&self, call: &HostCall) -> Verdict {
        if self.faults.is_lost() {
            return std::future::pending().await;
        }
        let fault = self.faults.meet(call);
        if let Some(latency) = self.faults.latency() {
            tokio::time::sleep(latency).await;
            if self.faults.is_lost() {
                return std::future::pending().await;
            }
        }
        match fault {
            None => Verdict::Proceed,
            Some((fault, When::Before)) => self.apply(call, fault).await,
            Some((fault, When::After)) => {
                self.pending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((call.clone(), fault));
                Verdict::Proceed
            }
        }
    }

    async fn after(&self, call: &HostCall) -> Verdict {
        if self.faults.is_lost() {
            return std::future::pending().await;
        }
        match self.take_pending(call) {
            Some(fault) => self.apply(call, fault).await,
            None => Verdict::Proceed,
        }
    }
}
