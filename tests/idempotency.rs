//! The same request, and the same event, twice or at the same moment: one effect.

use std::time::Duration;

use http::Method;
use selvedge_engine::Error;
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Answer, Fault, Node, When};
use serde_json::{Value, json};

use crate::harness::{counted, create, notifications, simulate, todo, until_kept, until_met};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Events as a relay would deliver them.
fn batch(ids: &[&str]) -> String {
    let event = |id: &&str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/todos", "type": "todos.task.created", "subject": "t1",
            "time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "data": todo("Buy groceries", "u1"),
        })
    };
    Value::Array(ids.iter().map(event).collect()).to_string()
}

/// Delivers events to the function of that name, as a relay on this node would.
async fn deliver(node: &Node, function: &str, ids: &[&str]) -> Result<Answer, Error> {
    let path = format!("/_selvedge/deliver/{function}");
    let headers = [("content-type", "application/cloudevents-batch+json")];
    node.call(function, Method::POST, &path, &headers, batch(ids)).await
}

/// What the function said of each event, in order.
fn statuses(answer: &Answer) -> Vec<String> {
    let statuses = answer.json()["statuses"].as_array().cloned().unwrap_or_default();
    statuses
        .iter()
        .map(|entry| entry["status"].as_str().unwrap_or_default().to_owned())
        .collect()
}

async fn effects(world: &World) -> (usize, u64) {
    (
        notifications(world, "u1").await,
        counted(world, "todos.task.created").await,
    )
}

#[test]
fn an_event_that_is_delivered_again_has_no_second_effect() -> anyhow::Result<()> {
    simulate(async |world| {
        for round in 0..3 {
            for function in ["notifications", "analytics"] {
                let answer = deliver(&world.node(), function, &["1", "2"]).await?;
                assert_eq!(answer.status, 200, "{:?}", answer.json());
                assert_eq!(statuses(&answer), ["SUCCESS", "SUCCESS"], "round {round} of {function}");
            }
            assert_eq!(effects(&world).await, (2, 2));
        }
        // What is new beside it has its effect.
        deliver(&world.node(), "notifications", &["2", "3"]).await?;
        assert_eq!(notifications(&world, "u1").await, 3);
        Ok(())
    })
}

#[test]
fn an_event_that_the_relay_delivered_has_no_second_effect() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "Buy groceries", "u1").await;
        until_kept(&world, 1, Duration::from_secs(1)).await?;
        // A crash may bring the relay's cursor to its knees, never the effects.
        world.sql.change("UPDATE subscriptions SET cursor = 0")?;
        let _cron = world.start_cron();
        until_kept(&world, 1, Duration::from_secs(3)).await?;
        assert_eq!(effects(&world).await, (1, 1));
        Ok(())
    })
}

#[test]
fn an_event_that_is_delivered_twice_at_the_same_moment_has_one_effect() -> anyhow::Result<()> {
    simulate(async |world| {
        let (one, other) = (world.node(), world.add_node()?);
        for (number, pair) in [[&one, &one], [&one, &other]].into_iter().enumerate() {
            for function in ["notifications", "analytics"] {
                // Both have looked for the marker and found none before either has the effect.
                let met = one.faults.met() + other.faults.met();
                for node in pair {
                    node.faults
                        .hit(function, "keyvalue.get-many", "done/", 1, Fault::Stall, When::After);
                }
                let release = async {
                    let looked = async || one.faults.met() + other.faults.met() == met + 2;
                    world.until("both have looked", Duration::from_secs(1), looked).await?;
                    one.faults.release();
                    other.faults.release();
                    anyhow::Ok(())
                };
                let id = format!("event-{number}");
                let ids = [&*id];
                let both = async { tokio::join!(deliver(pair[0], function, &ids), deliver(pair[1], function, &ids)) };
                let ((first, second), released) = tokio::join!(both, release);
                released?;
                assert_eq!(
                    (statuses(&first?), statuses(&second?)),
                    (vec!["SUCCESS".into()], vec!["SUCCESS".into()])
                );
            }
            assert_eq!(effects(&world).await, (number + 1, number as u64 + 1));
        }
        Ok(())
    })
}

