//! Publishing.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::mqtt_client::test_broker::{accept, options, packet};
use super::*;

/// The packet id of a PUBLISH with QoS 1 or 2.
fn packet_id(body: &[u8]) -> [u8; 2] {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    [body[2 + topic], body[3 + topic]]
}

async fn broker() -> (TcpListener, RealMqttConnection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("mqtt://{}?client_id=test", listener.local_addr().unwrap());
    (listener, RealMqttConnection::open(options(address)).unwrap())
}

#[tokio::test]
async fn addresses_that_are_wrong_are_refused_at_once() {
    for address in [
        "",
        "localhost:1883",
        "http://localhost?client_id=x",
        "mqtt://localhost",
        "mqtt://localhost?client_id=x&unknown=1",
        "mqtt://localhost?client_id=x&inflight_num=0",
        "mqtt://localhost?client_id=&clean_session=false",
    ] {
        let error = RealMqttConnection::open(options(address.into())).err();
        assert_eq!(error, Some(MqttError::InvalidAddress), "{address}");
    }
}

#[tokio::test]
async fn a_topic_with_wildcards_and_a_broker_that_is_not_there_are_told_quickly() {
    let (listener, connection) = broker().await;
    drop(listener);
    let start = Instant::now();
    let wildcard = connection.publish("a/#", Vec::new(), MqttQos::AtMostOnce).await;
    assert!(matches!(wildcard, Err(MqttError::Other(_))), "{wildcard:?}");
    let refused = connection.publish("a", Vec::new(), MqttQos::AtMostOnce).await;
    assert!(matches!(refused, Err(MqttError::ConnectionFailed(_))), "{refused:?}");
    assert!(start.elapsed() < BROKER_CONNECT_TIMEOUT);
}

#[tokio::test]
async fn each_publish_returns_with_its_own_acknowledgement() {
    let (listener, connection) = broker().await;
    let connection = std::sync::Arc::new(connection);
    let publish = |topic: &'static str, qos| {
        let connection = std::sync::Arc::clone(&connection);
        tokio::spawn(async move { connection.publish(topic, b"payload".to_vec(), qos).await })
    };
    let first = publish("first", MqttQos::AtLeastOnce);
    let mut stream = accept(&listener).await;
    let (kind, first_body) = packet(&mut stream).await.unwrap();
    assert_eq!(kind, 0x32);
    let second = publish("second", MqttQos::ExactlyOnce);
    let (kind, second_body) = packet(&mut stream).await.unwrap();
    assert_eq!(kind, 0x34);
    assert_eq!(
        publish("third", MqttQos::AtMostOnce).await.unwrap(),
        Ok(()),
        "QoS 0 waits for nothing"
    );
    assert_eq!(packet(&mut stream).await.unwrap().0, 0x30);

    let [high, low] = packet_id(&second_body);
    stream.write_all(&[0x50, 2, high, low]).await.unwrap();
    assert_eq!(packet(&mut stream).await.unwrap(), (0x62, vec![high, low]), "PUBREL");
    stream.write_all(&[0x70, 2, high, low]).await.unwrap();
    assert_eq!(second.await.unwrap(), Ok(()));
    assert!(!first.is_finished(), "the second's acknowledgement isn't the first's");
    let [high, low] = packet_id(&first_body);
    stream.write_all(&[0x40, 2, high, low]).await.unwrap();
    assert_eq!(first.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_lost_connection_fails_who_waits_and_the_next_message_connects_again() {
    let (listener, connection) = broker().await;
    let connection = std::sync::Arc::new(connection);
    let publisher = std::sync::Arc::clone(&connection);
    let lost = tokio::spawn(async move { publisher.publish("topic", Vec::new(), MqttQos::AtLeastOnce).await });
    let mut stream = accept(&listener).await;
    assert_eq!(packet(&mut stream).await.unwrap().0, 0x32);
    drop(stream);
    let lost = lost.await.unwrap();
    assert!(matches!(lost, Err(MqttError::ConnectionFailed(_))), "{lost:?}");

    let again = tokio::spawn(async move { connection.publish("topic", Vec::new(), MqttQos::AtLeastOnce).await });
    let mut stream = accept(&listener).await;
    let (kind, body) = packet(&mut stream).await.unwrap();
    assert_eq!(kind, 0x32, "not the lost message's duplicate");
    let [high, low] = packet_id(&body);
    stream.write_all(&[0x40, 2, high, low]).await.unwrap();
    assert_eq!(again.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn the_event_loop_ends_with_its_connection() {
    let (listener, connection) = broker().await;
    let publishing = connection.publish("topic", Vec::new(), MqttQos::AtMostOnce);
    let (result, mut stream) = tokio::join!(publishing, accept(&listener));
    assert_eq!(result, Ok(()));
    assert_eq!(packet(&mut stream).await.unwrap().0, 0x30);
    drop(connection);
    assert_eq!(packet(&mut stream).await, None, "the socket is closed");
}
