//! Events on their way through Redis: settled by who hears a channel, or by the stream that keeps them.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use selvedge::dead_letter::{self, Filter, Selection};
use selvedge::host::{RedisAnswer, RedisCommand};
use selvedge::{Error, Event, Function, Host, Outcome, Relay, limits};
use serde_json::Value as Json;
use support::World;
use support::listening::{HEARD, append, drain, heard, listener};

const CHANNEL: &str = r#"
[[subscription]]
name = "todos-channel"
types = ["todos.task.*"]
target = "redis:todos"
consumers = ["all"]
max_attempts = 3
jitter = 0
timeout = "5s"
"#;

const STREAM: &str = r#"
[[subscription]]
name = "todos-stream"
types = ["todos.task.*"]
target = "redis-stream:todos"
max_attempts = 3
jitter = 0
timeout = "5s"
"#;

/// A world with a relay, and a Redis server whose channel these functions listen to.
fn channel(subscriptions: &str, listeners: Vec<Function>) -> (Rc<World>, Rc<Relay>) {
    let world = World::new(&[HEARD]);
    let relay = world.relay(subscriptions);
    let listeners: Rc<[Rc<Function>]> = listeners.into_iter().map(Rc::new).collect();
    world.redis(move |host, command| {
        for listener in listeners.iter() {
            hear(listener, &host, command);
        }
        Ok(RedisAnswer::Number(listeners.len() as i64))
    });
    (world, relay)
}

/// Has a function hear what a command publishes.
fn hear(listener: &Rc<Function>, host: &Host, command: &RedisCommand) {
    let (listener, its_host, payload) = (listener.clone(), host.clone(), command.arguments[1].clone());
    let heard = async move { listener.hear(&its_host, &payload).await.expect("a message") };
    host.spawn(Box::pin(heard));
}

fn taking_all(name: &'static str) -> Function {
    listener(name, |_| Outcome::Success)
}

/// The events of each message that was published, as JSON.
fn published(world: &World) -> Vec<Vec<Json>> {
    let commands = world.commands.borrow();
    let events = |command: &RedisCommand| {
        assert_eq!((command.name, &*command.arguments[0]), ("PUBLISH", &b"todos"[..]));
        match serde_json::from_slice(&command.arguments[1]).expect("JSON") {
            Json::Array(events) => events,
            event => vec![event],
        }
    };
    commands.iter().map(events).collect()
}

fn attempts(world: &World) -> Vec<Vec<i64>> {
    let attempt = |event: &Json| event["deliveryattempt"].as_i64().expect("a number");
    let attempts = |events: &Vec<Json>| events.iter().map(attempt).collect();
    published(world).iter().map(attempts).collect()
}

/// What the key-value store has besides done markers.
fn words(world: &World) -> Vec<String> {
    let store = world.store.borrow();
    store.keys().filter(|key| !key.starts_with("done/")).cloned().collect()
}

fn exceptions(world: &World) -> Vec<String> {
    world.rows("SELECT state, attempt, isolated, reason FROM exceptions ORDER BY position")
}

/// Lets the time go by until the next retry is due, and has the relay make it.
fn drain_later(world: &Rc<World>, relay: &Rc<Relay>) {
    world.set_now_ms(world.now_ms() + 60_000);
    drain(world, relay);
}

#[test]
fn a_message_is_a_batch_that_its_consumer_settles() {
    let (world, relay) = channel(CHANNEL, vec![taking_all("all")]);
    append(&world, ["1", "2", "3"], "todos.task.created");
    append(&world, ["4"], "orders.order.placed");
    drain(&world, &relay);
    assert_eq!(heard(&world, "all"), 3);
    let messages = published(&world);
    assert_eq!((messages.len(), messages[0].len()), (1, 3));
    let event = &messages[0][0];
    assert_eq!(
        (
            &event["id"],
            &event["specversion"],
            &event["data"],
            &event["deliveryattempt"]
        ),
        (&"1".into(), &"1.0".into(), &"data".into(), &1.into())
    );
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["4"]);
    assert!(exceptions(&world).is_empty() && words(&world).is_empty());
}

#[test]
fn several_replicas_have_one_effect() {
    let counted = Rc::new(Cell::new(0));
    let replicas = (0..3).map(|_| {
        let counted = counted.clone();
        listener("all", move |_| {
            counted.set(counted.get() + 1);
            Outcome::Success
        })
    });
    let (world, relay) = channel(CHANNEL, replicas.collect());
    append(&world, 1..=10, "todos.task.created");
    drain(&world, &relay);
    assert_eq!((counted.get(), heard(&world, "all")), (10, 10));
}

