//! Messages to an MQTT broker.

/// Where an MQTT broker is, and as whom it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct MqttBroker {
    /// `mqtt://host[:port]` or `mqtts://host[:port]`, without user and password.
    pub url: String,
    /// Empty: none.
    pub username: String,
    /// Empty: none.
    pub password: String,
}

/// `Debug` doesn't show the password.
impl std::fmt::Debug for MqttBroker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, username, .. } = self;
        write!(formatter, "MqttBroker {{ url: {url:?}, username: {username:?} }}")
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    /// Its topic, without wildcards.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
}
