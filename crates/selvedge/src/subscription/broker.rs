//! Message brokers, as `subscriptions.toml` names them.

/// Events that are published to a broker, and who is to be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Where they are published.
    pub address: Address,
    /// The functions that must be done with an event before it is settled, by their names. Empty: the broker's
    /// acknowledgement settles it.
    pub consumers: Vec<String>,
}

/// A place in a broker, where events are published and taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Redis channel: whoever doesn't listen just now misses the message.
    RedisChannel {
        /// Its name.
        channel: String,
    },
    /// A Redis stream, which keeps its newest entries.
    RedisStream {
        /// Its key.
        stream: String,
    },
    /// An MQTT topic.
    Mqtt {
        /// Its name, without wildcards. Its dots become slashes, and `{type}` in it the event's type.
        topic: String,
    },
    /// A Kafka topic.
    Kafka {
        /// Its name.
        topic: String,
    },
    /// A topic of one of Dapr's pub/sub components.
    Dapr {
        /// The component's name.
        pubsub: String,
        /// The topic's name.
        topic: String,
    },
}

impl Address {
    /// Reads `redis:<channel>`, `redis-stream:<stream>`, `mqtt:<topic>`, `kafka:<topic>` or `dapr:<pubsub>/<topic>`.
    /// `None` when it is of no such kind.
    ///
    /// ```
    /// use selvedge::subscription::Address;
    ///
    /// let address = Address::parse("dapr:pubsub/todos").expect("of a known kind").expect("whole");
    /// assert_eq!(address.to_string(), "dapr:pubsub/todos");
    /// assert!(Address::parse("kafka:two words").expect("of a known kind").is_err());
    /// assert!(Address::parse("function:todos").is_none());
    /// ```
    ///
    /// # Errors
    /// Inside: what is wrong with the name after the colon, and how it must be.
    pub fn parse(text: &str) -> Option<Result<Self, &'static str>> {
        let (kind, rest) = text.split_once(':')?;
        let name = rest.to_owned();
        let address = match kind {
            "redis" if is_key(rest) => Ok(Self::RedisChannel { channel: name }),
            "redis-stream" if is_key(rest) => Ok(Self::RedisStream { stream: name }),
            "redis" | "redis-stream" => Err("must have a name of 1 to 255 characters without spaces"),
            "mqtt" if is_key(rest) && is_topic(rest) => Ok(Self::Mqtt { topic: name }),
            "mqtt" => Err(
                "must have a topic of 1 to 255 characters, without spaces, `+`, `#`, `$` at its begin, and braces other than \
                 those of `{type}`, which stands for the event's type",
            ),
            "kafka" if is_kafka_topic(rest) => Ok(Self::Kafka { topic: name }),
            "kafka" => Err("must have a topic of 1 to 249 letters, digits, `.`, `_` and `-`"),
            "dapr" => match rest.split_once('/') {
                Some((pubsub, topic)) if is_key(pubsub) && is_key(topic) => Ok(Self::Dapr {
                    pubsub: pubsub.to_owned(),
                    topic: topic.to_owned(),
                }),
                _ => Err("must be \"dapr:<pubsub>/<topic>\", each without spaces"),
            },
            _ => return None,
        };
        Some(address)
    }

    /// Its kind, as it is written before the colon.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RedisChannel { .. } => "redis",
            Self::RedisStream { .. } => "redis-stream",
            Self::Mqtt { .. } => "mqtt",
            Self::Kafka { .. } => "kafka",
            Self::Dapr { .. } => "dapr",
        }
    }

    /// The broker's own name, which is the same for all places in it: `redis`, `mqtt`, `kafka` or `dapr`.
    pub fn broker(&self) -> &'static str {
        match self {
            Self::RedisChannel { .. } | Self::RedisStream { .. } => "redis",
            Self::Mqtt { .. } | Self::Kafka { .. } | Self::Dapr { .. } => self.kind(),
        }
    }

    /// Whether a message can get lost after the broker took it: then only its consumers can say that it is done.
    pub fn loses_messages(&self) -> bool {
        matches!(self, Self::RedisChannel { .. } | Self::Mqtt { .. })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind();
        match self {
            Self::RedisChannel { channel: name }
            | Self::RedisStream { stream: name }
            | Self::Mqtt { topic: name }
            | Self::Kafka { topic: name } => write!(formatter, "{kind}:{name}"),
            Self::Dapr { pubsub, topic } => write!(formatter, "{kind}:{pubsub}/{topic}"),
        }
    }
}

fn is_key(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.chars().any(|letter| letter.is_whitespace() || letter.is_control())
}

fn is_topic(name: &str) -> bool {
    !name.starts_with('$') && !name.replace("{type}", "").contains(['+', '#', '{', '}'])
}

fn is_kafka_topic(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(is_allowed) && name != "." && name != ".."
}