#[test]
fn while_nobody_listens_an_event_waits() {
    let (world, relay) = channel(CHANNEL, Vec::new());
    append(&world, ["1", "2"], "todos.task.created");
    drain(&world, &relay);
    let rows = exceptions(&world);
    assert!(
        rows.len() == 2
            && rows
                .iter()
                .all(|row| row.starts_with("retry|1|0|redis:todos: nobody listens"))
    );

    let listening = Rc::new(taking_all("all"));
    world.redis(move |host, command| {
        hear(&listening, &host, command);
        Ok(RedisAnswer::Number(1))
    });
    drain_later(&world, &relay);
    assert_eq!(heard(&world, "all"), 2);
    assert_eq!(attempts(&world), [[1, 1], [2, 2]], "they go together");
    assert!(exceptions(&world).is_empty() && words(&world).is_empty());
}

#[test]
fn a_lost_message_is_published_again_event_by_event() {
    let (world, relay) = channel(CHANNEL, vec![taking_all("all")]);
    world.redis(|_, _| Ok(RedisAnswer::Number(1)));
    append(&world, ["1", "2"], "todos.task.created");
    let begun_ms = world.now_ms();
    drain(&world, &relay);
    let rows = exceptions(&world);
    assert!(
        rows.iter()
            .all(|row| row.starts_with("retry|1|1|redis:todos: all didn't say within 5000 ms")),
        "{rows:?}"
    );
    let failed = world.rows("SELECT DISTINCT last_at_ms FROM exceptions");
    assert_eq!(failed, [(begun_ms + 5_000).to_string()], "the timeout bounds it");
    drain_later(&world, &relay);
    assert_eq!(
        attempts(&world),
        [vec![1, 1], vec![2], vec![2]],
        "one that kills its consumer takes no other with it"
    );
}

#[test]
fn a_consumer_that_is_late_is_not_asked_again() {
    let world = World::new(&[HEARD]);
    let relay = world.relay(CHANNEL);
    let slow = Rc::new(taking_all("all"));
    world.redis(move |host, command| {
        let (slow, payload) = (slow.clone(), command.arguments[1].clone());
        host.clone().spawn(Box::pin(async move {
            host.wait(5_500).await;
            slow.hear(&host, &payload).await.expect("a message");
        }));
        Ok(RedisAnswer::Number(1))
    });
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    drain_later(&world, &relay);
    assert_eq!((heard(&world, "all"), attempts(&world)), (1, vec![vec![1]]));
    assert!(exceptions(&world).is_empty());
}

/// Found by the chaos: a consumer that was slow at every attempt left a word for each, for ever.
#[test]
fn word_that_comes_too_late_does_not_pile_up_and_is_collected() {
    let world = World::new(&[HEARD]);
    let relay = world.relay(CHANNEL);
    let refusing = Rc::new(Cell::new(true));
    let refuses = refusing.clone();
    let judge = move |_: &Event| match refuses.get() {
        true => Outcome::retry("its webhook answers after 10 s"),
        false => Outcome::Success,
    };
    let slow = Rc::new(listener("all", judge));
    world.redis(move |host, command| {
        let (slow, payload) = (slow.clone(), command.arguments[1].clone());
        host.clone().spawn(Box::pin(async move {
            host.wait(10_000).await;
            slow.hear(&host, &payload).await.expect("a message");
        }));
        Ok(RedisAnswer::Number(1))
    });
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(words(&world), ["outcome/all//tests/1"]);
    drain_later(&world, &relay);
    assert_eq!(
        attempts(&world),
        [[1], [2]],
        "what was said of the first attempt is no answer to the second"
    );
    assert_eq!(words(&world), ["outcome/all//tests/1"]);
    refusing.set(false);
    drain_later(&world, &relay);
    drain_later(&world, &relay);
    assert!(
        heard(&world, "all") == 1 && words(&world).is_empty(),
        "{:?}",
        words(&world)
    );
}

