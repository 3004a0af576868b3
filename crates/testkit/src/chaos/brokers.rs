//! The message brokers of a run: what their messages meet while the storm rages, and when they restart.
//!
//! Every broker of the world gets its share, whichever the application goes by: one that nobody uses isn't noticed. In a calm run
//! they lose nothing, and whoever listens does so before the first command: so there the bells alone bring everything, as they do
//! without a broker.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{Storm, since_start_ms};
use crate::simulation::broker::{Fates, Passing};
use crate::simulation::{Fate, World};

/// How long a broker is down, in milliseconds: hardly noticed, for longer than a delivery waits, and for longer than a lease lasts.
const DOWN_MS: [u64; 4] = [50, 900, 7_000, 20_000];

/// What the storm does to the world's message brokers.
pub(super) struct Brokers<'w> {
    world: &'w World,
    /// Chance of its own: what a seed does to an application without a broker doesn't depend on it.
    chance: StdRng,
    /// In so many moments between commands there is a restart; `None`: there never is.
    restart_one_in: Option<u32>,
    story: Arc<Mutex<String>>,
}

impl<'w> Brokers<'w> {
    /// The brokers of a world, in the storm of this seed.
    pub fn new(world: &'w World, storm: &Storm, seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(!seed);
        let restart_one_in = *[None, Some(8), Some(30)].choose(&mut chance).expect("there are some");
        let message_one_in = *[2, 5, 20, 100].choose(&mut chance).expect("there are some");
        let messages_seed = chance.random();
        let brokers = Self {
            world,
            chance,
            restart_one_in,
            story: Arc::default(),
        };
        if !storm.is_calm() {
            let rule = || brokers.rule(storm, message_one_in, messages_seed);
            world.network.redis.fates(|fates| fates.decide(rule()));
            world.network.mqtt.fates(|fates| fates.decide(rule()));
        }
        brokers
    }

    /// What becomes of a message on its way to one of those who listen.
    fn rule(&self, storm: &Storm, one_in: u32, seed: u64) -> impl FnMut(&Passing<'_>) -> Fate + Send + use<> {
        let mut chance = StdRng::seed_from_u64(seed);
        let (storm, clock, story) = (storm.clone(), self.world.clock.clone(), self.story.clone());
        move |passing| {
            let fate = storm.fate(&mut chance, one_in);
            if fate != Fate::Arrives {
                let Passing {
                    number,
                    channel,
                    listener,
                    ..
                } = passing;
                let what = format!("message {number} on {channel} to listener {listener}  ← {fate:?}");
                tell(&story, since_start_ms(clock.now_ms()), &what);
            }
            fate
        }
    }

    /// A moment between two commands: now and then the brokers restart in it.
    pub fn weather(&mut self) {
        let restarts = |one_in| self.chance.random_ratio(1, one_in);
        if !self.restart_one_in.is_some_and(restarts) {
            return;
        }
        let down_ms = *DOWN_MS.choose(&mut self.chance).expect("there are some");
        let down = Duration::from_millis(down_ms);
        self.world.network.restart_brokers(down);
        let now_ms = since_start_ms(self.world.clock.now_ms());
        tell(&self.story, now_ms, &format!("they are down for {down:?}"));
    }

    /// The faults are over: all are there, and what they take arrives.
    pub fn calm(&self) {
        let network = &self.world.network;
        network.redis.fates(Fates::calm);
        network.mqtt.fates(Fates::calm);
        network.redis.start();
        network.mqtt.start();
        network.kafka.start();
    }

    /// What happened to them, a line each.
    pub fn story(&self) -> String {
        self.story.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn tell(story: &Mutex<String>, at_ms: i128, what: &str) {
    let mut story = story.lock().unwrap_or_else(PoisonError::into_inner);
    // Writing to a String can't fail.
    let _ = writeln!(story, "{at_ms:>9} ms  brokers {what}");
}
