//! The same components hear a broker's messages: the handler of each message trigger leads to the function's one effect.

use std::time::Duration;

use selvedge::message::{DELIVERY_ATTEMPT, decode_outcome, outcome_key};
use selvedge_engine::ports::MqttMessage;
use selvedge_events::{Event, json};
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Fault, When};
use serde_json::json;

use crate::harness::{notifications, simulate, until_met};

fn created(id: &str, attempt: i32) -> Event {
    Event::new(id, "/todos", "todos.task.created")
        .with_json(&json!({ "title": "Buy groceries", "userId": "u1" }))
        .expect("JSON")
        .with_extension(DELIVERY_ATTEMPT, attempt)
}

/// Brings a message to notifications on every node at once, as a channel does that each of them listens to.
async fn bring(world: &World, payload: &[u8]) -> Vec<Result<(), selvedge_engine::Error>> {
    let nodes = world.nodes();
    let bringing = nodes.iter().map(|node| async {
        let component = node.application.component("notifications").expect("it is there");
        node.application.redis_message(component, payload.to_vec()).await
    });
    futures::future::join_all(bringing).await
}

#[test]
fn two_replicas_get_a_message_and_it_takes_effect_once() -> anyhow::Result<()> {
    simulate(async |world| {
        let second = world.add_node()?;
        for heard in bring(&world, &json::encode(&created("1", 1))?).await {
            heard?;
        }
        let batch = json::encode_batch(&[created("1", 2), created("2", 2), created("3", 2)])?;
        for heard in bring(&world, &batch).await {
            heard?;
        }
        assert_eq!(notifications(&world, "u1").await, 3);
        let effects = [world.node(), second].map(|node| {
            let inserts = node
                .faults
                .times_ms("notifications", "sqlite.execute", "INSERT INTO notifications (");
            inserts.len()
        });
        assert_eq!(effects.iter().sum::<usize>(), 2, "one effect per message: {effects:?}");
        Ok(())
    })
}

#[test]
fn what_failed_is_told_and_comes_again() -> anyhow::Result<()> {
    simulate(async |world| {
        let unreadable = Event::new("1", "/todos", "todos.task.created").with_extension(DELIVERY_ATTEMPT, 1);
        bring(&world, &json::encode(&unreadable)?).await.remove(0)?;
        let contents = world.key_value.contents();
        let word = &contents.values[&outcome_key("notifications", "/todos", "1")];
        assert!(matches!(decode_outcome(word, 1), Some(selvedge::Outcome::Drop { .. })));

        // A replica dies with the message in its hands. The next attempt isn't held back by what it claimed.
        let node = world.node();
        node.faults.hit(
            "notifications",
            "sqlite.execute",
            "INSERT INTO notifications",
            1,
            Fault::Trap,
            When::Before,
        );
        let message = json::encode(&created("2", 1))?;
        let died = bring(&world, &message).await.remove(0);
        until_met(&world, &node, 1).await?;
        assert!(matches!(died, Err(selvedge_engine::Error::Call { .. })), "{died:?}");
        bring(&world, &message).await.remove(0)?;
        assert_eq!(
            notifications(&world, "u1").await,
            0,
            "the attempt that died is not made twice"
        );
        bring(&world, &json::encode(&created("2", 2))?).await.remove(0)?;
        world
            .until("it is told", Duration::from_secs(1), async || {
                notifications(&world, "u1").await == 1
            })
            .await
    })
}

#[test]
fn both_triggers_lead_to_the_same_effect() -> anyhow::Result<()> {
    simulate(async |world| {
        let node = world.node();
        let component = node.application.component("notifications").expect("it is there");
        for id in ["1", "2"] {
            let message = MqttMessage {
                topic: format!("anything/{id}"),
                payload: json::encode(&created(id, 1))?,
            };
            node.application.mqtt_message(component, message).await?;
        }
        // The one that the other trigger brought is done.
        let batch = json::encode_batch(&[created("2", 1), created("3", 1)])?;
        bring(&world, &batch).await.remove(0)?;
        assert_eq!(notifications(&world, "u1").await, 3);
        let no_event = MqttMessage {
            topic: "anything".to_owned(),
            payload: b"hello".to_vec(),
        };
        let refused = node.application.mqtt_message(component, no_event).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("isn't as it should be")));
        Ok(())
    })
}

#[test]
fn what_is_no_event_is_refused_with_a_reason() -> anyhow::Result<()> {
    simulate(async |world| {
        for payload in [&b"hello"[..], b"", b"{\"specversion\":\"1.0\"}"] {
            let Err(refused) = bring(&world, payload).await.remove(0) else {
                panic!("{payload:?} was heard");
            };
            assert!(refused.to_string().contains("isn't as it should be"), "{refused}");
        }
        let relay = world.node();
        let deaf = relay.application.component("relay").expect("it is there");
        let refused = relay.application.redis_message(deaf, b"[]".to_vec()).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("no effect")));
        Ok(())
    })
}
