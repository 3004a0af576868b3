//! A todo with a long history is read through its snapshot, and nobody can tell the difference.

use std::time::Duration;

use http::Method;
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, When};
use serde_json::{Value, json};

use crate::harness::{create, simulate};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Renames the todo this many times.
async fn rename(world: &World, id: &str, times: usize) {
    for number in 0..times {
        let body = json!({ "title": format!("title {number}") }).to_string();
        let answer = world.request(Method::PATCH, &format!("/todos/{id}"), &JSON, body).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
}

async fn show(world: &World, id: &str) -> Value {
    world.get(&format!("/todos/{id}")).await.json()
}

fn snapshots(world: &World) -> i64 {
    world.sql.number("SELECT coalesce(max(version), 0) FROM snapshots")
}

#[test]
fn a_long_history_has_a_snapshot_and_reads_the_same_without_it() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = create(&world, "Buy groceries", "u1").await;
        rename(&world, &id, 120).await;
        world.post(&format!("/todos/{id}/complete"), &json!({})).await;
        let kept = async || snapshots(&world) >= 100;
        world.until("there is a snapshot", Duration::from_secs(1), kept).await?;
        let with = show(&world, &id).await;
        assert_eq!(
            (&with["title"], &with["version"], &with["completed"]),
            (&json!("title 119"), &json!(122), &json!(true))
        );

        // That it is used shows when it isn't right: its event is that of the journal, and so it is believed.
        world
            .sql
            .change("UPDATE snapshots SET state = json_set(state, '$.created_at', '2000-01-01T00:00:00.000Z')")?;
        assert_eq!(show(&world, &id).await["createdAt"], "2000-01-01T00:00:00.000Z");
        world.sql.change("DELETE FROM snapshots")?;
        assert_eq!(show(&world, &id).await, with);
        Ok(())
    })
}

#[test]
fn a_snapshot_that_the_journal_does_not_bear_out_is_not_believed() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = create(&world, "Buy groceries", "u1").await;
        rename(&world, &id, 120).await;
        let truth = show(&world, &id).await;
        world
            .until("there is a snapshot", Duration::from_secs(1), async || {
                snapshots(&world) >= 100
            })
            .await?;
        for lie in [
            "event_id = 'other'",
            "version = version + 1000",
            "version = 3",
            "shape = 99",
            "state = '{'",
        ] {
            world.sql.change(&format!("UPDATE snapshots SET {lie}"))?;
            assert_eq!(show(&world, &id).await, truth, "{lie}");
        }
        Ok(())
    })
}

#[test]
fn a_crash_while_a_snapshot_is_written_is_noticed_by_nobody() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = create(&world, "Buy groceries", "u1").await;
        let faults = &world.node().faults;
        faults.hit(
            "todos",
            "sqlite.execute",
            "INSERT INTO snapshots",
            3,
            Fault::Fail,
            When::Before,
        );
        rename(&world, &id, 130).await;
        assert!(faults.met() >= 1, "a snapshot was to be written");
        assert_eq!(show(&world, &id).await["version"], 131);
        world
            .until("a later one is written", Duration::from_secs(1), async || {
                snapshots(&world) >= 100
            })
            .await
    })
}
