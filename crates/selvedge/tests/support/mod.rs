//! A world for the kernel: a database in memory, a store, functions to deliver to, and a clock that moves only when
//! nobody has anything else to do.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod kafka;
pub mod listening;
pub mod node;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::executor::{LocalPool, LocalSpawner};
use futures::task::LocalSpawnExt;
use selvedge::host::{
    Host, LocalFuture, MqttBroker, MqttMessage, Platform, RedisAnswer, RedisCommand, Row, Stream, Value,
};
use selvedge::http::{Answer, Call, Request, Response, StatusCode};
use selvedge::schema::{self, Tables};
use selvedge::subscription::Subscriptions;
use selvedge::{Error, Function, Relay};

pub const START_MS: i64 = 1_767_225_600_000;

/// What a Redis server answers to one command; an error stands for a server that can't be reached.
type Redis = Rc<dyn Fn(Host, &RedisCommand) -> Result<RedisAnswer, Error>>;

/// What a component answers to.
type Component = Rc<dyn Fn(Host, Call) -> LocalFuture<Result<Answer, Error>>>;

/// What an MQTT broker does with messages.
type Mqtt = Rc<dyn Fn(Host, MqttBroker, Vec<MqttMessage>) -> LocalFuture<Result<(), Error>>>;

/// What takes TCP connections.
type Listener = Rc<dyn Fn(Host) -> Box<dyn Stream>>;

pub struct World {
    /// What everything that the kernel does passes: it may be where a node is lost.
    pub node: node::Node,
    database: rusqlite::Connection,
    now_ms: Cell<i64>,
    random: Cell<u64>,
    pub store: RefCell<BTreeMap<String, Vec<u8>>>,
    pub variables: RefCell<HashMap<String, String>>,
    components: RefCell<HashMap<String, Component>>,
    pub calls: RefCell<Vec<Call>>,
    redis: RefCell<Option<Redis>>,
    mqtt: RefCell<Option<Mqtt>>,
    listener: RefCell<Option<Listener>>,
    /// The commands that the Redis server got.
    pub commands: RefCell<Vec<RedisCommand>>,
    pub statements: Cell<usize>,
    /// Texts that make every statement that holds them fail.
    pub broken_statements: RefCell<Vec<&'static str>>,
    /// Whether every use of the key-value store fails.
    pub broken_store: Cell<bool>,
    timers: RefCell<Vec<(i64, oneshot::Sender<()>)>>,
    pool: RefCell<Option<LocalPool>>,
    spawner: LocalSpawner,
}

#[derive(Clone)]
struct Handle(Rc<World>);

impl World {
    /// A world whose database has the kernel's tables and these.
    pub fn new(tables: &[Tables]) -> Rc<Self> {
        let pool = LocalPool::new();
        let world = Rc::new(Self {
            database: rusqlite::Connection::open_in_memory().expect("a database"),
            now_ms: Cell::new(START_MS),
            random: Cell::new(0),
            store: RefCell::default(),
            variables: RefCell::default(),
            components: RefCell::default(),
            calls: RefCell::default(),
            redis: RefCell::default(),
            mqtt: RefCell::default(),
            listener: RefCell::default(),
            node: node::Node::default(),
            commands: RefCell::default(),
            statements: Cell::new(0),
            broken_statements: RefCell::default(),
            broken_store: Cell::default(),
            timers: RefCell::default(),
            spawner: pool.spawner(),
            pool: RefCell::new(Some(pool)),
        });
        schema::ensure(
            &mut |statement, parameters| world.execute(statement, parameters),
            tables,
        )
        .expect("the schema");
        world
    }

    pub fn host(self: &Rc<Self>) -> Host {
        Host::new(Handle(self.clone()))
    }

    /// Puts a function where the component of this name is called.
    pub fn component(&self, name: &str, function: Function) {
        let function = Rc::new(function);
        self.calls_of(name, move |host, call| {
            let function = function.clone();
            Box::pin(async move {
                let Response { status, body, .. } = function.answer(&host, request(&call)).await;
                Ok(Answer {
                    status,
                    retry_after: None,
                    body,
                })
            })
        });
    }

    /// Answers all calls of a component.
    pub fn calls_of(&self, name: &str, answer: impl Fn(Host, Call) -> LocalFuture<Result<Answer, Error>> + 'static) {
        self.components.borrow_mut().insert(name.to_owned(), Rc::new(answer));
    }

    /// Puts a Redis server at `redis://tests`.
    pub fn redis(&self, answer: impl Fn(Host, &RedisCommand) -> Result<RedisAnswer, Error> + 'static) {
        *self.redis.borrow_mut() = Some(Rc::new(answer));
        let variable = ("redis_url".to_owned(), "redis://tests".to_owned());
        self.variables.borrow_mut().extend([variable]);
    }