#[test]
fn a_crash_between_the_effect_and_its_marker_repeats_nothing() -> anyhow::Result<()> {
    for function in ["notifications", "analytics"] {
        for when in [When::Before, When::After] {
            simulate(async |world| {
                world
                    .node()
                    .faults
                    .hit(function, "keyvalue.set-many", "done/", 1, Fault::Trap, when);
                let crashed = deliver(&world.node(), function, &["1"]).await;
                assert!(crashed.is_err(), "{function} {when:?}: {crashed:?}");
                let marked = world.key_value.contents().values.len();
                assert_eq!(marked, usize::from(when == When::After));

                let again = deliver(&world.node(), function, &["1"]).await?;
                assert_eq!(statuses(&again), ["SUCCESS"]);
                let (told, counts) = effects(&world).await;
                assert_eq!(
                    told as u64 + counts,
                    1,
                    "{function} {when:?}: {told} notifications, {counts} counts"
                );
                Ok(())
            })?;
        }
    }
    Ok(())
}

async fn keyed(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    world.request(Method::POST, path, &headers, body.to_string()).await
}

fn events(world: &World) -> i64 {
    world.sql.number("SELECT count(*) FROM journal")
}

#[test]
fn the_same_key_and_body_give_the_first_answer_again() -> anyhow::Result<()> {
    simulate(async |world| {
        let wanted = todo("Buy groceries", "u1");
        let first = keyed(&world, "/todos", "key-1", &wanted).await;
        assert_eq!(first.status, 201);
        let location = first.header("location").to_owned();

        // Also after the todo has changed, and on another node.
        let completed = keyed(&world, &format!("{location}/complete"), "key-2", &json!({})).await;
        assert_eq!(completed.status, 200);
        assert_eq!(world.request(Method::DELETE, &location, &[], "").await.status, 204);
        world.node().faults.lose();
        world.add_node()?;
        let again = keyed(&world, "/todos", "key-1", &wanted).await;
        assert_eq!((again.status, again.json()), (first.status, first.json()));
        assert_eq!((again.header("location"), again.header("etag")), (&*location, "\"1\""));
        let again = keyed(&world, &format!("{location}/complete"), "key-2", &json!({})).await;
        assert_eq!((again.status, again.json()), (completed.status, completed.json()));
        assert_eq!(events(&world), 3);

        // A key stands for one request on one route.
        let other = keyed(&world, "/todos", "key-2", &wanted).await;
        assert_eq!(other.status, 201);
        assert_ne!(other.header("location"), location);
        Ok(())
    })
}

#[test]
fn the_same_key_with_another_body_is_refused() -> anyhow::Result<()> {
    simulate(async |world| {
        let first = keyed(&world, "/todos", "key-1", &todo("Buy groceries", "u1")).await;
        assert_eq!(first.status, 201);
        let other = keyed(&world, "/todos", "key-1", &todo("Buy bread", "u1")).await;
        assert_eq!(
            (other.status.as_u16(), other.header("content-type")),
            (422, "application/problem+json")
        );
        let detail = other.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(
            detail.contains("Idempotency-Key") && detail.contains("new key"),
            "{detail}"
        );

        let path = format!("{}/complete", first.header("location"));
        assert_eq!(keyed(&world, &path, "key-2", &json!({})).await.status, 200);
        assert_eq!(keyed(&world, &path, "key-2", &json!({ "more": 1 })).await.status, 422);
        assert_eq!(events(&world), 2);
        Ok(())
    })
}

