//! One drain: passes over the outbox until there is nothing left to do, or its time is up.

use std::rc::Rc;

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;

use super::parcel::{Delivered, Parcel};
use super::plan::{self, View};
use super::settlement::{Moved, Settlement};
use super::{Relay, Watch, claim, collect, deliver, outbox, pack, record, replay, retire};
use crate::host::LocalFuture;
use crate::subscription::{Subscription, Subscriptions};
use crate::{Error, Host, Outcome, bell, lease, limits, mutant};

/// Drains the outbox. The watch stands for the promise to look again, and is given up with it.
pub(super) async fn run(relay: Rc<Relay>, host: Host, watch: Watch) -> Result<(), Error> {
    if relay.subscriptions.iter().len() == 0 {
        return Ok(());
    }
    if !relay.registered.get() {
        outbox::register(&host, &relay.subscriptions)?;
        relay.registered.set(true);
    }
    let token = host.new_token();
    let mut drain = Drain {
        relay: &relay,
        subscriptions: relay.current.borrow().clone(),
        host: &host,
        token,
        watch: Some(watch),
        awake_until_ms: None,
        in_flight: FuturesUnordered::new(),
        leases: Vec::new(),
        renew_at_ms: 0,
        delivered_last: 0,
        replays: true,
    };
    let drained = drain.run().await;
    // Whatever went wrong, a mark must not claim that someone is awake.
    drain.fall_asleep().and(drained)
}

struct Drain<'r> {
    relay: &'r Rc<Relay>,
    /// The subscriptions in the generations that the last look showed.
    subscriptions: Subscriptions,
    host: &'r Host,
    token: String,
    watch: Option<Watch>,
    /// Until when the mark says that this relay is awake; `None` when it has no mark.
    awake_until_ms: Option<i64>,
    in_flight: FuturesUnordered<LocalFuture<(Parcel, Delivered)>>,
    /// The tokens of the leases on what is in flight, one for each parcel.
    leases: Vec<Rc<str>>,
    /// When they are to be renewed.
    renew_at_ms: i64,
    /// How many events the last pass delivered.
    delivered_last: usize,
    /// Whether it makes the steps of replays: not any more after one has failed.
    replays: bool,
}

