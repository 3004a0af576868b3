//! By way of Redis: channels that notifications and analytics hear, and a stream that others read.

use std::sync::Arc;

use selvedge_engine::Program;
use selvedge_events::json;
use selvedge_testkit::checkers::{self, Violation};
use selvedge_testkit::simulation::{Fate, Fault, When};
use selvedge_testkit::sweep::Sweep;
use selvedge_testkit::{Simulation, World};

use super::{Application, PATIENCE, arrived_in_order, assert_kept, no_dead_letters, warm_up};
use crate::harness::{create, until_kept};
use crate::todo_journey::{only_its_events, todo_journey};

/// The stream that events are appended to.
const STREAM: &str = "log";

fn by_redis(subscriptions: Option<&str>) -> anyhow::Result<Arc<Program>> {
    let application = Application {
        broker: ".redis",
        subscriptions,
        ..Application::default()
    };
    application.compile()
}

/// Both events took effect once, and nothing is left of how they came there.
fn kept(world: &World) -> Vec<Violation> {
    let mut violations = only_its_events(world);
    violations.extend(no_dead_letters(world));
    violations.extend(checkers::words_are_forgotten(world));
    violations
}

#[test]
fn every_call_of_a_todo_by_redis_channels_may_fail_in_every_way() -> anyhow::Result<()> {
    let program = by_redis(None)?;
    let report = Sweep::of(&program).after(warm_up).run(&todo_journey, &kept);
    assert_kept("a todo by Redis channels", 40, &report);
    Ok(())
}

#[test]
fn every_call_of_a_todo_whose_first_messages_are_lost_may_fail_in_every_way() -> anyhow::Result<()> {
    let program = by_redis(None)?;
    let journey = async |world: &World| {
        world.network.redis.fates(|fates| {
            fates.decide(|passing| match passing.number {
                0 | 1 => Fate::Lost,
                _ => Fate::Arrives,
            });
        });
        todo_journey(world).await;
    };
    let report = Sweep::of(&program).after(warm_up).every(13).run(&journey, &kept);
    assert_kept("a todo whose first messages are lost", 40, &report);
    Ok(())
}

/// Found by the sweep before: of a first attempt the claim is collected with the marker, of a later one it stayed for ever.
#[test]
fn a_consumer_that_dies_with_its_marker_written_leaves_no_claim_of_a_later_attempt() -> anyhow::Result<()> {
    Simulation::run(&by_redis(None)?, 1, async |world| {
        let _cron = world.start_cron();
        world.network.redis.fates(|fates| fates.next(Fate::Lost));
        let node = world.node();
        for consumer in ["notifications", "analytics"] {
            node.faults
                .hit(consumer, "keyvalue.set-many", "done/", 1, Fault::Trap, When::After);
        }
        create(&world, "tea", "u1").await;
        until_kept(&world, 1, PATIENCE).await?;
        assert_eq!(node.faults.met(), 2, "both died");
        let claims = world.key_value.contents().counters;
        let later: Vec<_> = claims.keys().filter(|key| !key.ends_with("/1")).collect();
        assert!(claims.len() == 1 && later.is_empty(), "{claims:?}");
        Ok(())
    })
}

/// Every event is in the stream, and those of one entity came there in their order, copies aside.
fn all_in_the_stream(world: &World) -> Vec<Violation> {
    let mut violations = checkers::streams_have_no_gaps(world);
    violations.extend(no_dead_letters(world));
    let entries = world.network.redis.entries(STREAM);
    let events = entries.iter().map(|entry| entry.field("event").map(json::decode));
    violations.extend(arrived_in_order(world, events.map(|event| event.and_then(Result::ok))));
    violations
}

#[test]
fn every_call_on_an_events_way_into_a_redis_stream_may_fail_in_every_way() -> anyhow::Result<()> {
    let subscriptions = format!(
        "[[subscription]]\nname = \"log\"\ntypes = [\"todos.task.*\"]\ntarget = \"redis-stream:{STREAM}\"\norder = \"stream\"\n"
    );
    let program = by_redis(Some(&subscriptions))?;
    let report = Sweep::of(&program)
        .after(warm_up)
        .run(&todo_journey, &all_in_the_stream);
    assert_kept("a todo's way into a Redis stream", 25, &report);
    Ok(())
}
