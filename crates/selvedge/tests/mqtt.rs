//! Events on their way through MQTT: a message each, settled by who hears the topic.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use selvedge::host::{Host, MqttBroker, MqttMessage};
use selvedge::subscription::Subscriptions;
use selvedge::{Error, Event, Function, Outcome, Relay, health, journal, limits};
use support::World;
use support::listening::{HEARD, append, drain, heard, listener};

const TOPIC: &str = r#"
[[subscription]]
name = "todos-topic"
types = ["todos.task.*"]
target = "mqtt:shop/{type}"
consumers = ["all"]
max_attempts = 3
jitter = 0
timeout = "5s"
"#;

type Published = Rc<RefCell<Vec<Vec<MqttMessage>>>>;

/// A world with a relay, and an MQTT broker whose every message this function hears; what was published goes to the list.
fn topic(subscriptions: &str, function: Function) -> (Rc<World>, Rc<Relay>, Published) {
    let world = World::new(&[HEARD]);
    let relay = world.relay(subscriptions);
    let (function, published) = (Rc::new(function), Published::default());
    let messages_seen = published.clone();
    world.mqtt(move |host, broker, messages| {
        assert_eq!(broker.url, "mqtt://tests");
        messages_seen.borrow_mut().push(messages.clone());
        for message in messages {
            hear(&function, &host, message);
        }
        Box::pin(async { Ok(()) })
    });
    (world, relay, published)
}

fn hear(function: &Rc<Function>, host: &Host, message: MqttMessage) {
    let (function, its_host) = (function.clone(), host.clone());
    let heard = async move { function.hear(&its_host, &message.payload).await.expect("a message") };
    host.spawn(Box::pin(heard));
}

fn exceptions(world: &World) -> Vec<String> {
    world.rows("SELECT state, attempt, isolated, reason FROM exceptions ORDER BY position")
}

/// Lets the time go by until the next retry is due, and has the relay make it.
fn drain_later(world: &Rc<World>, relay: &Rc<Relay>) {
    world.set_now_ms(world.now_ms() + 60_000);
    drain(world, relay);
}

fn fails(detail: &'static str) -> impl Fn() -> Result<(), Error> {
    move || {
        Err(Error::Unreachable {
            target: "the MQTT broker".to_owned(),
            detail: detail.to_owned(),
        })
    }
}

#[test]
fn each_event_is_a_message_of_its_types_topic() {
    let (world, relay, published) = topic(TOPIC, listener("all", |_| Outcome::Success));
    append(&world, ["1", "2"], "todos.task.created");
    append(&world, ["3"], "todos.task.completed");
    append(&world, ["4"], "orders.order.placed");
    drain(&world, &relay);
    assert_eq!(heard(&world, "all"), 3);
    let published = published.borrow();
    assert_eq!(published.len(), 1, "all over one connection");
    let topics: Vec<_> = published[0].iter().map(|message| &*message.topic).collect();
    assert_eq!(
        topics,
        [
            "shop/todos/task/created",
            "shop/todos/task/created",
            "shop/todos/task/completed"
        ]
    );
    let event: Event = serde_json::from_slice(&published[0][0].payload).expect("a structured CloudEvent");
    assert_eq!(
        (&*event.id, event.extensions["deliveryattempt"].to_string()),
        ("1", "1".to_owned())
    );
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["4"]);
    assert!(exceptions(&world).is_empty());
}