#[test]
fn keyed_requests_at_the_same_moment_make_one_todo() -> anyhow::Result<()> {
    simulate(async |world| {
        let faults = &world.node().faults;
        faults.hit("todos", "sqlite.execute", "INTO journal", 3, Fault::Stall, When::Before);
        let (wanted, other) = (todo("Buy groceries", "u1"), todo("Buy bread", "u1"));
        let release = async {
            until_met(&world, &world.node(), 3).await?;
            faults.release();
            anyhow::Ok(())
        };
        let (one, two, three, released) = tokio::join!(
            keyed(&world, "/todos", "key-1", &wanted),
            keyed(&world, "/todos", "key-1", &wanted),
            keyed(&world, "/todos", "key-1", &other),
            release,
        );
        released?;
        let mut statuses = [one.status.as_u16(), two.status.as_u16(), three.status.as_u16()];
        assert_eq!(events(&world), 1);
        // Whoever was first is right, and whoever sent the same learns the same.
        if three.status == 201 {
            assert_eq!(statuses, [422, 422, 201]);
        } else {
            assert_eq!(one.json(), two.json());
            statuses.sort_unstable();
            assert_eq!(statuses, [201, 201, 422]);
        }
        Ok(())
    })
}

#[test]
fn a_request_whose_answer_was_lost_can_be_sent_again() -> anyhow::Result<()> {
    for fault in [Fault::Trap, Fault::Fail] {
        simulate(async |world| {
            world
                .node()
                .faults
                .hit("todos", "sqlite.execute", "INTO journal", 1, fault, When::After);
            let wanted = todo("Buy groceries", "u1");
            let lost = keyed(&world, "/todos", "key-1", &wanted).await;
            assert!(lost.status.is_server_error(), "{}", lost.status);
            let again = keyed(&world, "/todos", "key-1", &wanted).await;
            assert_eq!(
                (again.status.as_u16(), &again.json()["title"]),
                (201, &json!("Buy groceries"))
            );
            let _cron = world.start_cron();
            until_kept(&world, 1, Duration::from_secs(3)).await
        })?;
    }
    Ok(())
}

/// How many done markers of a subscription there are.
fn markers(world: &World, subscription: &str) -> usize {
    let prefix = format!("done/{subscription}/");
    world
        .key_value
        .contents()
        .values
        .keys()
        .filter(|key| key.starts_with(&prefix))
        .count()
}

#[test]
fn old_done_markers_are_collected_where_nothing_can_come_again() -> anyhow::Result<()> {
    simulate(async |world| {
        let _cron = world.start_cron();
        create(&world, "one", "u1").await;
        until_kept(&world, 1, Duration::from_secs(3)).await?;
        // A dead letter may be delivered again one day: behind it notifications' markers stay.
        let data = "'application/json', NULL, '{}'";
        world.sql.change(&format!(
            "INSERT INTO journal (id, source, type, stream, version, time_ms, datacontenttype, extensions, data)
             VALUES ('x', '/import', 'todos.task.created', 'import/x', 1, {}, {data})",
            world.clock.now_ms()
        ))?;
        create(&world, "two", "u1").await;
        create(&world, "three", "u1").await;
        until_kept(&world, 4, Duration::from_secs(3)).await?;
        assert_eq!((markers(&world, "notifications"), markers(&world, "analytics")), (3, 4));

        // Young markers stay, whatever happens.
        world.clock.step_ms(6 * DAY_MS);
        create(&world, "four", "u1").await;
        until_kept(&world, 5, Duration::from_secs(3)).await?;
        assert_eq!((markers(&world, "notifications"), markers(&world, "analytics")), (4, 5));

        world.clock.step_ms(2 * DAY_MS);
        create(&world, "five", "u1").await;
        until_kept(&world, 6, Duration::from_secs(3)).await?;
        let collected = async || markers(&world, "analytics") == 2;
        world
            .until("analytics keeps the young ones", Duration::from_secs(3), collected)
            .await?;
        assert_eq!(
            markers(&world, "notifications"),
            4,
            "all but that of the event before the dead letter"
        );
        assert_eq!(effects(&world).await, (5, 6));
        Ok(())
    })
}
