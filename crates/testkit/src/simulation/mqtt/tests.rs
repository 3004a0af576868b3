use futures::StreamExt;

use super::super::broker::Fate;
use super::*;

fn options() -> MqttOptions {
    MqttOptions {
        address: "mqtt://127.0.0.1:1883?client_id=one".to_owned(),
        username: String::new(),
        password: String::new(),
        keep_alive: Duration::from_secs(30),
    }
}

async fn publish(broker: &SimulatedMqtt, topic: &str, payload: &str) -> Result<(), MqttError> {
    let connection = broker.connect(&options())?;
    connection
        .publish(topic, payload.as_bytes().to_vec(), MqttQos::AtLeastOnce)
        .await
}

/// What has come by now, and whether the connection is still there.
async fn heard(messages: &mut MqttMessages) -> (Vec<String>, bool) {
    let mut heard = Vec::new();
    while let Ok(message) = tokio::time::timeout(Duration::from_millis(1), messages.next()).await {
        match message {
            Some(message) => heard.push(String::from_utf8_lossy(&message.payload).into_owned()),
            None => return (heard, false),
        }
    }
    (heard, true)
}

#[tokio::test(start_paused = true)]
async fn topics_reach_those_whose_filters_fit() {
    let broker = SimulatedMqtt::default();
    let subscribe = |filter| broker.subscribe(&options(), filter).expect("it runs");
    let (mut all, mut one_level, mut exact) = (subscribe("todos/#"), subscribe("todos/+"), subscribe("todos/a/b"));
    for topic in ["todos", "todos/a", "todos/a/b", "orders/a"] {
        publish(&broker, topic, topic).await.expect("it is acknowledged");
    }
    assert_eq!(heard(&mut all).await.0, ["todos", "todos/a", "todos/a/b"]);
    assert_eq!(heard(&mut one_level).await.0, ["todos/a"]);
    assert_eq!(heard(&mut exact).await.0, ["todos/a/b"]);
    for filter in ["a/#/b", ""] {
        assert!(matches!(
            broker.subscribe(&options(), filter).err(),
            Some(MqttError::Other(_))
        ));
    }
    assert!(matches!(
        publish(&broker, "todos/+", "x").await,
        Err(MqttError::Other(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_shared_subscription_gives_each_message_to_one_of_its_group() {
    let broker = SimulatedMqtt::default();
    let subscribe = |filter| broker.subscribe(&options(), filter).expect("it runs");
    let (mut one, mut other) = (subscribe("$share/g/todos/#"), subscribe("$share/g/todos/#"));
    let (mut another_group, mut alone) = (subscribe("$share/h/todos/#"), subscribe("todos/#"));
    for payload in ["1", "2", "3", "4"] {
        publish(&broker, "todos/a", payload).await.expect("it is acknowledged");
    }
    assert_eq!(
        (heard(&mut one).await.0, heard(&mut other).await.0.len()),
        (vec!["1".to_owned(), "3".to_owned()], 2)
    );
    assert_eq!(
        (heard(&mut another_group).await.0.len(), heard(&mut alone).await.0.len()),
        (4, 4)
    );
    drop(one);
    publish(&broker, "todos/a", "5").await.expect("it is acknowledged");
    assert_eq!(heard(&mut other).await.0, ["5"], "who is gone gets no turn");
    assert_eq!(broker.listeners("$share/g/todos/#"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_connection() {
    let broker = SimulatedMqtt::default();
    let mut messages = broker.subscribe(&options(), "todos").expect("it runs");
    publish(&broker, "todos", "waits").await.expect("it is acknowledged");
    let connection = broker.connect(&options()).expect("an address");
    broker.stop();
    assert_eq!(heard(&mut messages).await, (vec![], false));
    let refused = connection.publish("todos", Vec::new(), MqttQos::AtLeastOnce).await;
    assert!(matches!(refused, Err(MqttError::ConnectionFailed(text)) if text.contains("127.0.0.1:1883")));
    assert!(matches!(
        broker.subscribe(&options(), "todos").err(),
        Some(MqttError::ConnectionFailed(_))
    ));
    broker.start();
    // Acknowledged, and heard by nobody.
    assert_eq!(
        connection.publish("todos", Vec::new(), MqttQos::AtLeastOnce).await,
        Ok(())
    );
    let mut messages = broker.subscribe(&options(), "todos").expect("it runs again");
    assert_eq!(heard(&mut messages).await, (vec![], true));
    assert_eq!(broker.published(), 2);
    for address in ["redis://127.0.0.1", "mqtt://", ""] {
        let options = MqttOptions {
            address: address.to_owned(),
            ..options()
        };
        assert_eq!(broker.connect(&options).err(), Some(MqttError::InvalidAddress));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_doubled_and_what_a_queue_has_no_room_for_is_dropped() {
    let broker = SimulatedMqtt::default();
    let mut messages = broker.subscribe(&options(), "todos").expect("it runs");
    broker.fates(|fates| fates.next(Fate::Doubled { after_ms: 0 }));
    publish(&broker, "todos", "twice").await.expect("it is acknowledged");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(heard(&mut messages).await.0, ["twice", "twice"]);
    for number in 0..super::super::broker::QUEUE_MAX + 5 {
        publish(&broker, "todos", &number.to_string())
            .await
            .expect("it is acknowledged");
    }
    let (heard, is_connected) = heard(&mut messages).await;
    assert_eq!((heard.len(), is_connected), (super::super::broker::QUEUE_MAX, true));
}
