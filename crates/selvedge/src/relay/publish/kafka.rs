//! Kafka: a record for each event, in binary mode, as the CloudEvents binding for Kafka has it.
//!
//! A record's key is the event's `partitionkey`, or its stream, so that a stream's events stay in one partition and in
//! order. The broker's acknowledgement, after all replicas that are in sync have the record, settles the event.

use bytes::Bytes;
use selvedge_events::{Event, json, kafka_binding};
use selvedge_kafka::error::Error as KafkaError;
use selvedge_kafka::{Client, Message, Producer, address};

use crate::delivery::Outcome;
use crate::relay::parcel::Parcel;
use crate::subscription::Address;
use crate::{Error, Host};

/// The variable with the brokers' addresses.
const BROKERS: &str = "kafka_brokers";

/// Writes the events of a parcel to a topic, and says of each what became of it.
pub(super) async fn to_topic(
    host: &Host,
    parcel: &Parcel,
    address: &Address,
    topic: &str,
    bodies: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    let now_ms = host.now_ms();
    let read = parcel.items.iter().zip(&bodies).map(|(item, body)| {
        let event = json::decode(body)?;
        message(&event, &item.stream, now_ms)
    });
    let (mut outcomes, mut places, mut messages) = (Vec::with_capacity(bodies.len()), Vec::new(), Vec::new());
    for (place, message) in read.enumerate() {
        match message {
            Err(error) => outcomes.push(Outcome::drop(format!("{address}: {error}"))),
            Ok(message) => {
                outcomes.push(Outcome::Success);
                places.push(place);
                messages.push(message);
            }
        }
    }
    let brokers = brokers(host).await?;
    let timeout_ms = i32::try_from(parcel.subscription.timeout_ms).unwrap_or(i32::MAX);
    let mut kept = host.kafka_producer().lock().await;
    // Put back only when it is known what became of everything: whoever drops this future leaves no producer behind.
    let mut producer = match kept.take() {
        Some((known, producer)) if known == brokers => producer,
        _ => Producer::new(host.kafka(address::parse(&brokers).map_err(|error| configuration(&error))?)),
    };
    let written = producer.send(topic, &messages, timeout_ms).await;
    *kept = Some((brokers, producer));
    let written = written.map_err(|error| broker(address, &error))?;
    for (place, written) in places.into_iter().zip(written) {
        if let Err(error) = written {
            outcomes[place] = refusal(address, &error);
        }
    }
    Ok(outcomes)
}

/// Asks the cluster whether it is there.
pub(super) async fn check(host: &Host, address: &Address) -> Result<(), Error> {
    client(host)
        .await?
        .check()
        .await
        .map_err(|error| broker(address, &error))
}

/// A client of the cluster that the variable names.
pub(in crate::relay) async fn client(host: &Host) -> Result<Client, Error> {
    let brokers = brokers(host).await?;
    Ok(host.kafka(address::parse(&brokers).map_err(|error| configuration(&error))?))
}

async fn brokers(host: &Host) -> Result<String, Error> {
    host.variable(BROKERS).await?.ok_or_else(|| Error::Configuration {
        name: format!("the variable {BROKERS}"),
        reason:
            "is empty: set it to the brokers' addresses, <IP address>:<port> with commas between, and give it to the \
                 component"
                .to_owned(),
    })
}

fn message(event: &Event, stream: &str, now_ms: i64) -> Result<Message, selvedge_events::Error> {
    let record = kafka_binding::encode_binary(event)?;
    let headers = record.headers.into_iter();
    Ok(Message {
        key: Some(Bytes::copy_from_slice(
            event.partitionkey().unwrap_or(stream).as_bytes(),
        )),
        headers: headers.map(|(name, value)| (name, value.into())).collect(),
        value: record.value.map(Bytes::from),
        timestamp_ms: event.time.map_or(now_ms, |time| time.unix_ms()),
    })
}

/// A record that the broker will never take is a dead letter at once.
fn refusal(address: &Address, error: &KafkaError) -> Outcome {
    let reason = format!("{address}: {error}");
    match error {
        KafkaError::Refused { code, .. } if code.is_about_record() => Outcome::drop(reason),
        _ => Outcome::retry(reason),
    }
}

fn broker(address: &Address, error: &KafkaError) -> Error {
    Error::Broker {
        address: address.to_string(),
        reason: error.to_string(),
    }
}

fn configuration(error: &KafkaError) -> Error {
    Error::Configuration {
        name: format!("the variable {BROKERS}"),
        reason: format!("is wrong: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use selvedge_kafka::error::Code;

    use super::*;

    #[test]
    fn the_key_is_the_partitionkey_or_the_stream() {
        let event = Event::new("1", "/todos", "todos.task.created");
        let key = |event: &Event| message(event, "todo/t1", 5).expect("a valid event").key;
        assert_eq!(key(&event).as_deref(), Some(&b"todo/t1"[..]));
        assert_eq!(
            key(&event.with_extension("partitionkey", "u1")).as_deref(),
            Some(&b"u1"[..])
        );
    }

    #[test]
    fn only_what_the_broker_never_takes_is_given_up_at_once() {
        let address = Address::Kafka {
            topic: "todos".to_owned(),
        };
        let refused = |code| {
            let error = KafkaError::Refused {
                what: "a record".to_owned(),
                code,
            };
            refusal(&address, &error)
        };
        assert!(
            matches!(refused(Code::MESSAGE_TOO_LARGE), Outcome::Drop { reason } if reason.starts_with("kafka:todos: "))
        );
        assert!(matches!(refused(Code::UNKNOWN_TOPIC), Outcome::Retry { .. }));
    }
}