impl Drain<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let ends_at_ms = self.host.now_ms() + limits::DRAIN_MS_MAX;
        loop {
            let now_ms = self.host.now_ms();
            if now_ms >= ends_at_ms {
                return self.hand_over().await;
            }
            self.renew(now_ms)?;
            let view = outbox::look(self.host, &self.subscriptions, now_ms)?;
            if self.is_another_generation(&view) {
                continue;
            }
            // What is wanted outlives a change of the subscriptions: they are shared.
            let subscriptions = self.subscriptions.clone();
            let wanted = plan::wanted(&view, &subscriptions, now_ms);
            if wanted.is_empty() && !view.retry_due && !(view.replay_due && self.replays) {
                if self.awake_until_ms.is_some() {
                    // What was appended until the mark was cleared rang no bell: look once more.
                    self.fall_asleep()?;
                } else if self.in_flight.is_empty() {
                    if collect::if_time(self.host, &self.subscriptions, &view, now_ms).await? {
                        retire::clear(self.host, now_ms).await?;
                    }
                    return Ok(());
                } else {
                    self.wait_for_stragglers().await?;
                }
                continue;
            }
            if !self.stay_awake(now_ms)? {
                // Another relay is awake, and looks again before it sleeps.
                if self.in_flight.is_empty() {
                    return Ok(());
                }
                // What comes behind a straggler nobody else can take, and its bell has rung: it is looked for here.
                self.wait_for_stragglers().await?;
                continue;
            }
            self.dispatch(&view, &wanted, now_ms)?;
            self.gather().await?;
            if plan::is_busy(self.delivered_last, self.host.now_ms() - now_ms) {
                // Under load a moment's patience makes the batches larger and everything cheaper.
                self.host.wait(limits::LINGER_MS).await;
            }
        }
    }

    /// Whether a projection was built anew, or is now, since the look before: then there is other work than it showed.
    fn is_another_generation(&mut self, view: &View) -> bool {
        let rows = view
            .progress
            .iter()
            .map(|progress| (&*progress.name, progress.generation));
        let Some(changed) = self.relay.subscriptions.in_generations(rows, &self.subscriptions) else {
            return false;
        };
        self.relay.current.replace(changed.clone());
        self.subscriptions = changed;
        true
    }

    /// Leases, reads and sends what there is to do.
    fn dispatch(&mut self, view: &View, wanted: &[&Subscription], now_ms: i64) -> Result<(), Error> {
        let mut outgoing = Vec::new();
        let token: Rc<str> = self.host.new_token().into();
        if view.replay_due && self.replays {
            self.replays = replay::step_or_warn(self.host, &self.subscriptions, now_ms);
        }
        // Retries first: where the events under way are limited they have waited longest.
        if view.retry_due {
            let claimed = claim::claim(self.host, &self.subscriptions, &token, now_ms)?;
            outgoing.extend(pack::exceptions(&claimed, &token, now_ms));
        }
        if !wanted.is_empty() {
            for range in plan::ranges(lease::take(self.host, wanted, &token, now_ms)?) {
                let events = outbox::read(self.host, &range)?;
                let ordered = plan::ordered(&range, &self.subscriptions);
                let seen = pack::Seen {
                    view,
                    blocked: outbox::blocked(self.host, &ordered, &events)?,
                    unsettled: outbox::unsettled(self.host, &range, &events)?,
                    events,
                };
                outgoing.extend(pack::range(&range, &seen, &self.subscriptions, &token, now_ms));
            }
        }
        self.delivered_last = outgoing
            .iter()
            .map(|outgoing| outgoing.parcel.items.len())
            .max()
            .unwrap_or(0);
        if self.in_flight.is_empty() {
            self.renew_at_ms = now_ms + limits::RENEW_EVERY_MS;
        }
        for outgoing in outgoing {
            if mutant::is("settle_before_effect") {
                let success = vec![Outcome::Success; outgoing.parcel.items.len()];
                self.settle([(outgoing.parcel.clone(), Delivered::Answered(success))])?;
            }
            self.leases.push(token.clone());
            self.in_flight
                .push(Box::pin(deliver::send(self.host.clone(), outgoing)));
        }
        Ok(())
    }

    /// Settles what was delivered, all at once. Deliveries that take much longer than the first stay under way, so that
    /// a slow function holds nobody up.
    async fn gather(&mut self) -> Result<(), Error> {
        let mut finished = Vec::new();
        let mut patience_ms = limits::FIRST_DELIVERY_MS;
        while !self.in_flight.is_empty() {
            match select(self.in_flight.next(), self.host.wait(patience_ms)).await {
                Either::Left((delivery, _)) => finished.extend(delivery),
                Either::Right(_) => break,
            }
            patience_ms = limits::GATHER_MS;
        }
        self.settle(finished)
    }

    /// Waits for a moment without claiming to be awake: others may ring and work meanwhile.
    async fn wait_for_stragglers(&mut self) -> Result<(), Error> {
        self.fall_asleep()?;
        let patience_ms = limits::RENEW_EVERY_MS.unsigned_abs();
        let finished = match select(self.in_flight.next(), self.host.wait(patience_ms)).await {
            Either::Left((delivery, _)) => delivery,
            Either::Right(_) => None,
        };
        self.settle(finished)?;
        self.renew(self.host.now_ms())
    }

    /// Keeps the leases on what is in flight, when it is time.
    fn renew(&mut self, now_ms: i64) -> Result<(), Error> {
        if self.leases.is_empty() || now_ms < self.renew_at_ms {
            return Ok(());
        }
        self.renew_at_ms = now_ms + limits::RENEW_EVERY_MS;
        lease::renew(self.host, &self.leases, now_ms)
    }

    fn settle(&mut self, finished: impl IntoIterator<Item = (Parcel, Delivered)>) -> Result<(), Error> {
        let mut settlement = Settlement::default();
        let now_ms = self.host.now_ms();
        for (parcel, delivered) in finished {
            if let Some(place) = self.leases.iter().position(|token| *token == parcel.token) {
                self.leases.swap_remove(place);
            }
            settlement.add(&parcel, delivered, now_ms, &mut || self.host.random_fraction());
        }
        let moved = record::settle(self.host, &settlement)?;
        let fenced = |wanted: &&Moved| !moved.contains(&wanted.subscription);
        for Moved { subscription, .. } in settlement.moved.iter().filter(fenced) {
            eprintln!("warning: the lease on {subscription} had ended; another relay goes on from there");
        }
        Ok(())
    }

    /// Marks this relay as awake, or finds that another one is.
    fn stay_awake(&mut self, now_ms: i64) -> Result<bool, Error> {
        if self
            .awake_until_ms
            .is_some_and(|until_ms| bell::is_awake(until_ms - limits::AWAKE_MS / 2, now_ms))
        {
            return Ok(true);
        }
        let awake = lease::mark_awake(self.host, &self.token, now_ms)?;
        self.awake_until_ms = awake.then_some(now_ms + limits::AWAKE_MS);
        if awake && self.watch.is_none() {
            self.watch = Watch::begin(self.relay);
        }
        Ok(awake)
    }

    /// Takes back the promise to look again.
    fn fall_asleep(&mut self) -> Result<(), Error> {
        self.watch = None;
        match self.awake_until_ms.take() {
            Some(_) => lease::mark_asleep(self.host, &self.token),
            None => Ok(()),
        }
    }

    /// Lets another call go on, since platforms end long ones, and settles what is under way. What comes behind that nobody else
    /// could take meanwhile: for it there is another bell.
    async fn hand_over(&mut self) -> Result<(), Error> {
        self.fall_asleep()?;
        bell::ring(self.host);
        while !self.in_flight.is_empty() {
            self.wait_for_stragglers().await?;
            if self.in_flight.is_empty() {
                bell::ring(self.host);
            }
        }
        Ok(())
    }
}
