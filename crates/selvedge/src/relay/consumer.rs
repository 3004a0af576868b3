//! Consumes Kafka topics: brings what they have to the functions that hear them.
//!
//! One consumer at a time has a subscription's [`place`]. It waits at the broker for records, makes events of the journal of them
//! ([`intake`]), and brings them to the function as the relay does ([`round`]): what fails is written down as an exception of the
//! subscription, and is the relay's to try again. Only then it commits. So a crash anywhere brings records again, and the inbox's
//! markers make nothing of those that were done.

mod intake;
mod place;
mod progress;
mod round;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{Either, select};
use http::Method;
use selvedge_events::Event;
use selvedge_kafka::Received;
use selvedge_kafka::consume::{Begin, Consumer as Topic};

use self::place::Place;
use self::progress::Progress;
use super::{outbox, publish};
use crate::http::Call;
use crate::subscription::{Address, Start, Subscription, Subscriptions};
use crate::{Error, Host, bell, limits, mutant};

/// The consumer's component.
pub const COMPONENT: &str = "kafka-consumer";
/// The variable with what its groups' names begin with.
const GROUP: &str = "kafka_group";
/// What they begin with when it is empty.
const STANDARD_GROUP: &str = "selvedge";

/// Says of an event that the journal doesn't know whether it may come from outside; if not, why.
type Admit = Box<dyn Fn(&mut Event) -> Result<(), String>>;

/// The consumer of all topics that subscriptions hear. It lives as long as its component's instance.
pub struct Consumer {
    subscriptions: Subscriptions,
    admit: Admit,
    /// The subscriptions that this instance works for.
    at_work: RefCell<BTreeSet<String>>,
}

impl Consumer {
    /// A consumer for those of these subscriptions that hear a Kafka topic.
    pub fn new(subscriptions: Subscriptions, admit: impl Fn(&mut Event) -> Result<(), String> + 'static) -> Rc<Self> {
        Rc::new(Self {
            subscriptions: subscriptions.of_kafka(),
            admit: Box::new(admit),
            at_work: RefCell::default(),
        })
    }

    /// Hears the bell: works for a while, for each subscription in a task of its own, unless somebody works for it already.
    pub fn ring(self: &Rc<Self>, host: &Host) {
        for subscription in &self.subscriptions {
            let Some(work) = Work::begin(self, host, subscription) else {
                continue;
            };
            host.spawn(Box::pin(async move {
                let name = work.subscription.name.clone();
                if let Err(error) = work.run().await {
                    eprintln!("error: the consumer of {name} stopped ({error}); the cron starts it again");
                }
            }));
        }
    }
}

/// Whether one of these subscriptions hears a topic, isn't paused, and has nobody who consumes it.
///
/// # Errors
/// What the database fails with.
pub fn is_idle(host: &Host, subscriptions: &Subscriptions) -> Result<bool, Error> {
    let names: Vec<&str> = subscriptions
        .iter()
        .filter(|subscription| hears_kafka(subscription))
        .map(|found| &*found.name)
        .collect();
    place::is_free(host, &names, host.now_ms())
}

/// Wakes the consumer, when it has something to consume that nobody does.
pub(super) async fn wake(host: &Host, subscriptions: &Subscriptions) {
    match is_idle(host, subscriptions) {
        Ok(false) => {}
        Ok(true) => ring(host).await,
        Err(error) => eprintln!("warning: it isn't known whether topics are consumed ({error}); the cron looks again"),
    }
}

async fn ring(host: &Host) {
    let call = Call::chained(Method::POST, COMPONENT, bell::PATH);
    if let Err(error) = host.send_within(call, limits::BELL_TIMEOUT_MS).await {
        eprintln!("warning: the consumer didn't hear the bell ({error}); the cron will wake it");
    }
}

fn hears_kafka(subscription: &Subscription) -> bool {
    matches!(subscription.from, Some(Address::Kafka { .. }))
}

/// One call's work for one subscription.
struct Work {
    consumer: Rc<Consumer>,
    host: Host,
    subscription: Arc<Subscription>,
    place: Place,
    progress: Progress,
    begun_at_ms: i64,
}

/// Why the work for a subscription ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Its time is up: another call goes on.
    Time,
    /// Somebody else works for it, or it is paused.
    Left,
}

impl Work {
    fn begin(consumer: &Rc<Consumer>, host: &Host, subscription: &Arc<Subscription>) -> Option<Self> {
        let is_new = consumer.at_work.borrow_mut().insert(subscription.name.clone());
        is_new.then(|| Self {
            consumer: consumer.clone(),
            host: host.clone(),
            subscription: subscription.clone(),
            place: Place::new(&subscription.name, host.new_token()),
            progress: Progress::default(),
            begun_at_ms: host.now_ms(),
        })
    }

    async fn run(mut self) -> Result<(), Error> {
        outbox::register(&self.host, &self.consumer.subscriptions)?;
        if !self.place.take(&self.host)? {
            return Ok(());
        }
        let end = self.consume_in_time().await;
        // Whatever went wrong, nobody is to wait for the lease's end.
        self.place.leave(&self.host)?;
        let host = self.host.clone();
        let is_to_go_on = end? == End::Time;
        drop(self);
        if is_to_go_on {
            ring(&host).await;
        }
        Ok(())
    }

