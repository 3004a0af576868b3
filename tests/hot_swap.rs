//! A component's code is swapped while it runs: requests in work end on the old code, later ones start on the new, and
//! none fails.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use selvedge_testkit::World;
use selvedge_testkit::simulation::Peer;

use crate::harness::{counted, create, notifications, outstanding, root, simulate, until_effects};

/// The file of a built component.
fn built(file: &str) -> PathBuf {
    root().join("target/functions/wasm32-wasip2/component").join(file)
}

fn swap(world: &World, component: &str, file: &str) -> Result<(), selvedge_engine::Error> {
    let node = world.node();
    node.application
        .component(component)
        .expect("the manifest has it")
        .swap(&built(file))
}

/// Which function's code answers for a component, as its own health route tells.
async fn code_of(world: &World, component: &str) -> anyhow::Result<String> {
    let node = world.node();
    let component = node.application.component(component).expect("the manifest has it");
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(format!("http://{}.spin.internal/_selvedge/health", component.id())).body(body)?;
    let answer = node.application.call(component, request).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await?.to_bytes();
    let said: serde_json::Value = serde_json::from_slice(&body)?;
    Ok(said["function"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn later_requests_run_the_new_code_and_none_fails() -> anyhow::Result<()> {
    simulate(async |world| {
        let expected = Cell::new("analytics");
        let answered = Cell::new(0);
        let swaps_left = Cell::new(20);
        let load = async || -> anyhow::Result<()> {
            while swaps_left.get() > 0 {
                let expected_at_start = expected.get();
                let code = code_of(&world, "analytics").await?;
                // A request that was in work while the code was swapped may end on either.
                assert!(
                    code == expected_at_start || code == expected.get(),
                    "{code} instead of {}",
                    expected.get()
                );
                answered.set(answered.get() + 1);
                // Time passes only while nobody has anything to do.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        let swaps = async || -> anyhow::Result<()> {
            for (file, name) in [("notifications.wasm", "notifications"), ("analytics.wasm", "analytics")].repeat(10) {
                let target = answered.get() + 50;
                let reached = async || answered.get() >= target;
                world
                    .until("requests are answered", Duration::from_secs(10), reached)
                    .await?;
                swap(&world, "analytics", file)?;
                expected.set(name);
                swaps_left.set(swaps_left.get() - 1);
            }
            Ok(())
        };
        let (first, second, third, swapped) = tokio::join!(load(), load(), load(), swaps());
        first.and(second).and(third).and(swapped)?;
        assert!(
            answered.get() >= 1_000,
            "only {} requests were answered",
            answered.get()
        );
        assert_eq!(code_of(&world, "analytics").await?, "analytics");
        Ok(())
    })
}

#[test]
fn every_function_is_swapped_under_load_and_each_event_has_its_effects_once() -> anyhow::Result<()> {
    const TODOS: usize = 60;
    simulate(async |world| {
        let load = async |user: &str| {
            for number in 0..TODOS {
                create(&world, &format!("todo {number}"), user).await;
            }
        };
        let swaps = async || -> anyhow::Result<()> {
            for component in ["todos", "relay", "notifications", "analytics", "health", "outbox-cron"].repeat(3) {
                let before = world.sql.number("SELECT count(*) FROM journal");
                let more =
                    async || world.sql.number("SELECT count(*) FROM journal") >= (before + 5).min(3 * TODOS as i64);
                world.until("todos are created", Duration::from_secs(60), more).await?;
                swap(&world, component, &format!("{}.wasm", component.replace('-', "_")))?;
            }
            Ok(())
        };
        let _cron = world.start_cron();
        let (_, _, _, swapped) = tokio::join!(load("u1"), load("u2"), load("u3"), swaps());
        swapped?;
        world
            .until("nothing is outstanding", Duration::from_secs(120), async || {
                outstanding(&world) == 0
            })
            .await?;
        assert_eq!(counted(&world, "todos.task.created").await, 3 * TODOS as u64);
        assert_eq!(world.sql.number("SELECT count(*) FROM notifications"), 3 * TODOS as i64);
        assert_eq!(
            world.sql.number("SELECT count(*) FROM exceptions"),
            0,
            "no delivery failed: {:?}",
            world.output.lines()
        );
        Ok(())
    })
}

/// Takes its time to answer, and counts who asked.
struct SlowHook(Arc<AtomicUsize>);

#[async_trait]
impl Peer for SlowHook {
    async fn answer(&self, _request: Request<Bytes>) -> Option<Response<Bytes>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        Some(Response::new(Bytes::new()))
    }
}

#[test]
fn a_delivery_in_work_ends_on_the_code_that_it_began_with() -> anyhow::Result<()> {
    simulate(async |mut world| {
        let called = Arc::new(AtomicUsize::new(0));
        world.network.play("hooks.example", SlowHook(called.clone()));
        world.set_variable("notify_webhook_url", "http://hooks.example/todos");
        world.restart()?;

        create(&world, "first", "u1").await;
        let in_work = async || called.load(Ordering::SeqCst) == 1;
        world
            .until("the webhook is called", Duration::from_secs(1), in_work)
            .await?;
        // The code of analytics neither notifies nor calls.
        swap(&world, "notifications", "analytics.wasm")?;
        create(&world, "second", "u1").await;

        world
            .until("both are delivered", Duration::from_secs(20), async || {
                outstanding(&world) == 0
            })
            .await?;
        assert_eq!(
            world.sql.number("SELECT count(*) FROM notifications"),
            1,
            "the first by the old code, none by the new"
        );
        assert_eq!(
            called.load(Ordering::SeqCst),
            1,
            "the delivery in work wasn't made again"
        );
        assert_eq!(world.sql.number("SELECT count(*) FROM exceptions"), 0);
        Ok(())
    })
}

#[test]
fn a_bad_file_is_refused_and_the_old_code_stays() -> anyhow::Result<()> {
    simulate(async |world| {
        let folder = tempfile::tempdir()?;
        let text = folder.path().join("text.wasm");
        std::fs::write(&text, "this is no component")?;
        let module = folder.path().join("module.wasm");
        std::fs::write(&module, b"\0asm\x01\0\0\0")?;
        let cut = folder.path().join("cut.wasm");
        let whole = std::fs::read(built("notifications.wasm"))?;
        std::fs::write(&cut, &whole[..whole.len() / 2])?;
        let missing = folder.path().join("missing.wasm");
        // It is a component, and nothing that answers requests.
        let other_trigger = built("outbox_cron.wasm");

        for file in [&text, &module, &cut, &missing, &other_trigger] {
            let node = world.node();
            let component = node
                .application
                .component("notifications")
                .expect("the manifest has it");
            let Err(error) = component.swap(file) else {
                panic!("{} was taken", file.display());
            };
            let said = error.to_string();
            assert!(
                said.contains("notifications") && said.contains(&*file.to_string_lossy()),
                "{said}"
            );
            assert_eq!(
                code_of(&world, "notifications").await?,
                "notifications",
                "after {}",
                file.display()
            );
        }
        create(&world, "Buy groceries", "u1").await;
        until_effects(&world, "u1", Duration::from_secs(1)).await?;
        assert_eq!(notifications(&world, "u1").await, 1);
        Ok(())
    })
}
