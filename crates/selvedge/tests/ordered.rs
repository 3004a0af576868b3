//! `order = "stream"`: a stream's events take effect one after the other, whatever fails.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use proptest::prelude::*;
use selvedge::http::{Answer, StatusCode};
use selvedge::{Event, Function, Host, Outcome, Relay, journal, limits};
use support::World;
use support::listening::{answer, drain};

const ORDERED: &str = r#"
[[subscription]]
name = "ordered"
types = ["*"]
target = "function:ordered"
order = "stream"
max_attempts = 3
jitter = 0
"#;

/// What took effect: stream and version, in the order in which it did.
type Effects = Rc<RefCell<Vec<(String, i64)>>>;

/// A function that says of each attempt at an event what `judge` says, which gets stream and version.
fn recorder(effects: &Effects, judge: impl Fn(&str, i64) -> Outcome + 'static) -> Function {
    let (effects, judge) = (effects.clone(), Rc::new(judge));
    Function::new("ordered").effect(move |_: Host, events: Vec<Event>| {
        let (effects, judge) = (effects.clone(), judge.clone());
        async move {
            let outcome = |event: &Event| {
                let (stream, version) = event.id.split_once('#').expect("stream#version");
                let version = version.parse().expect("a version");
                let outcome = judge(stream, version);
                if outcome == Outcome::Success {
                    // As an effect in SQL under a unique key: the second time changes nothing.
                    let effect = (stream.to_owned(), version);
                    let mut effects = effects.borrow_mut();
                    if !effects.contains(&effect) {
                        effects.push(effect);
                    }
                }
                outcome
            };
            Ok(events.iter().map(outcome).collect())
        }
    })
}

fn world(judge: impl Fn(&str, i64) -> Outcome + 'static) -> (Rc<World>, Rc<Relay>, Effects) {
    let world = World::new(&[]);
    let relay = world.relay(ORDERED);
    let effects = Effects::default();
    world.component("ordered", recorder(&effects, judge));
    (world, relay, effects)
}

/// Appends the next event of a stream.
fn append(world: &Rc<World>, stream: &str) {
    let version = journal::read_stream(&world.host(), stream).expect("readable").len() as i64;
    let event = Event::new(format!("{stream}#{}", version + 1), "/tests", "todos.task.created");
    journal::append(&world.host(), stream, version, vec![event]).expect("new");
}

fn versions(effects: &Effects, stream: &str) -> Vec<i64> {
    let effects = effects.borrow();
    effects
        .iter()
        .filter(|(of, _)| of == stream)
        .map(|(_, version)| *version)
        .collect()
}

#[test]
fn a_failing_event_holds_back_its_own_stream_only() {
    let failing = Rc::new(Cell::new(true));
    let fails = failing.clone();
    let (world, relay, effects) = world(move |stream, version| match (stream, version) {
        ("a", 2) if fails.get() => Outcome::retry("not yet"),
        _ => Outcome::Success,
    });
    for stream in ["a", "a", "b", "a", "b"] {
        append(&world, stream);
    }
    drain(&world, &relay);
    assert_eq!(
        (versions(&effects, "a"), versions(&effects, "b")),
        (vec![1], vec![1, 2])
    );
    let states = "SELECT position, stream, state, attempt FROM exceptions ORDER BY position";
    assert_eq!(world.rows(states), ["2|a|retry|1", "4|a|held|0"]);

    // What comes later waits behind them, and another stream doesn't.
    append(&world, "a");
    append(&world, "c");
    drain(&world, &relay);
    assert_eq!(world.rows(states), ["2|a|retry|1", "4|a|held|0", "6|a|held|0"]);
    assert_eq!(versions(&effects, "c"), [1]);

    failing.set(false);
    world.set_now_ms(world.now_ms() + 1_000);
    drain(&world, &relay);
    assert_eq!(versions(&effects, "a"), [1, 2, 3, 4]);
    assert!(world.rows(states).is_empty());
}

#[test]
fn a_dead_letter_lets_its_stream_go_on() {
    for dropped in [true, false] {
        let (world, relay, effects) = world(move |stream, version| match (stream, version) {
            ("a", 1) if dropped => Outcome::drop("it never works"),
            ("a", 1) => Outcome::retry("it never works"),
            _ => Outcome::Success,
        });
        (0..3).for_each(|_| append(&world, "a"));
        for _ in 0..4 {
            drain(&world, &relay);
            world.set_now_ms(world.now_ms() + 10_000);
        }
        assert_eq!(versions(&effects, "a"), [2, 3]);
        let attempts = if dropped { 1 } else { 3 };
        let expected = format!("1|dead|{attempts}|it never works");
        assert_eq!(
            world.rows("SELECT position, state, attempt, reason FROM exceptions"),
            [expected]
        );
    }
}

#[test]
fn a_poison_event_that_kills_its_function_is_parked_and_the_others_come_in_order() {
    let (world, relay, effects) = world(|_, _| Outcome::Success);
    let function = Rc::new(recorder(&effects, |_, _| Outcome::Success));
    world.calls_of("ordered", move |host, call| {
        let function = function.clone();
        Box::pin(async move {
            if String::from_utf8_lossy(&call.body).contains("\"a#2\"") {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(Answer {
                    retry_after: None,
                    status,
                    body: Vec::new(),
                });
            }
            answer(&function, &host, &call).await
        })
    });
    for stream in ["a", "b", "a", "b", "a"] {
        append(&world, stream);
    }
    for _ in 0..8 {
        drain(&world, &relay);
        world.set_now_ms(world.now_ms() + 10_000);
    }
    assert_eq!(
        (versions(&effects, "a"), versions(&effects, "b")),
        (vec![1, 3], vec![1, 2])
    );
    assert_eq!(world.rows("SELECT position, state FROM exceptions"), ["3|dead"]);
}

