//! A world: nodes that run the application on shared stores, under one clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use selvedge_engine::config::Variables;
use selvedge_engine::ports::Ports;
use selvedge_engine::{Application, Program};
use serde_json::Value;
use tokio::time::Instant;

use super::clock::SimulatedClock;
use super::gate::{Faults, NodeGate};
use super::key_value::{Contents, MemoryKeyValue};
use super::network::{Peer, SimulatedNetwork};
use super::node::{APP_ADDRESS, Answer, Node};
use super::output::KeptOutput;
use super::random::SeededRandom;
use super::sql::MemorySql;

/// Runs a test in a world of its own.
#[derive(Debug)]
pub struct Simulation;

impl Simulation {
    /// Runs `test` in a new world with one node, on one thread, with time paused: whenever nothing else can happen, the
    /// clock jumps to what is due next.
    ///
    /// # Panics
    /// Where the machine gives no runtime, or the application can't be started.
    pub fn run<T>(program: &Arc<Program>, seed: u64, test: impl AsyncFnOnce(World) -> T) -> T {
        Self::run_from(program, seed, None, test)
    }

    /// The same in a world that begins with the stores of another, at the time at which they were kept. Give it another seed
    /// than that one had: ids would come again.
    ///
    /// # Panics
    /// See [`Simulation::run`].
    pub fn run_from<T>(
        program: &Arc<Program>,
        seed: u64,
        begin: Option<&Snapshot>,
        test: impl AsyncFnOnce(World) -> T,
    ) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let world = World::new(program.clone(), seed, begin).expect("the application starts");
            if let Some(begin) = begin {
                tokio::time::advance(begin.age).await;
            }
            test(world).await
        })
    }
}

/// The stores, the clock, the network, and the nodes.
pub struct World {
    /// The clock of every node.
    pub clock: Arc<SimulatedClock>,
    /// The one source of chance.
    pub random: Arc<SeededRandom>,
    /// The SQLite database that the nodes share.
    pub sql: MemorySql,
    /// The key-value store that the nodes share.
    pub key_value: MemoryKeyValue,
    /// Everything outside, the message brokers among it.
    pub network: Arc<SimulatedNetwork>,
    /// What components print.
    pub output: Arc<KeptOutput>,
    program: Arc<Program>,
    nodes: Arc<Mutex<Vec<Arc<Node>>>>,
    variables: BTreeMap<String, String>,
}

impl World {
    fn new(program: Arc<Program>, seed: u64, begin: Option<&Snapshot>) -> anyhow::Result<Self> {
        let variables = BTreeMap::from([("app_url".to_owned(), format!("http://{APP_ADDRESS}"))]);
        let nodes: Arc<Mutex<Vec<Arc<Node>>>> = Arc::default();
        let clock = Arc::new(SimulatedClock::new());
        let network = Arc::new(SimulatedNetwork::new(clock.clone()));
        let balancer = Balancer {
            nodes: Arc::downgrade(&nodes),
            turn: AtomicUsize::new(0),
        };
        network.play(APP_ADDRESS, balancer);
        let world = Self {
            clock,
            random: Arc::new(SeededRandom::new(seed)),
            sql: begin.map_or_else(MemorySql::new, |begin| begin.sql.copy())?,
            key_value: begin.map_or_else(MemoryKeyValue::default, |begin| {
                MemoryKeyValue::with(begin.contents.clone())
            }),
            network,
            output: Arc::default(),
            program,
            nodes,
            variables,
        };
        world.add_node()?;
        Ok(world)
    }

