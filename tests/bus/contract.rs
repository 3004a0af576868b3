//! The bus contract on every bus, and the table in the README that follows from it.

use anyhow::Context;
use selvedge_testkit::bus::{Bus, Features, contract, table};
use selvedge_testkit::servers::{Access, KafkaBroker, Mosquitto, RedisServer};

use super::dapr::{DAPR, Dapr};
use crate::harness::root;

const FUNCTION: Features = Features {
    name: "function",
    settled_by: "the function's answer",
    has_consumers: true,
    order: "kept",
    nobody_listens: "tried again",
    replicas: "one of them is asked",
    batches: "batches",
};

/// No broker: the relay calls the function.
struct Local;

impl Bus for Local {
    fn features(&self) -> Features {
        FUNCTION
    }

    fn subscription(&self, _place: &str) -> String {
        "target = \"function:listener\"".to_owned()
    }

    fn trigger(&self, place: &str) -> String {
        format!("[[trigger.http]]\nroute = \"/listener/{place}\"\ncomponent = \"listener\"\n")
    }
}

const REDIS_CHANNEL: Features = Features {
    name: "redis",
    settled_by: "its consumers' done markers",
    has_consumers: true,
    order: "kept",
    nobody_listens: "published again",
    replicas: "all get it, one takes it",
    batches: "batches; with `consumers = []` one by one",
};

/// Redis channels, heard by the Redis trigger.
struct RedisChannel(RedisServer);

impl Bus for RedisChannel {
    fn features(&self) -> Features {
        REDIS_CHANNEL
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

const REDIS_STREAM: Features = Features {
    name: "redis-stream",
    settled_by: "the server's acknowledgement",
    has_consumers: false,
    order: "kept",
    nobody_listens: "kept by the stream, up to its length",
    replicas: "as the consumer group says",
    batches: "one by one, pipelined",
};

/// Redis streams, read by somebody else.
struct RedisStream(RedisServer);

impl Bus for RedisStream {
    fn features(&self) -> Features {
        REDIS_STREAM
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

const MQTT: Features = Features {
    name: "mqtt",
    settled_by: "its consumers' done markers",
    has_consumers: true,
    order: "kept",
    nobody_listens: "published again",
    replicas: "all get it, one takes it; with `$share/…` one gets it",
    batches: "one by one",
};

/// MQTT topics, heard by the MQTT trigger.
struct Mqtt(Mosquitto);

impl Bus for Mqtt {
    fn features(&self) -> Features {
        MQTT
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

const KAFKA: Features = Features {
    name: "kafka",
    settled_by: "the broker's acknowledgement (`acks=all`)",
    has_consumers: false,
    order: "kept, by key",
    nobody_listens: "kept by the topic",
    replicas: "as the consumer group says",
    batches: "batches",
};

impl Bus for Kafka {
    fn features(&self) -> Features {
        KAFKA
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

/// Kafka topics, heard by functions of the application.
struct FromKafka(Kafka);

const FROM_KAFKA: Features = Features {
    name: "kafka, heard by functions",
    settled_by: "the function's answer; then its offset is committed",
    has_consumers: true,
    replicas: "one of them reads the topic",
    ..KAFKA
};

impl Bus for FromKafka {
    fn features(&self) -> Features {
        FROM_KAFKA
    }

    fn subscription(&self, place: &str) -> String {
        format!("from = \"kafka:{place}\"\ntarget = \"function:listener\"")
    }

    fn publisher(&self, place: &str) -> Option<String> {
        Some(format!("{}\norder = \"stream\"", self.0.subscription(place)))
    }

    fn trigger(&self, place: &str) -> String {
        Local.trigger(place)
    }

    fn consumer(&self) -> Option<&'static str> {
        Some("kafka-consumer")
    }

    fn hosts(&self) -> &'static [&'static str] {
        self.0.hosts()
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        self.0.variables()
    }

    fn kill(&mut self) -> anyhow::Result<bool> {
        self.0.kill()
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.0.start_again()
    }
}

/// Every bus that the contract is tried on, in the order of the README's table.
fn features() -> [Features; 7] {
    [FUNCTION, REDIS_CHANNEL, REDIS_STREAM, MQTT, KAFKA, FROM_KAFKA, DAPR]
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

#[test]
fn from_kafka() -> anyhow::Result<()> {
    contract::hold(&mut FromKafka(Kafka(KafkaBroker::start(&root())?)), &root())
}

#[test]
fn dapr() -> anyhow::Result<()> {
    contract::hold(&mut Dapr::start()?, &root())
}

/// Where the table stands in the README, between the lines that say so.
const BEGIN: &str =
    "<!-- The table of the bus contract: `SELVEDGE_WRITE=1 cargo xtask test --only bus` writes it. -->\n";
const END: &str = "<!-- The end of the table. -->";

#[test]
fn the_table_in_the_readme_is_what_the_suite_tries() -> anyhow::Result<()> {
    let file = root().join("README.md");
    let readme = std::fs::read_to_string(&file)?;
    let (before, rest) = readme
        .split_once(BEGIN)
        .context("README.md has no place for the table")?;
    let (found, after) = rest.split_once(END).context("README.md has no end of the table")?;
    let expected = format!("\n{}\n", table(&features()));
    if std::env::var_os("SELVEDGE_WRITE").is_some() {
        return Ok(std::fs::write(&file, format!("{before}{BEGIN}{expected}{END}{after}"))?);
    }
    assert_eq!(
        found, expected,
        "the README's table is another one: SELVEDGE_WRITE=1 writes it anew"
    );
    Ok(())
}