#[test]
fn retry_and_drop_are_heard_at_once() {
    let judge = |event: &Event| match &*event.id {
        "1" => Outcome::retry("not yet"),
        "2" => Outcome::drop("never"),
        _ => Outcome::Success,
    };
    let (world, relay) = channel(CHANNEL, vec![listener("all", judge)]);
    append(&world, 1..=3, "todos.task.created");
    let begun_ms = world.now_ms();
    drain(&world, &relay);
    assert_eq!(exceptions(&world), ["retry|1|0|not yet", "dead|1|0|never"]);
    let failed_ms: i64 = world.rows("SELECT MAX(last_at_ms) FROM exceptions")[0]
        .parse()
        .expect("a time");
    assert!(failed_ms < begun_ms + 100, "the timeout isn't waited for");
    assert!(words(&world).is_empty(), "{:?}", words(&world));
    for _ in 0..2 {
        drain_later(&world, &relay);
    }
    assert_eq!(exceptions(&world), ["dead|3|0|not yet", "dead|1|0|never"]);
}

#[test]
fn a_redriven_event_goes_on_with_its_numbers() {
    let refusing = Rc::new(Cell::new(true));
    let refuses = refusing.clone();
    let judge = move |_: &Event| match refuses.get() {
        true => Outcome::drop("not now"),
        false => Outcome::Success,
    };
    let (world, relay) = channel(CHANNEL, vec![listener("all", judge)]);
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    refusing.set(false);
    let all = Selection::Matching(Filter::default(), None);
    dead_letter::redrive(&world.host(), &all, 100, world.now_ms()).expect("writable");
    drain_later(&world, &relay);
    assert_eq!(
        attempts(&world),
        [[1], [2]],
        "a number that was claimed isn't used again"
    );
    assert!(heard(&world, "all") == 1 && exceptions(&world).is_empty());
}

#[test]
fn every_consumer_must_be_done() {
    let both = CHANNEL.replace("[\"all\"]", "[\"all\", \"tasks\"]");
    let ready = Rc::new(Cell::new(false));
    let is_ready = ready.clone();
    let judge = move |_: &Event| match is_ready.get() {
        true => Outcome::Success,
        false => Outcome::retry("tasks isn't ready"),
    };
    let (world, relay) = channel(&both, vec![taking_all("all"), listener("tasks", judge)]);
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(exceptions(&world), ["retry|1|0|tasks isn't ready"]);
    ready.set(true);
    drain_later(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (1, 1));
    assert!(exceptions(&world).is_empty());
}

#[test]
fn without_consumers_every_event_is_a_message_and_the_server_settles_it() {
    let open = CHANNEL.replace("[\"all\"]", "[]");
    let (world, relay) = channel(&open, vec![taking_all("all")]);
    append(&world, 1..=3, "todos.task.created");
    drain(&world, &relay);
    let messages = published(&world);
    assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(messages[0][0].get("deliveryattempt"), None, "nobody is asked for word");
    assert!(heard(&world, "all") == 3 && exceptions(&world).is_empty());
}

#[test]
fn a_stream_of_events_stops_at_one_that_fails() {
    let ordered = format!("{CHANNEL}order = \"stream\"\n");
    let failing = Rc::new(Cell::new(true));
    let heard_ids = Rc::new(RefCell::new(Vec::new()));
    let (fails, ids) = (failing.clone(), heard_ids.clone());
    let judge = move |event: &Event| {
        if fails.get() && event.id == "a2" {
            return Outcome::retry("not yet");
        }
        ids.borrow_mut().push(event.id.clone());
        Outcome::Success
    };
    let (world, relay) = channel(&ordered, vec![listener("all", judge)]);
    for (stream, id, version) in [("a", "a1", 0), ("a", "a2", 1), ("b", "b1", 0), ("a", "a3", 2)] {
        let event = Event::new(id, "/tests", "todos.task.created");
        selvedge::journal::append(&world.host(), stream, version, vec![event]).expect("new");
    }
    drain(&world, &relay);
    let streams: Vec<_> = published(&world)[0]
        .iter()
        .map(|event| event["deliverystream"].clone())
        .collect();
    assert_eq!(streams, [0, 0, 1, 0]);
    failing.set(false);
    drain_later(&world, &relay);
    drain_later(&world, &relay);
    assert_eq!(*heard_ids.borrow(), ["a1", "b1", "a2", "a3"]);
    assert!(exceptions(&world).is_empty());
}

