//! A message takes effect once, whoever else gets it, and word is left of what became of it.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use selvedge::message::{self, DELIVERY_ATTEMPT, DELIVERY_STREAM};
use selvedge::{Error, Event, Function, Outcome, inbox};
use selvedge_events::json;
use support::World;

/// What effects were called with: the ids of each batch.
type Batches = Rc<RefCell<Vec<Vec<String>>>>;

/// A function that writes down what it hears, and judges events by their ids.
fn listener(batches: &Batches) -> Function {
    let batches = batches.clone();
    let judge = |event: &Event| match &*event.id {
        "bad" => Outcome::drop("it has no title"),
        "slow" => Outcome::retry("the webhook is down"),
        _ => Outcome::Success,
    };
    Function::new("listener")
        .subscribes(&["todos.*.*"])
        .effect(move |_, events| {
            batches
                .borrow_mut()
                .push(events.iter().map(|event| event.id.clone()).collect());
            let broken = events.iter().any(|event| event.id == "broken");
            let attributes: usize = events.iter().map(|event| event.extensions.len()).sum();
            assert_eq!(attributes, 0, "an effect sees the event as it was appended");
            async move {
                match broken {
                    true => Err(Error::DatabaseBusy {
                        detail: "for the test".to_owned(),
                    }),
                    false => Ok(events.iter().map(judge).collect()),
                }
            }
        })
}

fn event(id: &str) -> Event {
    Event::new(id, "/todos", "todos.task.created")
}

fn published(id: &str, attempt: i32) -> Event {
    event(id).with_extension(DELIVERY_ATTEMPT, attempt)
}

fn batch(events: &[Event]) -> Vec<u8> {
    json::encode_batch(events).expect("valid")
}

struct Consumer {
    world: Rc<World>,
    function: Rc<Function>,
    batches: Batches,
}

impl Consumer {
    fn new() -> Self {
        let batches = Batches::default();
        Self {
            world: World::new(&[]),
            function: Rc::new(listener(&batches)),
            batches,
        }
    }

    fn hear(&self, payload: &[u8]) -> Result<(), Error> {
        let (host, function, payload) = (self.world.host(), self.function.clone(), payload.to_vec());
        self.world.block_on(async move { function.hear(&host, &payload).await })
    }

    fn outcome(&self, id: &str, attempt: u32) -> Option<Outcome> {
        let store = self.world.store.borrow();
        let word = store.get(&message::outcome_key("listener", "/todos", id))?;
        message::decode_outcome(word, attempt)
    }

    fn is_done(&self, id: &str) -> bool {
        let marker = inbox::marker("listener", "/todos", id);
        self.world.store.borrow().contains_key(&marker)
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.borrow().clone()
    }
}

#[test]
fn an_event_takes_effect_once_however_often_it_comes() {
    let consumer = Consumer::new();
    for attempt in [1, 1, 2] {
        let message = json::encode(&published("1", attempt)).expect("valid");
        consumer.hear(&message).expect("heard");
    }
    assert_eq!(consumer.batches(), [["1"]]);
    assert!(consumer.is_done("1"));
    let left: Vec<_> = consumer.world.store.borrow().keys().cloned().collect();
    assert_eq!(left.len(), 1, "nothing but the marker stays: {left:?}");
}

#[test]
fn word_is_left_of_what_did_not_succeed() {
    let consumer = Consumer::new();
    let events = [published("1", 3), published("slow", 3), published("bad", 3)];
    consumer.hear(&batch(&events)).expect("heard");
    assert!(consumer.is_done("1") && !consumer.is_done("slow") && !consumer.is_done("bad"));
    assert_eq!(consumer.outcome("1", 3), None);
    assert_eq!(consumer.outcome("slow", 3), Some(Outcome::retry("the webhook is down")));
    assert_eq!(consumer.outcome("bad", 3), Some(Outcome::drop("it has no title")));
    assert_eq!(consumer.outcome("bad", 2), None, "of this attempt, and of no other");
}