    /// Puts a relay for these subscriptions where the bell is heard.
    pub fn relay(self: &Rc<Self>, subscriptions: &str) -> Rc<Relay> {
        let relay = Relay::new(Subscriptions::parse(subscriptions).expect("valid"));
        let (rung, world) = (relay.clone(), self.clone());
        self.calls_of(selvedge::bell::RELAY, move |_, _| {
            rung.ring(&world.host());
            Box::pin(async {
                Ok(Answer {
                    status: StatusCode::ACCEPTED,
                    retry_after: None,
                    body: Vec::new(),
                })
            })
        });
        relay
    }

    /// Puts an MQTT broker at `mqtt://tests`.
    pub fn mqtt(&self, take: impl Fn(Host, MqttBroker, Vec<MqttMessage>) -> LocalFuture<Result<(), Error>> + 'static) {
        *self.mqtt.borrow_mut() = Some(Rc::new(take));
        let variable = ("mqtt_url".to_owned(), "mqtt://tests".to_owned());
        self.variables.borrow_mut().extend([variable]);
    }

    /// Has TCP connections taken, whatever their address is.
    pub fn listen(&self, connect: impl Fn(Host) -> Box<dyn Stream> + 'static) {
        *self.listener.borrow_mut() = Some(Rc::new(connect));
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms.get()
    }

    pub fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.set(now_ms);
    }

    /// Runs everything that was spawned until it ends, moving the clock from timer to timer.
    pub fn run(&self) {
        self.run_until_ms(i64::MAX);
    }

    /// Runs everything that was spawned, up to a time.
    pub fn run_until_ms(&self, end_ms: i64) {
        let mut pool = self.pool.borrow_mut().take().expect("one runs at a time");
        loop {
            pool.run_until_stalled();
            let mut timers = self.timers.borrow_mut();
            timers.retain(|(_, timer)| !timer.is_canceled());
            timers.sort_by_key(|(due_ms, _)| *due_ms);
            if timers.first().is_none_or(|(due_ms, _)| *due_ms > end_ms) {
                break;
            }
            let (due_ms, timer) = timers.remove(0);
            self.now_ms.set(self.now_ms.get().max(due_ms));
            timer.send(()).expect("someone waits for it");
        }
        *self.pool.borrow_mut() = Some(pool);
    }

    /// Runs a future to its end, together with everything that was spawned.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let (sender, mut receiver) = oneshot::channel();
        let task = async move { _ = sender.send(future.await) };
        self.spawner.spawn_local(task).expect("the pool lives");
        self.run();
        receiver.try_recv().expect("it wasn't dropped").expect("it ended")
    }

    /// The rows of a SELECT, as text.
    pub fn rows(&self, select: &str) -> Vec<String> {
        let mut statement = self.database.prepare(select).expect(select);
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>| {
            let value = |column| match row.get_ref(column)? {
                rusqlite::types::ValueRef::Null => Ok("NULL".to_owned()),
                rusqlite::types::ValueRef::Integer(number) => Ok(number.to_string()),
                rusqlite::types::ValueRef::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
                other => panic!("{other:?}"),
            };
            Ok((0..columns).map(value).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        };
        statement
            .query_map([], text)
            .expect(select)
            .collect::<Result<_, _>>()
            .expect(select)
    }

    /// Runs a statement as the kernel does.
    pub fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.statements.set(self.statements.get() + 1);
        if self
            .broken_statements
            .borrow()
            .iter()
            .any(|broken| statement.contains(broken))
        {
            return Err(Error::Database {
                detail: "broken for the test".to_owned(),
            });
        }
        self.query(statement, parameters)
            .map_err(|error| Error::from_sqlite(error.to_string()))
    }

    fn store(&self) -> Result<std::cell::RefMut<'_, BTreeMap<String, Vec<u8>>>, Error> {
        if self.broken_store.get() {
            let detail = "broken for the test".to_owned();
            return Err(Error::KeyValue { detail });
        }
        Ok(self.store.borrow_mut())
    }

    fn query(&self, statement: &str, parameters: Vec<Value>) -> rusqlite::Result<Vec<Row>> {
        use rusqlite::types::Value as Stored;
        let parameters = parameters.into_iter().map(|value| match value {
            Value::Null => Stored::Null,
            Value::Integer(number) => Stored::Integer(number),
            Value::Real(number) => Stored::Real(number),
            Value::Text(text) => Stored::Text(text),
            Value::Blob(bytes) => Stored::Blob(bytes),
        });
        let mut statement = self.database.prepare_cached(statement)?;
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let value = |column| {
                Ok(match row.get::<_, Stored>(column)? {
                    Stored::Null => Value::Null,
                    Stored::Integer(number) => Value::Integer(number),
                    Stored::Real(number) => Value::Real(number),
                    Stored::Text(text) => Value::Text(text),
                    Stored::Blob(bytes) => Value::Blob(bytes),
                })
            };
            Ok(Row::new((0..columns).map(value).collect::<rusqlite::Result<_>>()?))
        };
        statement
            .query_map(rusqlite::params_from_iter(parameters), row)?
            .collect()
    }
}