    /// Keeps what the stores hold, for other worlds to begin with.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Ok(Snapshot {
            sql: self.sql.copy()?,
            contents: self.key_value.contents(),
            age: self.clock.age(),
        })
    }

    /// Sets an application variable for the nodes that are added from now on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Starts another node on the same stores.
    ///
    /// # Errors
    /// What the engine says of the application.
    pub fn add_node(&self) -> anyhow::Result<Arc<Node>> {
        let faults = Arc::new(Faults::new(self.clock.clone()));
        let ports = Ports {
            clock: self.clock.clone(),
            random: self.random.clone(),
            key_value: Arc::new(self.key_value.clone()),
            sql: Arc::new(self.sql.clone()),
            network: self.network.clone(),
            output: self.output.clone(),
            gate: Some(Arc::new(NodeGate::new(faults.clone(), self.network.clone()))),
        };
        let environment = |_: &str| None;
        let variables = Variables::resolve(self.program.manifest(), &[], &self.variables, &environment)?;
        let application = Application::start(self.program.clone(), ports, &variables)?;
        let node = Arc::new(Node { application, faults });
        tokio::spawn(hear(node.clone()));
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(node.clone());
        Ok(node)
    }

    /// Loses every node and starts a new one on the same stores: a restart after a crash.
    ///
    /// # Errors
    /// What the engine says of the application.
    pub fn restart(&mut self) -> anyhow::Result<Arc<Node>> {
        for node in self.nodes() {
            node.faults.lose();
        }
        self.add_node()
    }

    /// Starts a new node where all are lost.
    ///
    /// # Panics
    /// Where the application can't be started; it could before.
    pub fn revive(&self) {
        if live(&self.nodes).is_none() {
            self.add_node().expect("the application starts again");
        }
    }

    /// The first node that isn't lost.
    ///
    /// # Panics
    /// Where all nodes are lost.
    pub fn node(&self) -> Arc<Node> {
        live(&self.nodes).expect("a node is alive")
    }

    /// Every node that ever was, in the order in which they were added.
    pub fn all_nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every node that isn't lost.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        all_live(&self.nodes)
    }

    /// Sends a request from outside to the first living node.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.node().request(method, path, headers, body).await
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, json: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request(Method::POST, path, &headers, json.to_string()).await
    }

    /// Fires the cron trigger every second, on every living node as on Spin, until the returned handle is dropped.
    pub fn start_cron(&self) -> Cron {
        self.start_cron_that_misses(|| false)
    }

    /// The same for a cron that misses the ticks for which `misses` says so.
    pub fn start_cron_that_misses(&self, mut misses: impl FnMut() -> bool + Send + 'static) -> Cron {
        let nodes = self.nodes.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if misses() {
                    continue;
                }
                for node in all_live(&nodes) {
                    tokio::spawn(async move { node.fire_cron("outbox-cron").await });
                }
            }
        });
        Cron(task)
    }

    /// Waits until `condition` holds, at most `deadline` of virtual time. It is asked every millisecond at first, and the
    /// more rarely the longer it takes.
    ///
    /// # Errors
    /// Says what didn't come true, and what components printed.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut condition: impl AsyncFnMut() -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let waiting = async {
            while !condition().await {
                tokio::time::sleep((begun.elapsed() / 64).max(Duration::from_millis(1))).await;
            }
        };
        let story = || {
            format!(
                "within {deadline:?} it didn't come true that {what}; printed: {:#?}",
                self.output.lines()
            )
        };
        tokio::time::timeout(deadline, waiting).await.with_context(story)
    }
}

/// What a world's stores held at a time. Its message brokers and peers aren't part of it.
pub struct Snapshot {
    sql: MemorySql,
    contents: Contents,
    age: Duration,
}

/// Runs a node's message triggers for as long as it lives: the connections of a process that is gone are closed.
async fn hear(node: Arc<Node>) {
    tokio::select! {
        biased;
        () = node.faults.until_lost() => {}
        () = node.application.hear_messages() => {}
    }
}

/// Ends the cron trigger when it is dropped.
#[derive(Debug)]
pub struct Cron(tokio::task::JoinHandle<()>);

impl Drop for Cron {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn live(nodes: &Mutex<Vec<Arc<Node>>>) -> Option<Arc<Node>> {
    all_live(nodes).into_iter().next()
}

fn all_live(nodes: &Mutex<Vec<Arc<Node>>>) -> Vec<Arc<Node>> {
    let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
    nodes.iter().filter(|node| !node.faults.is_lost()).cloned().collect()
}

/// The application as the network sees it: the living nodes take turns.
struct Balancer {
    nodes: Weak<Mutex<Vec<Arc<Node>>>>,
    turn: AtomicUsize,
}

#[async_trait]
impl Peer for Balancer {
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let nodes = all_live(&*self.nodes.upgrade()?);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let node = nodes.get(turn % nodes.len().max(1))?;
        let Answer { status, headers, body } = node.handle(request).await;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Some(response)
    }
}
