//! Runs of the chaos: which clients there are, and which application they meet.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use selvedge_engine::Program;
use selvedge_engine::config::Manifest;
use selvedge_testkit::chaos::{self, Bounds, Outcome};

use super::everything::Everything;
use super::todos::Todos;
use super::{promise_under_pressure, providers, set, under_pressure};

/// Which clients a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Clients {
    /// Those who create and complete todos: what goes wrong on a todo's way shows soonest.
    Todos,
    /// Those of every public route.
    Everything,
}

impl fmt::Display for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Todos => "todos",
            Self::Everything => "everything",
        })
    }
}

/// A change that is made to the manifest.
type Change = Box<dyn Fn(&mut Manifest) + Send + Sync>;

/// The application under pressure, as its seeds need it: with the built-in sandboxes, or with providers outside. Each is
/// compiled when it is needed first.
pub struct Programs {
    root: Box<Path>,
    change: Change,
    sandboxed: OnceLock<Arc<Program>>,
    provided: OnceLock<Arc<Program>>,
}

impl Programs {
    /// The application in the checkout at `root`, and what is changed in it.
    pub fn new(root: &Path, change: impl Fn(&mut Manifest) + Send + Sync + 'static) -> Self {
        Self {
            root: root.into(),
            change: Box::new(change),
            sandboxed: OnceLock::new(),
            provided: OnceLock::new(),
        }
    }

    /// One run, and whether it keeps every promise.
    ///
    /// # Panics
    /// Where the components aren't built.
    pub fn run(&self, clients: Clients, seed: u64, bounds: Bounds, told: bool) -> Outcome {
        match clients {
            Clients::Todos => chaos::run(self.program(false), seed, bounds, &Todos, &promise_under_pressure, told),
            Clients::Everything => {
                // Calm seeds are multiples of eight: some of them have providers too.
                let is_provided = (seed / 8).is_multiple_of(2) ^ seed.is_multiple_of(2);
                let everything = Everything::new(is_provided);
                let promise = |world: &_| everything.promise(world);
                chaos::run(self.program(is_provided), seed, bounds, &everything, &promise, told)
            }
        }
    }

    /// The application with its own sandboxes.
    ///
    /// # Panics
    /// Where the components aren't built.
    pub fn sandboxed(&self) -> &Arc<Program> {
        self.program(false)
    }

    fn program(&self, is_provided: bool) -> &Arc<Program> {
        let program = if is_provided { &self.provided } else { &self.sandboxed };
        program.get_or_init(|| {
            let change = |manifest: &mut Manifest| {
                for name in ["payment_provider_url", "shipping_provider_url"] {
                    if is_provided {
                        let url = format!("http://{}/", providers::ADDRESS);
                        set(manifest, name, &url).expect("the manifest has both variables");
                    }
                }
                (self.change)(manifest);
            };
            under_pressure(&self.root, change).expect("the components are built: `cargo xtask build`")
        })
    }
}