fn request(call: &Call) -> Request {
    let path_start = call.url.find(".internal").expect("a chained call") + ".internal".len();
    let headers = call
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().expect("a header's value")));
    Request::new(
        call.method.clone(),
        &call.url[path_start..],
        headers.collect(),
        call.body.clone(),
    )
}

impl Platform for Handle {
    fn now_ms(&self) -> i64 {
        self.0.now_ms.get()
    }

    fn random(&self) -> [u8; 16] {
        self.0.random.set(self.0.random.get() + 1);
        let mixed = u128::from(self.0.random.get()).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        mixed.to_be_bytes()
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.0.node.statement(|| self.0.execute(statement, parameters))
    }

    fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let store = self.0.store()?;
        Ok(keys
            .into_iter()
            .filter_map(|key| store.get(&key).map(|value| (key.clone(), value.clone())))
            .collect())
    }

    fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.0.store()?.extend(pairs);
        Ok(())
    }

    fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        let mut store = self.0.store()?;
        keys.iter().for_each(|key| _ = store.remove(key));
        Ok(())
    }

    fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let mut store = self.0.store()?;
        let stored = store.entry(key.to_owned()).or_insert_with(|| b"0".to_vec());
        let number: i64 = String::from_utf8_lossy(stored).parse().expect("a counter");
        *stored = (number + delta).to_string().into_bytes();
        Ok(number + delta)
    }

    fn send(&self, call: Call) -> LocalFuture<Result<Answer, Error>> {
        let target = call.target();
        let name = target
            .trim_start_matches("http://")
            .trim_end_matches(".spin.internal")
            .to_owned();
        self.0.calls.borrow_mut().push(call.clone());
        let component = self.0.components.borrow().get(&name).cloned();
        let answer: LocalFuture<Result<Answer, Error>> = match component {
            Some(component) => component(self.0.host(), call),
            None => Box::pin(async {
                Err(Error::Unreachable {
                    target,
                    detail: "there is no such component".to_owned(),
                })
            }),
        };
        self.0.node.pass(answer)
    }

    fn redis(&self, url: &str, commands: Vec<RedisCommand>) -> LocalFuture<Result<Vec<RedisAnswer>, Error>> {
        assert_eq!(url, "redis://tests");
        self.0.commands.borrow_mut().extend(commands.clone());
        let redis = self.0.redis.borrow().clone();
        let host = self.0.host();
        Box::pin(async move {
            match redis {
                Some(answer) => commands.iter().map(|command| answer(host.clone(), command)).collect(),
                None => std::future::pending().await,
            }
        })
    }

    fn mqtt(&self, broker: &MqttBroker, messages: Vec<MqttMessage>) -> LocalFuture<Result<(), Error>> {
        match self.0.mqtt.borrow().clone() {
            Some(take) => take(self.0.host(), broker.clone(), messages),
            None => Box::pin(std::future::pending()),
        }
    }

    fn connect(&self, _address: SocketAddr) -> LocalFuture<Result<Box<dyn Stream>, String>> {
        let listener = self.0.listener.borrow().clone();
        let host = self.0.host();
        Box::pin(async move {
            let listener = listener.ok_or_else(|| "connection refused".to_owned())?;
            Ok(listener(host))
        })
    }

    fn wait(&self, duration_ms: u64) -> LocalFuture<()> {
        let (sender, receiver) = oneshot::channel();
        let due_ms = self.0.now_ms.get().saturating_add_unsigned(duration_ms);
        self.0.timers.borrow_mut().push((due_ms, sender));
        Box::pin(async { _ = receiver.await })
    }

    fn spawn(&self, task: LocalFuture<()>) {
        self.0.spawner.spawn_local(task).expect("the pool lives");
    }

    fn variable(&self, name: &str) -> LocalFuture<Result<Option<String>, Error>> {
        let value = self.0.variables.borrow().get(name).cloned();
        Box::pin(async { Ok(value) })
    }
}
