//! The relay: brings the journal's events to whoever subscribed.
//!
//! It sleeps until it is rung. Then it drains: look at what there is to do, lease it, read it, deliver it to all
//! subscriptions at once, settle it, and look again, until there is nothing left. Before it sleeps it says so and looks
//! once more, so that no wake-up is lost: an event that is appended while it is awake rings no bell. Any number of
//! relays may run at once.

pub mod batch;
mod claim;
mod collect;
pub mod consumer;
mod dapr_app;
mod deliver;
mod drain;
mod due;
mod outbox;
mod pack;
pub mod parcel;
pub mod plan;
pub(crate) mod publish;
mod rebuild;
mod record;
mod replay;
mod retire;
pub mod settlement;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::subscription::Subscriptions;
use crate::{Error, Host, mutant};

/// One relay. It lives as long as its component's instance.
pub struct Relay {
    subscriptions: Subscriptions,
    /// The same in the generations that a drain last saw them in, and those of projections that are being built.
    current: RefCell<Subscriptions>,
    /// Whether every subscription is known to have its row.
    registered: Cell<bool>,
    /// Whether a drain of this instance is going on that will look again before it ends.
    draining: Cell<bool>,
}

impl Relay {
    /// A relay for these subscriptions.
    pub fn new(subscriptions: Subscriptions) -> Rc<Self> {
        Rc::new(Self {
            current: RefCell::new(subscriptions.clone()),
            subscriptions,
            registered: Cell::new(false),
            draining: Cell::new(false),
        })
    }

    /// Hears the bell: drains in a task of its own, unless one is at it that will look again anyway.
    pub fn ring(self: &Rc<Self>, host: &Host) {
        if self.subscriptions.of_brokers().next().is_some() {
            let (relay, host) = (self.clone(), host.clone());
            host.clone().spawn(Box::pin(
                async move { consumer::wake(&host, &relay.subscriptions).await },
            ));
        }
        let Some(watch) = Watch::begin(self) else { return };
        let drained = drain::run(self.clone(), host.clone(), watch);
        host.spawn(Box::pin(async move {
            if let Err(error) = drained.await {
                eprintln!("error: the relay stopped ({error}); the next bell or the cron starts it again");
            }
        }));
    }
}

/// Whether a relay that isn't awake would find anything to do for these subscriptions: missed bells, due retries, leases
/// that ended, a subscription that is new, a replay that may go on, a topic that nobody consumes.
///
/// # Errors
/// What the database fails with.
pub fn is_due(host: &Host, subscriptions: &Subscriptions) -> Result<bool, Error> {
    if mutant::is("cron_never_due") {
        return Ok(false);
    }
    Ok(outbox::is_due(host, subscriptions, host.now_ms())? || consumer::is_idle(host, subscriptions)?)
}

/// Makes sure that every one of these subscriptions has its row, as a relay does before it first works.
///
/// # Errors
/// What the database fails with.
pub fn register(host: &Host, subscriptions: &Subscriptions) -> Result<(), Error> {
    if subscriptions.iter().len() == 0 {
        return Ok(());
    }
    outbox::register(host, subscriptions)
}

/// Stands for a drain that will look again before it ends. Dropped whichever way the drain ends, so that a cancelled one
/// doesn't leave its instance deaf.
struct Watch {
    relay: Rc<Relay>,
}

impl Watch {
    fn begin(relay: &Rc<Relay>) -> Option<Self> {
        (!relay.draining.replace(true)).then(|| Self { relay: relay.clone() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.relay.draining.set(false);
    }
}