    /// Consumes until the time is up, and begins anew at what is committed when something goes wrong.
    async fn consume_in_time(&mut self) -> Result<End, Error> {
        let mut told = String::new();
        loop {
            match self.consume().await {
                Ok(end) => return Ok(end),
                Err(error) => {
                    let error = error.to_string();
                    if error != told {
                        eprintln!("error: {} can't be consumed: {error}", self.subscription.name);
                        told = error;
                    }
                }
            }
            self.host.wait(limits::CONSUME_PAUSE_MS).await;
            if let Some(end) = self.is_over()? {
                return Ok(end);
            }
        }
    }

    async fn consume(&mut self) -> Result<End, Error> {
        let Some(generation) = place::generation(&self.host, &self.subscription.name)? else {
            return Ok(End::Left);
        };
        if self.subscription.generation != generation {
            Arc::make_mut(&mut self.subscription).generation = generation;
        }
        let mut topic = self.topic().await?;
        let started = topic.start();
        self.answered(started).await?;
        loop {
            if let Some(end) = self.is_over()? {
                return Ok(end);
            }
            let asked = topic.next();
            let fetched = self.answered(asked).await?;
            for (partition, from, to) in &fetched.gaps {
                let name = &self.subscription.name;
                eprintln!(
                    "warning: {name} missed the records {from} to {to} of partition {partition}: the topic has deleted them"
                );
            }
            let mut records = VecDeque::from(fetched.records);
            while !records.is_empty() {
                let chunk = chunk(&mut records, self.subscription.batch as usize);
                let offsets = after(&chunk);
                if mutant::is("offset_committed_early") {
                    topic.commit(&offsets).await.map_err(|error| self.failed(&error))?;
                }
                if let Some(end) = self.bring(&chunk).await? {
                    return Ok(end);
                }
                if !records.is_empty() {
                    let committed = topic.commit(&offsets);
                    self.answered(committed).await?;
                }
            }
            let committed = topic.commit(&fetched.ends);
            self.answered(committed).await?;
            if fetched.is_end {
                self.progress.caught_up(&self.host, &self.subscription.name)?;
            }
        }
    }

    /// Reads the subscription's topic for its group.
    async fn topic(&self) -> Result<Topic, Error> {
        let Some(Address::Kafka { topic }) = &self.subscription.from else {
            unreachable!("only such subscriptions are consumed");
        };
        let client = publish::kafka::client(&self.host).await?;
        let group = self.host.variable(GROUP).await?;
        let group = format!(
            "{}-{}",
            group.as_deref().unwrap_or(STANDARD_GROUP),
            self.subscription.name
        );
        let begin = match self.subscription.start {
            Start::Beginning => Begin::Oldest,
            Start::Now => Begin::Now,
        };
        Ok(Topic::new(client, group, topic.clone(), begin))
    }

    /// What the broker answers, within a time. The place is kept meanwhile.
    async fn answered<T>(&mut self, asked: impl Future<Output = Result<T, selvedge_kafka::Error>>) -> Result<T, Error> {
        let mut asked = std::pin::pin!(asked);
        let step_ms = limits::RENEW_EVERY_MS.unsigned_abs();
        for _ in 0..limits::CONSUME_ANSWER_MS / step_ms {
            match select(&mut asked, self.host.wait(step_ms)).await {
                Either::Left((answered, _)) => return answered.map_err(|error| self.failed(&error)),
                Either::Right(_) => _ = self.place.keep(&self.host)?,
            }
        }
        let patience_ms = limits::CONSUME_ANSWER_MS;
        Err(self.broken(format!(
            "the broker gave no answer within {patience_ms} ms: look whether it is well"
        )))
    }

    fn failed(&self, error: &selvedge_kafka::Error) -> Error {
        self.broken(error.to_string())
    }

    fn broken(&self, reason: String) -> Error {
        Error::Broker {
            address: self
                .subscription
                .from
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            reason,
        }
    }

    /// Why this call's work is over, if it is. Keeps the place when it is time.
    fn is_over(&mut self) -> Result<Option<End>, Error> {
        // A clock that was set back ends it as well: nobody knows how long it has lasted.
        if !(0..limits::DRAIN_MS_MAX).contains(&(self.host.now_ms() - self.begun_at_ms)) {
            return Ok(Some(End::Time));
        }
        Ok((!self.place.keep(&self.host)?).then_some(End::Left))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.consumer.at_work.borrow_mut().remove(&self.subscription.name);
    }
}

/// The next records that go together: as many as one delivery may have.
fn chunk(records: &mut VecDeque<Received>, count: usize) -> Vec<Received> {
    let count = count.min(records.len());
    records.drain(..count).collect()
}

/// The offsets after these records, which stand in each partition in their order.
fn after(records: &[Received]) -> BTreeMap<i32, i64> {
    records
        .iter()
        .map(|record| (record.partition, record.offset + 1))
        .collect()
}