#[test]
fn an_attribute_of_the_relay_that_an_event_brings_along_is_not_believed() {
    let (world, relay) = channel(CHANNEL, vec![taking_all("all")]);
    let mut event = Event::new("1", "/tests", "todos.task.created");
    event.extensions.insert("deliveryattempt".to_owned(), 7.into());
    selvedge::journal::append(&world.host(), "s", 0, vec![event]).expect("new");
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), attempts(&world)), (1, vec![vec![1]]));
}

#[test]
fn a_stream_keeps_what_it_is_given() {
    let world = World::new(&[]);
    let relay = world.relay(STREAM);
    world.redis(|_, _| Ok(RedisAnswer::Done));
    append(&world, ["1", "2"], "todos.task.created");
    drain(&world, &relay);
    let commands = world.commands.borrow();
    assert_eq!(commands.len(), 2);
    let texts: Vec<_> = commands[0]
        .arguments
        .iter()
        .map(|argument| str::from_utf8(argument).expect("text"))
        .collect();
    let entries = limits::REDIS_STREAM_ENTRIES.to_string();
    assert_eq!(texts[..6], ["todos", "MAXLEN", "~", &*entries, "*", "event"]);
    let event: Json = serde_json::from_str(texts[6]).expect("JSON");
    assert_eq!((&event["id"], event.get("deliveryattempt")), (&"1".into(), None));
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["2"]);
}

#[test]
fn what_the_server_refuses_is_tried_again_with_its_reason() {
    let world = World::new(&[]);
    let relay = world.relay(STREAM);
    let refusal = "WRONGTYPE Operation against a key holding the wrong kind of value";
    world.redis(move |_, _| Ok(RedisAnswer::Refused(refusal.to_owned())));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(exceptions(&world), [format!("retry|1|0|redis-stream:todos: {refusal}")]);
}

#[test]
fn a_server_that_is_not_there_or_never_answers_is_a_failed_attempt_of_all() {
    for subscription in [CHANNEL, STREAM] {
        let world = World::new(&[]);
        let relay = world.relay(subscription);
        world.redis(|_, _| {
            Err(Error::Unreachable {
                target: "the Redis server".to_owned(),
                detail: "connection refused".to_owned(),
            })
        });
        append(&world, ["1", "2"], "todos.task.created");
        drain(&world, &relay);
        let rows = exceptions(&world);
        assert!(
            rows.len() == 2
                && rows
                    .iter()
                    .all(|row| row.starts_with("retry|1|0|") && row.ends_with("connection refused")),
            "{rows:?}"
        );
    }
    for subscription in [CHANNEL, STREAM] {
        let world = World::new(&[]);
        let relay = world.relay(subscription);
        world
            .variables
            .borrow_mut()
            .insert("redis_url".to_owned(), "redis://tests".to_owned());
        append(&world, ["1", "2"], "todos.task.created");
        drain(&world, &relay);
        let rows = exceptions(&world);
        assert!(
            rows.len() == 2
                && rows
                    .iter()
                    .all(|row| row.starts_with("retry|1|0|") && row.contains("no answer within 5000 ms")),
            "{rows:?}"
        );
    }
}

#[test]
fn a_relay_that_was_not_told_the_server_says_so() {
    let world = World::new(&[]);
    let relay = world.relay(STREAM);
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    assert!(
        exceptions(&world)[0].contains("redis_url is empty"),
        "{:?}",
        exceptions(&world)
    );
    world.variables.borrow_mut().extend(
        [("redis_url", "redis://tests"), ("redis_stream_entries", "many")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    drain_later(&world, &relay);
    assert!(
        exceptions(&world)[0].contains("redis_stream_entries must be a number"),
        "{:?}",
        exceptions(&world)
    );
}

#[test]
fn markers_and_words_of_consumers_are_collected() {
    let (world, relay) = channel(CHANNEL, vec![taking_all("all")]);
    append(&world, 1..=3, "todos.task.created");
    drain(&world, &relay);
    assert_eq!(world.store.borrow().len(), 3);
    // Consumer and relay died with the first attempt.
    world
        .store
        .borrow_mut()
        .insert("claim/all//tests/2/1".to_owned(), b"1".to_vec());
    world
        .store
        .borrow_mut()
        .insert("outcome/all//tests/3".to_owned(), b"1 RETRY x".to_vec());
    world.set_now_ms(world.now_ms() + limits::MARKER_RETENTION_MS + 1);
    drain(&world, &relay);
    assert!(world.store.borrow().is_empty(), "{:?}", world.store.borrow());
}