#[test]
fn an_event_that_the_function_does_not_subscribe_to_is_dropped() {
    let consumer = Consumer::new();
    let other = Event::new("1", "/todos", "users.account.registered").with_extension(DELIVERY_ATTEMPT, 1);
    consumer.hear(&json::encode(&other).expect("valid")).expect("heard");
    assert!(consumer.batches().is_empty());
    assert!(matches!(consumer.outcome("1", 1), Some(Outcome::Drop { reason }) if reason.contains("users.account")));
}

#[test]
fn when_the_effect_fails_as_a_whole_each_event_is_to_be_tried_again() {
    let consumer = Consumer::new();
    consumer
        .hear(&batch(&[published("1", 1), published("broken", 1)]))
        .expect("heard");
    for id in ["1", "broken"] {
        assert!(
            matches!(consumer.outcome(id, 1), Some(Outcome::Retry { reason }) if reason.contains("busy")),
            "{id}"
        );
    }
}

#[test]
fn a_message_that_another_replica_has_claimed_is_left_to_it() {
    let consumer = Consumer::new();
    let claim = message::claim_key("listener", "/todos", "1", 1);
    consumer.world.host().increment(&claim, 1).expect("stored");
    let message = json::encode(&published("1", 1)).expect("valid");
    consumer.hear(&message).expect("heard");
    assert!(consumer.batches().is_empty() && !consumer.is_done("1"));
    // It died before it had any effect: the next attempt has a claim of its own.
    let message = json::encode(&published("1", 2)).expect("valid");
    consumer.hear(&message).expect("heard");
    assert_eq!(consumer.batches(), [["1"]]);
}

#[test]
fn events_of_a_stream_take_effect_one_after_the_other() {
    let consumer = Consumer::new();
    let of_stream = |id, stream| published(id, 1).with_extension(DELIVERY_STREAM, stream);
    let events = [
        of_stream("slow", 0),
        of_stream("1", 1),
        of_stream("2", 0),
        of_stream("3", 1),
    ];
    consumer.hear(&batch(&events)).expect("heard");
    assert_eq!(consumer.batches(), [vec!["slow", "1"], vec!["3"]]);
    assert!(matches!(consumer.outcome("2", 1), Some(Outcome::Retry { reason }) if reason.contains("waits behind")));
}

#[test]
fn an_event_from_someone_who_does_not_ask_is_heard_too() {
    let consumer = Consumer::new();
    let message = json::encode(&event("1")).expect("valid");
    consumer.hear(&message).expect("heard");
    consumer.hear(&message).expect("heard");
    assert_eq!(consumer.batches(), [["1"]], "the marker holds it back");
    let error = consumer
        .hear(&batch(&[event("2"), event("slow"), event("bad")]))
        .expect_err("nobody else would know");
    assert!(matches!(&error, Error::Unheard { failed: 2, .. }), "{error}");
    assert!(consumer.is_done("2") && !error.is_retryable());
}

#[test]
fn what_holds_no_events_is_refused() {
    let consumer = Consumer::new();
    consumer.hear(b" []").expect("an empty batch is one");
    for payload in [&b""[..], b"hello", b"{}", b"[{}]", b"[1]", b"\xff", b"null"] {
        let error = consumer.hear(payload).expect_err("no event");
        assert!(matches!(error, Error::Event(_)), "{error}");
    }
    assert!(consumer.batches().is_empty());
}

#[test]
fn without_a_store_nothing_takes_effect() {
    let consumer = Consumer::new();
    let message = json::encode(&published("1", 1)).expect("valid");
    consumer.world.broken_store.set(true);
    let error = consumer.hear(&message).expect_err("no claim can be made");
    assert!(error.is_retryable() && consumer.batches().is_empty(), "{error}");
    consumer.world.broken_store.set(false);
    consumer.hear(&message).expect("heard");
    assert_eq!(consumer.batches(), [["1"]]);
}

#[test]
fn a_function_without_an_effect_says_so() {
    let world = World::new(&[]);
    let host = world.host();
    let heard = world.block_on(async move { Function::new("deaf").hear(&host, b"[]").await });
    let error = heard.expect_err("it hears nothing").to_string();
    assert!(error.starts_with("deaf has a trigger"), "{error}");
}
