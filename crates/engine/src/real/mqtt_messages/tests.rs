//! Hearing.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::mqtt_client::test_broker::{accept, accept_with, options, packet};
use super::*;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn subscribe_to(address: SocketAddr, filter: &str) -> Result<MqttMessages, MqttError> {
    subscribe(options(format!("mqtt://{address}")), filter, MqttQos::AtLeastOnce).await
}

/// Takes a connection, and answers its SUBSCRIBE to a/# at QoS 1 with this code.
async fn subscribed_with(listener: &TcpListener, code: u8) -> TcpStream {
    let mut stream = accept(listener).await;
    let (kind, body) = packet(&mut stream).await.unwrap();
    assert_eq!((kind, &body[2..]), (0x82, &b"\0\x03a/#\x01"[..]));
    stream.write_all(&[0x90, 3, body[0], body[1], code]).await.unwrap();
    stream
}

#[tokio::test]
async fn messages_come_with_their_topics_and_are_acknowledged() {
    let (listener, address) = listener().await;
    let (messages, mut stream) = tokio::join!(subscribe_to(address, "a/#"), subscribed_with(&listener, 1));
    let mut messages = messages.unwrap();
    stream.write_all(b"\x32\x09\0\x03a/b\0\x07hi").await.unwrap();
    let message = messages.next().await.unwrap();
    assert_eq!((&*message.topic, &*message.payload), ("a/b", &b"hi"[..]));
    assert_eq!(packet(&mut stream).await.unwrap(), (0x40, vec![0, 7]), "PUBACK");
    drop(stream);
    assert_eq!(messages.next().await, None, "the connection is lost");
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let (listener, address) = listener().await;
    let (messages, mut stream) = tokio::join!(subscribe_to(address, "a/#"), subscribed_with(&listener, 1));
    for _ in 0..=MQTT_QUEUE_MAX {
        stream.write_all(b"\x32\x09\0\x03a/b\0\x07hi").await.unwrap();
        assert_eq!(
            packet(&mut stream).await.unwrap().0,
            0x40,
            "whoever waits for its turn doesn't hold others up"
        );
    }
    drop(stream);
    assert_eq!(messages.unwrap().count().await, MQTT_QUEUE_MAX);
}

#[tokio::test]
async fn a_refused_subscription_is_told() {
    let (listener, address) = listener().await;
    let (messages, _stream) = tokio::join!(subscribe_to(address, "a/#"), subscribed_with(&listener, 0x80));
    let Err(MqttError::Other(text)) = messages else {
        panic!("it was refused");
    };
    assert!(text.contains("may this user hear"), "{text}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let (listener, address) = listener().await;
    let mut options = options(format!("mqtt://{address}"));
    (options.username, options.password) = ("user".to_owned(), "secret".to_owned());
    let subscribing = subscribe(options, "a/#", MqttQos::AtLeastOnce);
    let (messages, _stream) = tokio::join!(subscribing, accept_with(&listener, 5));
    let Err(MqttError::ConnectionFailed(text)) = messages else {
        panic!("it was refused");
    };
    assert!(text.contains("user and password") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn what_can_not_work_is_told_at_once() {
    let (listener, address) = listener().await;
    drop(listener);
    let start = Instant::now();
    for filter in ["", "a/#/b", "a+"] {
        let refused = subscribe_to(address, filter).await.err();
        assert!(
            matches!(&refused, Some(MqttError::Other(text)) if text.contains("filter")),
            "{refused:?}"
        );
    }
    let refused = subscribe_to(address, "a").await.err();
    assert!(matches!(refused, Some(MqttError::ConnectionFailed(_))), "{refused:?}");
    let wrong = subscribe(options("http://x".to_owned()), "a", MqttQos::AtMostOnce).await;
    assert_eq!(wrong.err(), Some(MqttError::InvalidAddress));
    assert!(start.elapsed() < BROKER_CONNECT_TIMEOUT);
}

#[tokio::test]
async fn a_broker_that_never_answers_is_given_up() {
    let (_listener, address) = listener().await;
    let start = Instant::now();
    let silent = subscribe_to(address, "a").await.err();
    assert!(
        matches!(&silent, Some(MqttError::ConnectionFailed(text)) if text.contains("doesn't answer")),
        "{silent:?}"
    );
    assert!(start.elapsed() < 2 * BROKER_CONNECT_TIMEOUT);
}
