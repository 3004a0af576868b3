//! The bus contract on every bus, and the table in the README that follows from it.

use selvedge_testkit::bus::{Bus, Features, contract};
use selvedge_testkit::servers::{Access, KafkaBroker, Mosquitto, RedisServer};

use crate::harness::root;

/// No broker: the relay calls the function.
struct Local;

impl Bus for Local {
    fn features(&self) -> Features {
        Features {
            name: "function",
            settled_by: "the function's answer",
            has_consumers: true,
            order: "kept",
            nobody_listens: "tried again",
            replicas: "one of them is asked",
            batches: "batches",
        }
    }

    fn subscription(&self, _place: &str) -> String {
        "target = \"function:listener\"".to_owned()
    }

    fn trigger(&self, place: &str) -> String {
        format!("[[trigger.http]]\nroute = \"/listener/{place}\"\ncomponent = \"listener\"\n")
    }
}

/// Redis channels, heard by the Redis trigger.
struct RedisChannel(RedisServer);

impl Bus for RedisChannel {
    fn features(&self) -> Features {
        Features {
            name: "redis",
            settled_by: "its consumers' done markers",
            has_consumers: true,
            order: "kept",
            nobody_listens: "published again",
            replicas: "all get it, one takes it",
            batches: "batches; with `consumers = []` one by one",
        }
    }

    fn subscription(&self, place: &str) -> String {
        format!("target = \"redis:{place}\"\nconsumers = [\"probe\"]")
    }

    fn trigger(&self, place: &str) -> String {
        format!(
            "[[trigger.redis]]\naddress = \"{{{{ redis_url }}}}\"\nchannel = \"{place}\"\ncomponent = \"listener\"\n"
        )
    }

    fn hosts(&self) -> &'static [&'static str] {
        &["redis://*:*"]
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("redis_url", self.0.url())]
    }

    fn kill(&mut self) -> anyhow::Result<bool> {
        self.0.kill()?;
        Ok(true)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.0.start_again()
    }
}

/// Redis streams, read by somebody else.
struct RedisStream(RedisServer);

impl Bus for RedisStream {
    fn features(&self) -> Features {
        Features {
            name: "redis-stream",
            settled_by: "the server's acknowledgement",
            has_consumers: false,
            order: "kept",
            nobody_listens: "kept by the stream, up to its length",
            replicas: "as the consumer group says",
            batches: "one by one, pipelined",
        }
    }

    fn subscription(&self, place: &str) -> String {
        format!("target = \"redis-stream:{place}\"")
    }

    fn trigger(&self, _place: &str) -> String {
        String::new()
    }

    fn hosts(&self) -> &'static [&'static str] {
        &["redis://*:*"]
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("redis_url", self.0.url())]
    }

    fn kill(&mut self) -> anyhow::Result<bool> {
        self.0.kill()?;
        Ok(true)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.0.start_again()
    }

    fn taken_by_others(&self, place: &str) -> anyhow::Result<Vec<String>> {
        self.0.entries(place)
    }
}

/// MQTT topics, heard by the MQTT trigger.
struct Mqtt(Mosquitto);

impl Bus for Mqtt {
    fn features(&self) -> Features {
        Features {
            name: "mqtt",
            settled_by: "its consumers' done markers",
            has_consumers: true,
            order: "kept",
            nobody_listens: "published again",
            replicas: "all get it, one takes it; with `$share/…` one gets it",
            batches: "one by one",
        }
    }

    fn subscription(&self, place: &str) -> String {
        format!("target = \"mqtt:{place}/{{type}}\"\nconsumers = [\"probe\"]")
    }

    fn trigger(&self, place: &str) -> String {
        format!("[[trigger.mqtt]]\ntopic = \"{place}/#\"\nqos = \"1\"\ncomponent = \"listener\"\n")
    }

    fn trigger_settings(&self) -> &'static str {
        "[application.trigger.mqtt]\naddress = \"{{ mqtt_url }}\"\nusername = \"\"\npassword = \"\"\nkeep_alive_interval = \"30\"\n"
    }

    fn hosts(&self) -> &'static [&'static str] {
        &["mqtt://*:*"]
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("mqtt_url", self.0.url())]
    }

    fn kill(&mut self) -> anyhow::Result<bool> {
        self.0.kill()?;
        Ok(true)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.0.start_again()
    }
}

/// Kafka topics, read by somebody else.
struct Kafka(KafkaBroker);

impl Bus for Kafka {
    fn features(&self) -> Features {
        Features {
            name: "kafka",
            settled_by: "the broker's acknowledgement (`acks=all`)",
            has_consumers: false,
            order: "kept, by key",
            nobody_listens: "kept by the topic",
            replicas: "as the consumer group says",
            batches: "batches",
        }
    }

    fn subscription(&self, place: &str) -> String {
        format!("target = \"kafka:{place}\"")
    }

    fn trigger(&self, _place: &str) -> String {
        String::new()
    }

    fn hosts(&self) -> &'static [&'static str] {
        &["tcp://127.0.0.1:*"]
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("kafka_brokers", self.0.address())]
    }

    fn kill(&mut self) -> anyhow::Result<bool> {
        self.0.freeze()?;
        Ok(true)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        Ok(self.0.thaw()?)
    }

    fn taken_by_others(&self, place: &str) -> anyhow::Result<Vec<String>> {
        self.0.events(place)
    }
}

#[test]
fn function() -> anyhow::Result<()> {
    contract::hold(&mut Local, &root())
}

#[test]
fn redis_channel() -> anyhow::Result<()> {
    contract::hold(&mut RedisChannel(RedisServer::start(Access::Open)?), &root())
}

#[test]
fn redis_stream() -> anyhow::Result<()> {
    contract::hold(&mut RedisStream(RedisServer::start(Access::Open)?), &root())
}

#[test]
fn mqtt() -> anyhow::Result<()> {
    contract::hold(&mut Mqtt(Mosquitto::start(Access::Open)?), &root())
}

#[test]
fn kafka() -> anyhow::Result<()> {
    contract::hold(&mut Kafka(KafkaBroker::start(&root())?), &root())
}
