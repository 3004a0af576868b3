//! Any number of relays may run, be stalled, and die: every event takes effect once.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use selvedge::http::{Answer, StatusCode};
use selvedge::{Outcome, limits, relay};
use support::World;
use support::listening::{HEARD, TWO, answer, append, deliveries, drain, heard, listener, subscriptions, world};

#[test]
fn a_lease_is_renewed_while_its_delivery_is_under_way() {
    let (world, relay) = world();
    let other = world.relay(TWO);
    world.calls_of("tasks", |_, _| Box::pin(futures::future::pending()));
    append(&world, ["1"], "todos.task.created");
    let start_ms = world.now_ms();
    relay.ring(&world.host());
    for second in 1..=9 {
        world.run_until_ms(start_ms + second * 1_000);
        other.ring(&world.host());
    }
    world.run_until_ms(start_ms + 10_500);
    let sent = world
        .calls
        .borrow()
        .iter()
        .filter(|call| call.url.ends_with("/deliver/tasks"))
        .count();
    assert_eq!(sent, 1, "nobody else takes it up");
    assert_eq!(world.rows("SELECT attempt FROM exceptions"), ["1"]);
}

#[test]
fn what_a_dead_relay_left_behind_is_taken_up_when_its_lease_ends() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    world.broken_statements.borrow_mut().push("WHERE position >");
    drain(&world, &relay);
    world.broken_statements.borrow_mut().clear();
    world.set_now_ms(world.now_ms() + limits::LEASE_MS - 1);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 0, "it is still leased");
    world.set_now_ms(world.now_ms() + 1);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
}

#[test]
fn two_relays_at_once_bring_everything_once() {
    let (world, first) = world();
    let second = world.relay(TWO);
    append(&world, 0..50, "todos.task.created");
    first.ring(&world.host());
    second.ring(&world.host());
    world.run_until_ms(world.now_ms() + 5_000);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (50, 50));
    assert_eq!(deliveries(&world), 2);
}

#[test]
fn a_relay_that_was_stalled_past_its_lease_changes_nothing() {
    let (world, stalled) = world();
    let other = world.relay(TWO);
    let late = Rc::new(Cell::new(true));
    let is_late = late.clone();
    let tasks = Rc::new(listener("tasks", |_| Outcome::Success));
    world.calls_of("tasks", move |host, call| {
        let (tasks, stalls) = (tasks.clone(), is_late.replace(false));
        Box::pin(async move {
            if stalls {
                host.wait(9_000).await;
                return Ok(Answer {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    retry_after: None,
                    body: Vec::new(),
                });
            }
            answer(&tasks, &host, &call).await
        })
    });
    append(&world, ["1"], "todos.task.created");
    stalled.ring(&world.host());
    world.run_until_ms(world.now_ms() + 1_000);
    // Its lease ends while it waits: the clock jumps, and the other relay takes over.
    world.set_now_ms(world.now_ms() + 15_000);
    other.ring(&world.host());
    world.run_until_ms(world.now_ms() + 1);
    assert_eq!(heard(&world, "tasks"), 1);
    assert_eq!(
        world.rows("SELECT cursor FROM subscriptions WHERE name = 'tasks'"),
        ["1"]
    );

    world.run_until_ms(world.now_ms() + 20_000);
    assert_eq!(heard(&world, "tasks"), 1);
    assert!(
        world.rows("SELECT * FROM exceptions").is_empty(),
        "the stalled one was fenced"
    );
}

/// Puts a function there that takes so long for its first delivery, and so long for those that follow.
fn takes(world: &World, name: &'static str, [first_ms, then_ms]: [u64; 2]) {
    let (function, takes_ms) = (Rc::new(listener(name, |_| Outcome::Success)), Cell::new(first_ms));
    world.calls_of(name, move |host, call| {
        let (function, takes_ms) = (function.clone(), takes_ms.replace(then_ms));
        Box::pin(async move {
            if takes_ms > 0 {
                host.wait(takes_ms).await;
            }
            answer(&function, &host, &call).await
        })
    });
}

