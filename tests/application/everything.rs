//! Clients of every public route, some of whom know what they do.
//!
//! Every command brings a text of its own, its mark, so that it can be told from the stores whether it had an effect.

mod accounts;
mod client;
mod operators;
mod orders;
mod outside;
mod reads;
mod rubbish;
mod tasks;

use std::sync::{Mutex, PoisonError};

use rand::RngExt;
use rand::rngs::StdRng;
use selvedge_testkit::World;
use selvedge_testkit::chaos::{Storm, Workload};
use selvedge_testkit::checkers::Violation;
use selvedge_testkit::simulation::{Fault, When};

use self::client::{Client, Told};
use super::providers::{self, Books, Provider};
use super::todos::{self, Webhook};
use super::{checks, money, promise_under_pressure};

/// How many calls don't reach users while it is down.
const USERS_DOWN_CALLS: usize = 20;

/// What the clients do, what they were told, and what the providers did. One is made for each run.
pub struct Everything {
    told: Mutex<Told>,
    books: Books,
    is_provided: bool,
}

impl Everything {
    /// For an application whose orders are fulfilled outside (`is_provided`), or by its own sandbox.
    pub fn new(is_provided: bool) -> Self {
        Self {
            told: Mutex::default(),
            books: Books::default(),
            is_provided,
        }
    }

    /// What the application promises, those who asked it for something among them.
    pub fn promise(&self, world: &World) -> Vec<Violation> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut violations: Vec<_> = std::mem::take(&mut told.broken).into_iter().map(Violation).collect();
        violations.extend(promise_under_pressure(world));
        violations.extend(money::orders_have_ended(world));
        violations.extend(checks::refused_changed_nothing(world, &told.refused));
        violations.extend(checks::taken_are_kept(world, &told.events));
        violations.extend(checks::expired_are_never_delivered(world, &told.doomed));
        violations.extend(checks::operators_left_nothing(world));
        if self.is_provided {
            violations.extend(self.books.agree(world));
        }
        violations
    }

    fn client<'w>(&'w self, world: &'w World, storm: &Storm, number: usize) -> Client<'w> {
        Client {
            world,
            is_calm: storm.is_calm(),
            told: &self.told,
            number,
        }
    }
}

impl Workload for Everything {
    fn set_up(&self, world: &World, storm: &Storm, seed: u64) {
        world.network.play(todos::WEBHOOK, Webhook::new(storm, seed));
        world
            .network
            .play(providers::ADDRESS, Provider::new(self.books.clone(), storm, seed));
        // On the first node users can't be reached for a while, in some runs.
        if !storm.is_calm() && seed.is_multiple_of(3) {
            let (storm, mut left) = (storm.clone(), USERS_DOWN_CALLS);
            world.node().faults.inject(move |call, _| {
                let is_for_users = &*call.component == "todos" && call.detail.contains("http://users.spin.internal");
                if !is_for_users || left == 0 || !storm.rages() {
                    return None;
                }
                left -= 1;
                Some((Fault::Fail, When::Before))
            });
        }
    }

    async fn command(&self, world: &World, storm: &Storm, chance: &mut StdRng, number: usize) -> Option<String> {
        let client = self.client(world, storm, number);
        match chance.random_range(0..40) {
            0..=9 => return tasks::create(&client, chance).await,
            10..=13 => return accounts::register(&client, chance).await,
            14..=19 => return orders::place(&client, chance).await,
            20..=22 => return outside::post(&client, chance).await,
            23 | 24 => return outside::publish(&client, chance).await,
            // What changes or reads something that is there begins nothing.
            25..=29 => tasks::change(&client, chance).await,
            30 => accounts::change(&client, chance).await,
            31..=33 => reads::read(&client, chance).await,
            34 | 35 => operators::operate(&client, chance).await,
            36 if !storm.is_calm() => todos::mangled_event(world, number),
            _ => rubbish::send(&client, chance).await,
        }
        None
    }

    async fn tidy_up(&self, world: &World, storm: &Storm) {
        operators::resume_all(&self.client(world, storm, 0)).await;
    }

    async fn try_again(&self, world: &World, storm: &Storm) -> Vec<Violation> {
        let client = self.client(world, storm, usize::MAX);
        if !storm.is_calm() {
            operators::cancel_rebuilds(&client).await;
            operators::redrive_all(&client).await;
        }
        accounts::works(&client).await;
        orders::works(&client).await;
        Vec::new()
    }
}
