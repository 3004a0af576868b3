//! Runs of the chaos: which application the clients of a seed meet.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::World;
use selvedge_testkit::chaos::{self, Bounds, Outcome};
use selvedge_testkit::checkers::{self, Violation};

use super::everything::Everything;
use super::setting::{Broker, Clients, Setting};
use super::todos::Todos;
use super::{EFFECTS, promise_under_pressure, providers, set, under_pressure};

/// A change that is made to the manifest.
type Change = Box<dyn Fn(&mut Manifest) + Send + Sync>;

/// The application under pressure, as its seeds need it: by a broker, and with the built-in sandboxes or with providers outside.
/// Each is compiled when it is needed first.
pub struct Programs {
    root: Box<Path>,
    change: Change,
    /// By broker, and by whether there are providers outside.
    compiled: Mutex<HashMap<(Broker, bool), Arc<Program>>>,
}

impl Programs {
    /// The application in the checkout at `root`, and what is changed in it.
    pub fn new(root: &Path, change: impl Fn(&mut Manifest) + Send + Sync + 'static) -> Self {
        Self {
            root: root.into(),
            change: Box::new(change),
            compiled: Mutex::default(),
        }
    }

    /// One run, and whether it keeps every promise.
    ///
    /// # Panics
    /// Where the components aren't built.
    pub fn run(&self, setting: Setting, seed: u64, bounds: Bounds, told: bool) -> Outcome {
        let Setting { clients, broker } = setting;
        match clients {
            Clients::Todos => {
                let promise = |world: &World| [promise_under_pressure(world), by_message(world, seed)].concat();
                chaos::run(&self.program(broker, false), seed, bounds, &Todos, &promise, told)
            }
            Clients::Everything => {
                // Calm seeds are multiples of eight: some of them have providers too.
                let is_provided = (seed / 8).is_multiple_of(2) ^ seed.is_multiple_of(2);
                let everything = Everything::new(is_provided);
                let promise = |world: &World| [everything.promise(world), by_message(world, seed)].concat();
                let program = self.program(broker, is_provided);
                chaos::run(&program, seed, bounds, &everything, &promise, told)
            }
        }
    }

    /// The application without a broker and with its own sandboxes.
    ///
    /// # Panics
    /// Where the components aren't built.
    pub fn sandboxed(&self) -> Arc<Program> {
        self.program(Broker::None, false)
    }

    fn program(&self, broker: Broker, is_provided: bool) -> Arc<Program> {
        let compile = || {
            let change = |manifest: &mut Manifest| {
                for name in ["payment_provider_url", "shipping_provider_url"] {
                    if is_provided {
                        let url = format!("http://{}/", providers::ADDRESS);
                        set(manifest, name, &url).expect("the manifest has both variables");
                    }
                }
                (self.change)(manifest);
            };
            under_pressure(&self.root, broker, change).expect("the components are built: `cargo xtask build`")
        };
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.entry((broker, is_provided)).or_insert_with(compile).clone()
    }
}

/// What holds besides of an application whose functions hear messages; where there are none, nothing is to be found.
fn by_message(world: &World, seed: u64) -> Vec<Violation> {
    match chaos::is_calm(seed) {
        true => checkers::words_are_forgotten(world),
        false => checkers::words_do_not_pile_up(world, &EFFECTS.map(|effect| effect.subscription)),
    }
}
