//! Two subscriptions, functions that write down what they hear, and a relay between them and the journal.

use std::cell::Cell;
use std::rc::Rc;

use selvedge::http::{Answer, Call, Request};
use selvedge::schema::Tables;
use selvedge::subscription::Subscriptions;
use selvedge::{Error, Event, Function, Host, Outcome, Relay, journal};

use super::World;

pub const HEARD: Tables = Tables {
    owner: "tests",
    migrations: &[&["CREATE TABLE IF NOT EXISTS heard (subscription TEXT, id TEXT, UNIQUE (subscription, id))"]],
};

pub const TWO: &str = r#"
[[subscription]]
name = "all"
types = ["*"]
target = "function:all"
jitter = 0

[[subscription]]
name = "tasks"
types = ["todos.task.*"]
target = "function:tasks"
max_attempts = 3
jitter = 0
timeout = "10s"
"#;

/// A function that writes down what it hears, and says of each event what `judge` says.
pub fn listener(subscription: &'static str, judge: impl Fn(&Event) -> Outcome + 'static) -> Function {
    let judge = Rc::new(judge);
    Function::new(subscription).effect(move |host: Host, events: Vec<Event>| {
        let judge = judge.clone();
        async move {
            let outcome = |event: &Event| {
                let outcome = judge(event);
                if outcome == Outcome::Success {
                    let statement = "INSERT INTO heard (subscription, id) VALUES (?, ?)";
                    host.execute(statement, vec![subscription.into(), (*event.id).into()])?;
                }
                Ok(outcome)
            };
            events.iter().map(outcome).collect()
        }
    })
}

/// A function that writes down what it hears, once it is told to fail no more.
pub fn failing_listener(subscription: &'static str) -> (Function, Rc<Cell<bool>>) {
    let failing = Rc::new(Cell::new(true));
    let fails = failing.clone();
    let judge = move |_: &Event| {
        if fails.get() {
            Outcome::retry("not yet")
        } else {
            Outcome::Success
        }
    };
    (listener(subscription, judge), failing)
}

pub fn world() -> (Rc<World>, Rc<Relay>) {
    let world = World::new(&[HEARD]);
    let relay = world.relay(TWO);
    world.component("all", listener("all", |_| Outcome::Success));
    world.component("tasks", listener("tasks", |_| Outcome::Success));
    (world, relay)
}

pub fn append(world: &Rc<World>, ids: impl IntoIterator<Item = impl ToString>, event_type: &str) {
    for id in ids {
        let event = Event::new(id.to_string(), "/tests", event_type)
            .with_json("data")
            .expect("JSON");
        journal::append(&world.host(), &format!("s/{}", id.to_string()), 0, vec![event]).expect("new");
    }
}

pub fn drain(world: &Rc<World>, relay: &Rc<Relay>) {
    relay.ring(&world.host());
    world.run_until_ms(world.now_ms() + 20_000);
}

pub fn heard(world: &World, subscription: &str) -> usize {
    world
        .rows(&format!("SELECT id FROM heard WHERE subscription = '{subscription}'"))
        .len()
}

pub fn deliveries(world: &World) -> usize {
    world
        .calls
        .borrow()
        .iter()
        .filter(|call| call.url.contains("/_selvedge/deliver/"))
        .count()
}

/// Has a function answer a call by which an event was to be delivered to it.
pub async fn answer(function: &Function, host: &Host, call: &Call) -> Result<Answer, Error> {
    let headers = call
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().expect("a header's value")));
    let path = &call.url[call.url.find("/_selvedge").expect("a delivery")..];
    let request = Request::new(call.method.clone(), path, headers.collect(), call.body.clone());
    let response = function.answer(host, request).await;
    Ok(Answer {
        status: response.status,
        retry_after: None,
        body: response.body,
    })
}

/// The subscriptions of [`TWO`].
pub fn subscriptions() -> Subscriptions {
    Subscriptions::parse(TWO).expect("valid")
}
