//! A todo becomes a notification and a count.

use std::time::Duration;

use crate::harness::{counted, create, notifications, outstanding, simulate, until_effects};

#[test]
fn a_todo_becomes_a_notification_and_a_count() -> anyhow::Result<()> {
    simulate(async |world| {
        // A command comes in. It is decided, and its event is appended to the journal.
        let id = create(&world, "Buy groceries", "u1").await;
        assert_eq!(world.sql.number("SELECT count(*) FROM journal"), 1);

        // The bell wakes the relay, which brings the event to both subscribers.
        until_effects(&world, "u1", Duration::from_millis(100)).await?;

        // Each has its effect once, and nothing is left to deliver.
        let told = world.get("/notifications?userId=u1").await.json();
        assert_eq!(told["notifications"][0]["todoId"], id.as_str(), "{told}");
        world
            .until("nothing is outstanding", Duration::from_millis(100), async || {
                outstanding(&world) == 0
            })
            .await?;
        assert_eq!(world.sql.number("SELECT count(*) FROM exceptions"), 0);

        // Nobody else hears of it.
        assert_eq!(notifications(&world, "u2").await, 0);
        assert_eq!(counted(&world, "todos.task.completed").await, 0);
        Ok(())
    })
}

#[test]
fn the_same_seed_makes_the_same_run() -> anyhow::Result<()> {
    let run = || -> anyhow::Result<Vec<_>> {
        let calls = std::sync::Mutex::new(Vec::new());
        simulate(async |world| {
            let _cron = world.start_cron();
            for number in 0..20 {
                create(&world, &format!("todo {number}"), "u1").await;
            }
            world
                .until("all are told", Duration::from_secs(10), async || {
                    notifications(&world, "u1").await == 20
                })
                .await?;
            *calls.lock().expect("nobody panicked") = world.node().faults.calls();
            Ok(())
        })?;
        Ok(calls.into_inner()?)
    };
    let (first, second) = (run()?, run()?);
    assert!(first.len() > 100, "the run made only {} calls", first.len());
    assert!(first == second, "two runs of one seed differ");
    Ok(())
}
