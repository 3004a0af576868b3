//! What publishing to an MQTT broker and hearing it have in common: a client's options, from an address.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{ConnectReturnCode, ConnectionError, EventLoop, TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::limits::BROKER_CONNECT_TIMEOUT;
use super::trust::own_certificates;
use crate::ports::{MqttError, MqttOptions};

/// The port of a broker that is reached by TLS, unless its address says another.
const TLS_PORT: u16 = 8883;

/// A client's options. As on Spin the address carries them: `mqtt://host:port?client_id=name`, and `mqtts://` is reached by TLS
/// with Mozilla's root certificates, or those of SSL_CERT_FILE.
pub(super) fn options(options: MqttOptions) -> Result<rumqttc::MqttOptions, MqttError> {
    let mut url = Url::parse(&options.address).map_err(|_| MqttError::InvalidAddress)?;
    let is_tls = matches!(url.scheme(), "mqtts" | "ssl");
    if is_tls {
        // The library would look for the system's certificates, and panic where it finds none.
        let port = url.port().unwrap_or(TLS_PORT);
        let plain = url.set_scheme("mqtt").and_then(|()| url.set_port(Some(port)));
        plain.map_err(|()| MqttError::InvalidAddress)?;
    }
    let of = |name: &str| {
        url.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    // rumqttc panics at these two.
    let no_message_in_flight = of("inflight_num").is_some_and(|number| number.parse() == Ok(0u16));
    let nameless_session = of("clean_session").is_some_and(|clean| clean == "false")
        && of("client_id").is_some_and(|name| name.is_empty());
    if no_message_in_flight || nameless_session {
        return Err(MqttError::InvalidAddress);
    }
    let mut parsed = rumqttc::MqttOptions::parse_url(url).map_err(|_| MqttError::InvalidAddress)?;
    if is_tls {
        parsed.set_transport(Transport::tls_with_config(tls()?));
    }
    if !options.username.is_empty() || !options.password.is_empty() {
        parsed.set_credentials(options.username, options.password);
    }
    // MQTT counts in seconds; 0 is none.
    parsed.set_keep_alive(Duration::from_secs(options.keep_alive.as_secs()));
    Ok(parsed)
}

/// Bounds the time that a connection may take to be made.
pub(super) fn bound(events: &mut EventLoop) {
    events
        .network_options
        .set_connection_timeout(BROKER_CONNECT_TIMEOUT.as_secs())
        .set_tcp_nodelay(true);
}

/// What an operator is told of a connection that can't be made, or was lost.
pub(super) fn describe(events: &EventLoop, error: &ConnectionError) -> MqttError {
    let (host, port) = events.mqtt_options.broker_address();
    MqttError::ConnectionFailed(match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
        ) => format!("the MQTT broker at {host}:{port} doesn't know this user and password ({code:?})"),
        ConnectionError::ConnectionRefused(code) => {
            format!("the MQTT broker at {host}:{port} refused the connection: {code:?}")
        }
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            format!("the MQTT broker at {host}:{port} doesn't answer within {BROKER_CONNECT_TIMEOUT:?}")
        }
        error => format!("the MQTT broker at {host}:{port} can't be reached: {error}"),
    })
}

fn tls() -> Result<TlsConfiguration, MqttError> {
    let mut trusted = RootCertStore::empty();
    match own_certificates() {
        Some(own) => _ = trusted.add_parsable_certificates(CertificateDer::pem_slice_iter(&own).flatten()),
        None => trusted.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| MqttError::Other(format!("TLS can't be set up: {error}")))?;
    let config = config.with_root_certificates(trusted).with_no_client_auth();
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

#[cfg(test)]
pub(super) mod test_broker;
