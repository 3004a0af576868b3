//! Where message triggers listen, with the variables' values in it.

use std::time::Duration;

use super::error::ConfigError;
use super::manifest::{Manifest, MqttTrigger, RedisTrigger};
use super::variables::Variables;
use crate::ports::{MqttOptions, MqttQos};

/// A `[[trigger.redis]]` that can listen.
#[derive(Clone)]
pub struct RedisSource {
    /// The id of the component that it calls.
    pub component: String,
    /// The server's URL, which may hold a password.
    pub address: String,
    /// The channel.
    pub channel: String,
}

/// A `[[trigger.mqtt]]` that can listen.
#[derive(Clone)]
pub struct MqttSource {
    /// The id of the component that it calls.
    pub component: String,
    /// The broker.
    pub broker: MqttOptions,
    /// The topic filter.
    pub filter: String,
    /// The quality of service.
    pub qos: MqttQos,
}

/// The Redis triggers, in the manifest's order; an error where an address isn't a Redis server's. It doesn't show the value.
pub fn redis_sources(manifest: &Manifest, variables: &Variables) -> Result<Vec<RedisSource>, ConfigError> {
    let source = |trigger: &RedisTrigger| {
        let at = || manifest.at(trigger.line);
        let address = variables.expand_at(&trigger.address, at())?;
        if !has_scheme(&address, &["redis", "rediss"]) {
            let of = format!("of the redis trigger of \"{}\"", trigger.component);
            let problem = format!(
                "the address \"{}\" {of} is no redis:// or rediss:// URL {WITH_VALUES}",
                trigger.address
            );
            return Err(ConfigError::invalid(at(), problem, REMEDY));
        }
        Ok(RedisSource {
            component: trigger.component.clone(),
            address,
            channel: variables.expand_at(&trigger.channel, at())?,
        })
    };
    manifest.triggers.redis.iter().map(source).collect()
}

/// The MQTT triggers, in the manifest's order; an error where the address isn't an MQTT broker's, or a topic is none.
pub fn mqtt_sources(manifest: &Manifest, variables: &Variables) -> Result<Vec<MqttSource>, ConfigError> {
    let Some(broker) = &manifest.triggers.mqtt_broker else {
        return Ok(Vec::new());
    };
    let source = |trigger: &MqttTrigger| {
        let at = || manifest.at(trigger.line);
        let address = variables.expand_at(&broker.address, at())?;
        if !has_scheme(&address, &["mqtt", "mqtts", "tcp", "ssl"]) {
            let of = "of [application.trigger.mqtt]";
            let problem = format!(
                "the address \"{}\" {of} is no mqtt:// or mqtts:// URL {WITH_VALUES}",
                broker.address
            );
            return Err(ConfigError::invalid(at(), problem, REMEDY));
        }
        let filter = variables.expand_at(&trigger.topic, at())?;
        if !rumqttc::valid_filter(&filter) {
            let problem = format!(
                "the topic \"{}\" of an mqtt trigger is no topic filter {WITH_VALUES}",
                trigger.topic
            );
            let remedy = "write + for one level, and # for all that follow, at the end";
            return Err(ConfigError::invalid(at(), problem, remedy));
        }
        Ok(MqttSource {
            component: trigger.component.clone(),
            broker: MqttOptions {
                address,
                username: variables.expand_at(&broker.username, at())?,
                password: variables.expand_at(&broker.password, at())?,
                keep_alive: Duration::from_secs(broker.keep_alive_s),
            },
            filter,
            qos: match trigger.qos {
                0 => MqttQos::AtMostOnce,
                1 => MqttQos::AtLeastOnce,
                _ => MqttQos::ExactlyOnce,
            },
        })
    };
    manifest.triggers.mqtt.iter().map(source).collect()
}

const WITH_VALUES: &str = "with the values that its variables have";
const REMEDY: &str = "set the variables, or correct the address";

fn has_scheme(address: &str, schemes: &[&str]) -> bool {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| schemes.contains(&scheme))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    const MANIFEST: &str = r#"spin_manifest_version = 2
[application]
name = "app"
[application.trigger.mqtt]
address = "{{ url }}"
username = "user"
password = "{{ secret }}"
keep_alive_interval = "30"
[variables]
url = { default = "" }
secret = { default = "s3cret", secret = true }
topic = { default = "todos/#" }
[[trigger.redis]]
component = "a"
channel = "todos"
address = "{{ url }}"
[[trigger.mqtt]]
component = "a"
topic = "{{ topic }}"
qos = "2"
[component.a]
source = "a.wasm"
"#;

    fn read(values: &[(&str, &str)]) -> (Manifest, Variables) {
        let manifest = Manifest::parse(MANIFEST, Path::new("spin.toml"), Path::new("/")).expect("a manifest");
        let value = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let overrides: BTreeMap<String, String> = values.iter().map(value).collect();
        let variables = Variables::resolve(&manifest, &[], &overrides, &|_| None).expect("declared");
        (manifest, variables)
    }

    #[test]
    fn addresses_have_the_variables_values() {
        let (manifest, variables) = read(&[("url", "rediss://:p@host")]);
        let sources = redis_sources(&manifest, &variables).expect("a Redis URL");
        assert_eq!(
            (&*sources[0].address, &*sources[0].channel),
            ("rediss://:p@host", "todos")
        );
        let (manifest, variables) = read(&[("url", "mqtts://host:8883")]);
        let sources = mqtt_sources(&manifest, &variables).expect("an MQTT URL");
        let MqttSource {
            broker, filter, qos, ..
        } = &sources[0];
        assert_eq!(
            (&*broker.address, &*broker.username, &*broker.password),
            ("mqtts://host:8883", "user", "s3cret")
        );
        assert_eq!((&**filter, *qos), ("todos/#", MqttQos::ExactlyOnce));
    }

    #[test]
    fn an_address_of_something_else_is_refused_and_not_shown() {
        for url in ["", "hidden", "http://hidden", "redis:hidden", "://hidden"] {
            let (manifest, variables) = read(&[("url", url)]);
            for error in [
                redis_sources(&manifest, &variables).err().expect("no Redis URL"),
                mqtt_sources(&manifest, &variables).err().expect("no MQTT URL"),
            ] {
                let said = error.to_string();
                assert!(
                    said.starts_with("spin.toml, line ") && said.contains("{{ url }}"),
                    "{said}"
                );
                assert!(!said.contains("hidden"), "{said}");
            }
        }
    }

    #[test]
    fn a_topic_that_is_no_filter_is_refused() {
        for topic in ["", "a/#/b", "a+/b"] {
            let (manifest, variables) = read(&[("url", "mqtt://host"), ("topic", topic)]);
            let error = mqtt_sources(&manifest, &variables).err().expect(topic).to_string();
            assert!(error.contains("is no topic filter"), "{error}");
        }
    }
}
