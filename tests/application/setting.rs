//! Under which circumstances the chaos runs: which clients there are, and by which message broker events go.

use std::fmt;

use clap::ValueEnum;

/// Which clients a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clients {
    /// Those who create and complete todos: what goes wrong on a todo's way shows soonest.
    Todos,
    /// Those of every public route.
    Everything,
}

/// By which message broker notifications and analytics get their events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Broker {
    /// By none: the relay asks them itself.
    None,
    /// By channels of a Redis server.
    Redis,
    /// By topics of an MQTT broker.
    Mqtt,
    /// By topics of a Kafka broker.
    Kafka,
}

impl Broker {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Redis, Self::Mqtt, Self::Kafka];

    /// Its part in the names of the application's files: `spin.redis.toml`.
    pub fn infix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Redis => ".redis",
            Self::Mqtt => ".mqtt",
            Self::Kafka => ".kafka",
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Redis => "redis",
            Self::Mqtt => "mqtt",
            Self::Kafka => "kafka",
        })
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Todos => "todos",
            Self::Everything => "everything",
        })
    }
}

/// What a seed is run with besides its bounds. It is written as the options that say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Who gives the commands.
    pub clients: Clients,
    /// By what events go.
    pub broker: Broker,
}

impl Setting {
    /// These clients, and no broker.
    pub const fn without_broker(clients: Clients) -> Self {
        let broker = Broker::None;
        Self { clients, broker }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, broker } = self;
        write!(formatter, "--clients {clients}")?;
        match broker {
            Broker::None => Ok(()),
            named => write!(formatter, " --broker {named}"),
        }
    }
}