/// Seed 104 of the chaos by Redis: while one relay waited for what was slow, another was awake and went back to sleep.
#[test]
fn what_comes_behind_a_straggler_needs_no_cron_though_another_relay_was_awake() {
    let names = ["quick", "slow", "slower"];
    let subscription =
        |name| format!("[[subscription]]\nname = \"{name}\"\ntypes = [\"*.*.*\"]\ntarget = \"function:{name}\"\n");
    let world = World::new(&[HEARD]);
    let relay = world.relay(&names.map(subscription).concat());
    for (name, takes_ms) in names.into_iter().zip([[0, 1_000], [2_000, 0], [4_000, 0]]) {
        takes(&world, name, takes_ms);
    }
    append(&world, ["1"], "todos.task.created");
    let begin_ms = world.now_ms();
    relay.ring(&world.host());
    world.run_until_ms(begin_ms + 1_900);
    world.set_now_ms(begin_ms + 1_900);
    append(&world, ["2"], "todos.task.created");
    relay.ring(&world.host());
    world.run_until_ms(world.now_ms() + 20_000);
    assert_eq!(names.map(|name| heard(&world, name)), [2, 2, 2]);
}

/// A drain that has taken as long as it may rings for the next one, which finds that somebody is still at work.
#[test]
fn what_comes_behind_a_straggler_of_a_drain_that_handed_over_needs_no_cron() {
    let (world, relay) = world();
    takes(&world, "all", [6_000, 0]);
    takes(&world, "tasks", [9_000, 0]);
    append(&world, ["1"], "orders.order.placed");
    let begin_ms = world.now_ms();
    relay.ring(&world.host());
    for second in 1..=30 {
        world.run_until_ms(begin_ms + second * 1_000);
        world.set_now_ms(begin_ms + second * 1_000);
        match second {
            // The first drain finds it after 6 s, and hands over after 10.
            5 => append(&world, ["2"], "todos.task.created"),
            12 => {
                append(&world, ["3"], "todos.task.created");
                relay.ring(&world.host());
            }
            _ => {}
        }
    }
    assert_eq!(["all", "tasks"].map(|name| heard(&world, name)), [3, 2]);
}

#[test]
fn what_was_delivered_but_not_settled_takes_effect_once() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    world.broken_statements.borrow_mut().push("SET cursor");
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1);
    assert_eq!(
        world.rows("SELECT awake_until_ms FROM relay"),
        ["0"],
        "a relay that failed isn't awake"
    );
    world.broken_statements.borrow_mut().clear();
    world.set_now_ms(world.now_ms() + limits::LEASE_MS);
    drain(&world, &relay);
    assert_eq!(heard(&world, "tasks"), 1, "the done marker knew it");
    assert_eq!(world.rows("SELECT cursor FROM subscriptions"), ["1", "1"]);
}

#[test]
fn what_another_relay_wrote_down_a_moment_ago_waits_as_it_should() {
    let (world, relay) = world();
    world.component("tasks", listener("tasks", |_| Outcome::retry("not now")));
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    let failed = || world.rows("SELECT attempt, last_at_ms FROM exceptions");
    let written = failed();
    assert_eq!(written.len(), 1);
    // A relay that looked at its clock a little earlier, or whose clock is a little behind.
    world.set_now_ms(world.now_ms() - 16);
    assert!(!relay::is_due(&world.host(), &subscriptions()).expect("readable"));
    drain(&world, &relay);
    assert_eq!(failed(), written, "its time hasn't come");

    world.set_now_ms(world.now_ms() - limits::CLOCK_DIFFERENCE_MS_MAX);
    drain(&world, &relay);
    assert_ne!(
        failed(),
        written,
        "the clock was set back: it doesn't wait for that time"
    );
}

#[test]
fn a_relay_whose_clock_is_a_little_behind_leaves_anothers_leases_alone() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    drain(&world, &relay);
    append(&world, ["2"], "todos.task.created");
    // Another relay took them a moment ago, by a clock that is a second ahead.
    let until_ms = world.now_ms() + 1_000 + limits::LEASE_MS;
    let leased = "UPDATE subscriptions SET lease_token = 'other', leased_until_ms = ?";
    world.execute(leased, vec![until_ms.into()]).expect("leases");
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (1, 1));
    world.set_now_ms(until_ms);
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (2, 2));
}

#[test]
fn a_clock_that_was_set_back_keeps_nothing_from_being_done() {
    let (world, relay) = world();
    append(&world, ["1"], "todos.task.created");
    let future_ms = world.now_ms() + 86_400_000;
    drain(&world, &relay);
    world
        .execute(
            "UPDATE relay SET awake_until_ms = ?, token = 'gone'",
            vec![future_ms.into()],
        )
        .expect("a mark");
    world
        .execute("UPDATE subscriptions SET leased_until_ms = ?", vec![future_ms.into()])
        .expect("leases");
    append(&world, ["2"], "todos.task.created");
    assert!(relay::is_due(&world.host(), &subscriptions()).expect("readable"));
    drain(&world, &relay);
    assert_eq!((heard(&world, "all"), heard(&world, "tasks")), (2, 2));
}
