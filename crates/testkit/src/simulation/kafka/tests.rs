use std::rc::Rc;

use selvedge_kafka::consume::{Begin, Consumer};
use selvedge_kafka::transport::{LocalFuture, Stream, Transport};
use selvedge_kafka::{Client, Error, Message, Producer, address};

use super::*;

/// Our client's way to the broker.
struct Direct(SimulatedKafka);

impl Transport for Direct {
    fn connect(&self, address: SocketAddr) -> LocalFuture<'_, Result<Box<dyn Stream>, String>> {
        Box::pin(async move {
            let connection = TcpNetwork::connect(&self.0, address).await;
            let connection = connection.map_err(|error| error.to_string())?;
            Ok(Box::new(Bytewise(connection)) as Box<dyn Stream>)
        })
    }

    fn wait(&self, duration_ms: u64) -> LocalFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(duration_ms)))
    }
}

/// A connection whose bytes arrive one by one.
struct Bytewise(Arc<dyn TcpConnection>);

impl Stream for Bytewise {
    fn send(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), String>> {
        Box::pin(async move {
            for byte in bytes {
                let sent = self.0.send(Bytes::copy_from_slice(&[byte])).await;
                sent.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
    }

    fn receive(&mut self) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let received = self.0.receive().await.map_err(|error| error.to_string())?;
            Ok(received.to_vec())
        })
    }
}

fn client(broker: &SimulatedKafka) -> Client {
    let brokers = address::parse(ADDRESS).expect("an address");
    Client::new(Rc::new(Direct(broker.clone())), brokers)
}

fn message(key: &str, value: &str) -> Message {
    Message {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..Message::default()
    }
}

/// A record that is no event.
fn no_event() -> kafka_binding::Record {
    kafka_binding::Record {
        headers: Vec::new(),
        value: None,
    }
}

async fn consumer(broker: &SimulatedKafka, group: &str) -> Consumer {
    let mut consumer = Consumer::new(client(broker), group.to_owned(), "todos".to_owned(), Begin::Oldest);
    consumer.start().await.expect("it finds its place");
    consumer
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_read_again_until_it_is_committed() {
    let broker = SimulatedKafka::default();
    let mut producer = Producer::new(client(&broker));
    for value in ["a", "b", "c"] {
        let sent = producer.send("todos", &[message("t1", value)], 1_000).await;
        assert_eq!(sent.expect("it is written"), [Ok(())]);
    }
    assert_eq!(broker.written(), 3);
    for _ in 0..2 {
        let fetched = consumer(&broker, "one").await.next().await.expect("it is read");
        assert_eq!(fetched.records.len(), 3);
        assert!(fetched.is_end);
        assert_eq!(broker.behind(), [("one".to_owned(), "todos".to_owned(), 3)]);
    }
    let mut reader = consumer(&broker, "one").await;
    let fetched = reader.next().await.expect("it is read");
    reader.commit(&fetched.ends).await.expect("it is committed");
    assert_eq!(broker.behind(), []);
    let nothing = consumer(&broker, "one").await.next().await.expect("it waits and ends");
    assert!(nothing.records.is_empty());
    let all = consumer(&broker, "two").await.next().await.expect("it is read");
    assert_eq!(all.records.len(), 3, "groups have offsets of their own");
    assert_eq!(broker.groups("todos"), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_records_that_come_meanwhile() {
    let broker = SimulatedKafka::default();
    let mut reader = consumer(&broker, "one").await;
    let begun = Instant::now();
    let other = broker.clone();
    let writing = async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        other.write("todos", 2, &no_event());
    };
    let (fetched, ()) = tokio::join!(reader.next(), writing);
    let fetched = fetched.expect("it is read");
    assert_eq!(fetched.records.len(), 1, "{fetched:?} after {:?}", begun.elapsed());
    assert_eq!(fetched.records[0].partition, 2);
    assert_eq!(begun.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_comes_again_is_written_once() {
    let mut log = Log::default();
    let partition = &mut log.topic("todos")[0];
    let first = requests::batch(1, &no_event()).expect("a batch");
    assert_eq!(partition.append(&first), Ok(0));
    assert_eq!(partition.append(&first), Ok(0));
    assert_eq!(partition.end, 1);
    let other = requests::batch(2, &no_event()).expect("a batch");
    assert_eq!(partition.append(&other), Ok(1));
    assert!(partition.append(&other[..40]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_restart_ends_connections_and_keeps_what_was_acknowledged() {
    let broker = SimulatedKafka::default();
    let mut producer = Producer::new(client(&broker));
    producer
        .send("todos", &[message("t1", "a")], 1_000)
        .await
        .expect("it is written");
    let mut reader = consumer(&broker, "one").await;
    reader.next().await.expect("it is read");
    broker.restart(Duration::from_millis(3_000));
    let unreachable = producer.send("todos", &[message("t1", "b")], 1_000).await;
    assert!(matches!(unreachable, Err(Error::Unreachable { .. })), "{unreachable:?}");
    assert!(matches!(reader.next().await, Err(Error::Closed { .. })));
    tokio::time::sleep(Duration::from_millis(3_001)).await;
    producer
        .send("todos", &[message("t1", "b")], 1_000)
        .await
        .expect("it is written");
    let fetched = consumer(&broker, "one").await.next().await.expect("it is read");
    assert_eq!(fetched.records.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_ends_the_connection() {
    let broker = SimulatedKafka::default();
    let address = ADDRESS.parse().expect("an address");
    for rubbish in [
        &[0, 0, 0, 1, 7][..],
        &[0, 0, 0, 4, 0, 3, 0, 99],
        &[0, 0, 0, 4, 127, 0, 0, 0],
    ] {
        let connection = broker.connect(address).await.expect("it runs");
        connection
            .send(Bytes::copy_from_slice(rubbish))
            .await
            .expect("it arrives");
        assert_eq!(connection.receive().await, Ok(Bytes::new()));
    }
    let elsewhere = "127.0.0.1:9093".parse().expect("an address");
    assert!(matches!(
        broker.connect(elsewhere).await,
        Err(TcpError::ConnectionRefused)
    ));
}