#[test]
fn a_lost_message_is_published_again_and_no_other() {
    let world = World::new(&[HEARD]);
    let relay = world.relay(TOPIC);
    let function = Rc::new(listener("all", |_| Outcome::Success));
    let published = Published::default();
    let seen = published.clone();
    world.mqtt(move |host, _, messages| {
        let is_first = seen.borrow().is_empty();
        seen.borrow_mut().push(messages.clone());
        // Its session ended in between: what the broker still had for it is gone.
        let lost = usize::from(is_first);
        messages
            .into_iter()
            .skip(lost)
            .for_each(|message| hear(&function, &host, message));
        Box::pin(async { Ok(()) })
    });
    append(&world, ["1", "2", "3"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(heard(&world, "all"), 2);
    let waiting = exceptions(&world);
    assert!(
        waiting.len() == 1 && waiting[0].contains("all didn't say within 5000 ms"),
        "those behind it are settled: {waiting:?}"
    );
    drain_later(&world, &relay);
    assert_eq!(heard(&world, "all"), 3);
    assert!(exceptions(&world).is_empty(), "{:?}", exceptions(&world));
    let again: Vec<_> = published.borrow().iter().skip(1).map(Vec::len).collect();
    assert_eq!(again, [1], "those that were done weren't published again");
}

#[test]
fn what_the_consumer_says_is_what_becomes_of_it() {
    let judge = |event: &Event| match &*event.id {
        "1" => Outcome::drop("no title"),
        "2" => Outcome::retry("the webhook is down"),
        _ => Outcome::Success,
    };
    let (world, relay, _) = topic(TOPIC, listener("all", judge));
    append(&world, ["1", "2", "3"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!(
        exceptions(&world),
        ["dead|1|0|no title", "retry|1|0|the webhook is down"]
    );
    drain_later(&world, &relay);
    drain_later(&world, &relay);
    assert_eq!(
        exceptions(&world),
        ["dead|1|0|no title", "dead|3|0|the webhook is down"]
    );
}

#[test]
fn without_consumers_the_brokers_acknowledgement_settles() {
    let anybody = TOPIC.replace("consumers = [\"all\"]", "consumers = []");
    let (world, relay, published) = topic(
        &anybody,
        Function::new("nobody").effect(|_, _| async { Ok(vec![Outcome::Success]) }),
    );
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let payload = published.borrow()[0][0].payload.clone();
    let event: Event = serde_json::from_slice(&payload).expect("a CloudEvent");
    assert!(!event.extensions.contains_key("deliveryattempt"), "nobody is asked");
    assert!(exceptions(&world).is_empty());
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["1"]);
}

#[test]
fn a_stream_in_order_has_one_event_under_way() {
    let ordered = format!("{TOPIC}order = \"stream\"\n");
    let failed = Rc::new(Cell::new(false));
    let has_failed = failed.clone();
    let judge = move |event: &Event| match (&*event.id, has_failed.replace(true)) {
        ("1", false) => Outcome::retry("not yet"),
        _ => Outcome::Success,
    };
    let (world, relay, published) = topic(&ordered, listener("all", judge));
    for (version, id) in ["1", "2", "3"].into_iter().enumerate() {
        let event = Event::new(id, "/tests", "todos.task.changed");
        journal::append(&world.host(), "s/1", version as i64, vec![event]).expect("new");
    }
    drain(&world, &relay);
    assert!(published.borrow().iter().all(|messages| messages.len() == 1));
    for _ in 0..3 {
        drain_later(&world, &relay);
    }
    assert_eq!(world.rows("SELECT id FROM heard ORDER BY rowid"), ["1", "2", "3"]);
    assert!(exceptions(&world).is_empty());
}

#[test]
fn a_broker_that_is_down_is_every_events_retry() {
    let world = World::new(&[HEARD]);
    let relay = world.relay(TOPIC);
    let is_down = Rc::new(Cell::new(true));
    let (down, function) = (is_down.clone(), Rc::new(listener("all", |_| Outcome::Success)));
    world.mqtt(move |host, _, messages| {
        if down.get() {
            let refused = fails("Connection refused (os error 111)");
            return Box::pin(async move { refused() });
        }
        messages.into_iter().for_each(|message| hear(&function, &host, message));
        Box::pin(async { Ok(()) })
    });
    append(&world, ["1", "2"], "todos.task.created");
    drain(&world, &relay);
    let reason = "mqtt:shop/{type}: the MQTT broker can't be reached: Connection refused (os error 111)";
    let retry = format!("retry|1|0|{reason}");
    assert_eq!(exceptions(&world), [retry.clone(), retry]);
    is_down.set(false);
    drain_later(&world, &relay);
    assert_eq!(heard(&world, "all"), 2);
    assert!(exceptions(&world).is_empty());
}

#[test]
fn a_broker_that_never_answers_is_given_up() {
    let world = World::new(&[HEARD]);
    let relay = world.relay(TOPIC);
    world.mqtt(|_, _, _| Box::pin(std::future::pending()));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let exceptions = exceptions(&world);
    assert!(
        exceptions[0].contains("gave no answer within 5000 ms"),
        "{exceptions:?}"
    );
}

#[test]
fn a_type_that_makes_no_topic_is_a_dead_letter() {
    let all = TOPIC.replace("todos.task.*", "*");
    let (world, relay, published) = topic(&all, listener("all", |_| Outcome::Success));
    append(&world, ["1"], "com.example.a+b");
    append(&world, ["2"], "todos.task.created");
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), published.borrow()[0].len()), (1, 1));
    let exceptions = exceptions(&world);
    assert!(
        exceptions.len() == 1 && exceptions[0].starts_with("dead|1|") && exceptions[0].contains("shop/com/example/a+b"),
        "{exceptions:?}"
    );
}

