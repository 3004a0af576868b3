//! What can go wrong between a client and its brokers.

use kafka_protocol::ResponseError;

/// Why something couldn't be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The list of brokers can't be read.
    #[error("the brokers are given as {text:?}: write them as <IP address>:<port>, with commas between")]
    Addresses {
        /// The part that is wrong.
        text: String,
    },

    /// A broker has a name that a component can't look up.
    #[error(
        "the broker {host}:{port} is known by a name, and a component can't look names up: set the broker's \
         advertised.listeners to its IP address"
    )]
    NameOnly {
        /// The name.
        host: String,
        /// The port.
        port: i32,
    },

    /// A broker can't be reached.
    #[error(
        "the broker {address} can't be reached ({detail}): is it running, and in the component's allowed_outbound_hosts?"
    )]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What the system said.
        detail: String,
    },

    /// The connection to a broker broke off before the answer.
    #[error("the broker {address} closed the connection before it answered ({detail})")]
    Closed {
        /// Which broker.
        address: String,
        /// What the system said.
        detail: String,
    },

    /// A broker's answer isn't what the protocol says.
    #[error(
        "the broker {address} gave an answer that can't be read ({detail}): does it speak Kafka's protocol, without TLS?"
    )]
    Unreadable {
        /// Which broker.
        address: String,
        /// What is wrong with it.
        detail: String,
    },

    /// A broker refused.
    #[error("{what} was refused: {code}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's code.
        code: Code,
    },

    /// A request can't be written down.
    #[error("the request can't be encoded: {detail}")]
    Unwritable {
        /// Why.
        detail: String,
    },
}

/// An error code of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i16);

impl Code {
    /// The message, or the batch that it is in, is larger than the topic takes.
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    /// There is no record at this offset, and won't be.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// The group's coordinator has yet to read the offsets.
    pub const COORDINATOR_LOADING: Self = Self(14);
    /// The group has no coordinator yet.
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    /// The topic isn't there, or not yet.
    pub const UNKNOWN_TOPIC: Self = Self(3);
    /// The partition has no leader yet.
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    /// The batch was written already.
    pub const DUPLICATE_SEQUENCE: Self = Self(46);
    /// The record's bytes aren't what the topic takes, and never will be.
    pub const INVALID_RECORD: Self = Self(87);

    /// Whether Kafka says that the same request may succeed later. A topic that isn't there may be made.
    pub fn is_retryable(self) -> bool {
        ResponseError::try_from_code(self.0).is_none_or(|error| error.is_retriable())
    }

    /// Whether the record itself is what was refused.
    pub fn is_about_record(self) -> bool {
        self == Self::MESSAGE_TOO_LARGE || self == Self::INVALID_RECORD
    }

    /// Nothing when the code says that all is well.
    pub(crate) fn check(code: i16, what: impl FnOnce() -> String) -> Result<(), Error> {
        match code {
            0 => Ok(()),
            code => Err(Error::Refused {
                what: what(),
                code: Self(code),
            }),
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match ResponseError::try_from_code(self.0) {
            Some(error) => write!(formatter, "{error} (code {})", self.0),
            None => write!(formatter, "code {}", self.0),
        }
    }
}

impl Error {
    /// Whether the same call may succeed when it is made again unchanged.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Addresses { .. } | Self::Unwritable { .. } => false,
            Self::Refused { code, .. } => code.is_retryable(),
            Self::NameOnly { .. } | Self::Unreachable { .. } | Self::Closed { .. } | Self::Unreadable { .. } => true,
        }
    }
}