#[test]
fn a_stream_that_was_held_back_catches_up_in_few_deliveries() {
    let failing = Rc::new(Cell::new(true));
    let fails = failing.clone();
    let (world, relay, effects) = world(move |_, _| {
        if fails.get() {
            Outcome::retry("not yet")
        } else {
            Outcome::Success
        }
    });
    (0..200).for_each(|_| append(&world, "a"));
    drain(&world, &relay);
    failing.set(false);
    world.calls.borrow_mut().clear();
    world.set_now_ms(world.now_ms() + 1_000);
    drain(&world, &relay);
    assert_eq!(versions(&effects, "a"), (1..=200).collect::<Vec<_>>());
    assert_eq!(world.calls.borrow().len(), 4, "65 events at a time");
}

#[test]
fn a_released_event_that_nobody_claimed_yet_waits_for_its_turn() {
    let (world, relay, effects) = world(|_, version| match version {
        1 => Outcome::retry("not yet"),
        _ => Outcome::Success,
    });
    (0..2).for_each(|_| append(&world, "a"));
    drain(&world, &relay);
    // As after a crash between the release and what should have followed it.
    world
        .execute(
            "UPDATE exceptions SET state = 'retry', due_at_ms = 0 WHERE position = 2",
            Vec::new(),
        )
        .expect("valid");
    drain(&world, &relay);
    assert_eq!(versions(&effects, "a"), [0_i64; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// For any failures and crashes, what took effect in a stream did so in the order of its versions, each once; what
    /// didn't is a dead letter; and nothing is left over.
    #[test]
    fn effects_per_stream_occur_in_order_whatever_fails(
        streams in prop::collection::vec(0..3_u8, 1..14),
        later in prop::collection::vec(0..3_u8, 0..8),
        judgements in prop::collection::vec(0..10_u8, 0..40),
        whole in prop::collection::vec(0..6_u8, 0..12),
        crashes in prop::collection::vec((0..30_usize, 0..5_usize), 0..4),
        batch in 1..6_u32,
    ) {
        let world = World::new(&[]);
        let relay = world.relay(&format!("{ORDERED}batch = {batch}\n"));
        let effects = Effects::default();
        let tried = Rc::new(Cell::new(0));
        let judge = move |_: &str, _: i64| {
            tried.set(tried.get() + 1);
            match judgements.get(tried.get() - 1) {
                Some(0..=2) => Outcome::retry("not yet"),
                Some(3) => Outcome::drop("never"),
                _ => Outcome::Success,
            }
        };
        let (function, called) = (Rc::new(recorder(&effects, judge)), Rc::new(Cell::new(0)));
        world.calls_of("ordered", move |host, call| {
            called.set(called.get() + 1);
            let (function, fate) = (function.clone(), whole.get(called.get() - 1).copied());
            Box::pin(async move {
                let lost = Answer { status: StatusCode::BAD_GATEWAY, retry_after: None, body: Vec::new() };
                match fate {
                    Some(0) => Ok(lost),
                    // It had its effect, and its answer was lost.
                    Some(1) => answer(&function, &host, &call).await.map(|_| lost),
                    _ => answer(&function, &host, &call).await,
                }
            })
        });
        let named = |stream: &u8| ["a", "b", "c"][usize::from(*stream)];
        streams.iter().for_each(|stream| append(&world, named(stream)));
        for round in 0..60 {
            if round == 2 {
                later.iter().for_each(|stream| append(&world, named(stream)));
            }
            if let Some((_, statement)) = crashes.iter().find(|(at, _)| *at == round) {
                let statements =
                    ["INTO exceptions", "SET cursor", "SET state = 'retry'", "SET state = again", "DELETE FROM exceptions"];
                world.broken_statements.borrow_mut().push(statements[*statement]);
            }
            drain(&world, &relay);
            world.broken_statements.borrow_mut().clear();
            world.set_now_ms(world.now_ms() + limits::LEASE_MS);
        }

        let dead: HashSet<i64> = world
            .rows("SELECT position FROM exceptions WHERE state = 'dead'")
            .iter()
            .map(|position| position.parse().expect("a position"))
            .collect();
        prop_assert_eq!(world.rows("SELECT * FROM exceptions WHERE state <> 'dead'"), Vec::<String>::new());
        let mut expected: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        let mut reached: BTreeMap<&str, i64> = BTreeMap::new();
        for (position, stream) in (1..).zip(streams.iter().chain(&later).map(named)) {
            let version = reached.entry(stream).or_default();
            *version += 1;
            if !dead.contains(&position) {
                expected.entry(stream).or_default().push(*version);
            }
        }
        for stream in ["a", "b", "c"] {
            let mut found = versions(&effects, stream);
            prop_assert!(found.is_sorted(), "{stream}: {found:?}");
            // A dead letter may have had its effect, when the answer that said so was lost.
            let wanted = expected.remove(stream).unwrap_or_default();
            found.retain(|version| wanted.contains(version));
            prop_assert_eq!(found, wanted);
        }
    }
}