/// What the relay tells of an event that it couldn't publish, with these variables.
fn reason_with(variables: &[(&str, &str)]) -> String {
    let world = World::new(&[HEARD]);
    let relay = world.relay(TOPIC);
    let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    world.variables.borrow_mut().extend(variables.iter().map(variable));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    exceptions(&world).remove(0)
}

#[test]
fn a_url_that_is_none_or_holds_a_password_says_what_to_write() {
    for variables in [&[][..], &[("mqtt_url", "mqtt://user:secret@broker")]] {
        let reason = reason_with(variables);
        assert!(reason.contains("the variable mqtt_url must be"), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[test]
fn a_wrong_password_names_the_variables() {
    let world = World::new(&[]);
    let variables = [("mqtt_username", "relay"), ("mqtt_password", "secret")];
    let variable = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    world.variables.borrow_mut().extend(variables.map(variable));
    world.mqtt(|_, broker: MqttBroker, _| {
        assert_eq!((&*broker.username, &*broker.password), ("relay", "secret"));
        assert!(!format!("{broker:?}").contains("secret"));
        let refused = fails("the broker doesn't know this user and password (NotAuthorized)");
        Box::pin(async move { refused() })
    });
    let (host, subscriptions) = (world.host(), Subscriptions::parse(TOPIC).expect("valid"));
    let checked = world.block_on(async move { health::brokers(&host, &subscriptions).await });
    let [("mqtt", Err(error))] = &checked[..] else {
        panic!("{checked:?}");
    };
    assert!(
        error
            .to_string()
            .contains("check the variables mqtt_username and mqtt_password"),
        "{error}"
    );
}

#[test]
fn a_topic_is_checked_when_it_is_read() {
    for topic in ["", "a/#", "a/+/b", "$SYS/x", "two words", "a/{typ}", "{type", "a}"] {
        let wrong = TOPIC.replace("shop/{type}", topic);
        let error = Subscriptions::parse(&wrong).expect_err(topic).to_string();
        assert!(error.contains("must have a topic"), "{error}");
    }
    let subscriptions = Subscriptions::parse(TOPIC).expect("valid");
    let batch = subscriptions.get("todos-topic").expect("it is there").batch;
    assert_eq!(batch, limits::MQTT_BATCH_EVENTS, "they are taken one by one");
    let without_consumers = TOPIC.replace("consumers = [\"all\"]\n", "");
    let error = Subscriptions::parse(&without_consumers)
        .expect_err("it may lose messages")
        .to_string();
    assert!(error.contains("name in `consumers`"), "{error}");
}
