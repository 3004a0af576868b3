//! Making TCP and TLS connections for the HTTP client, with errors that say which step failed.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use super::limits::HTTP_TIMEOUT;

tokio::task_local! {
    /// The connect timeout of the request for which a connection is made. The pooled client has no other way to tell the
    /// connector; a request that finds an idle connection doesn't need it.
    pub(super) static CONNECT_TIMEOUT: Duration;
}

/// Which step of connecting failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectError {
    InvalidUri,
    Dns(String),
    DnsTimeout,
    Refused(String),
    Timeout,
    Certificate(String),
    Tls(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUri => formatter.write_str("the URI has no host"),
            Self::Dns(text) => write!(formatter, "the host's address can't be found: {text}"),
            Self::DnsTimeout => formatter.write_str("the host's address was not found in time"),
            Self::Refused(text) => write!(formatter, "the connection was refused: {text}"),
            Self::Timeout => formatter.write_str("the connection was not made in time"),
            Self::Certificate(text) => write!(formatter, "the server's certificate isn't trusted: {text}"),
            Self::Tls(text) => write!(formatter, "no TLS connection was agreed on: {text}"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<&ConnectError> for Error {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::InvalidUri => Self::HttpRequestUriInvalid,
            // What Spin answers.
            ConnectError::Dns(_) => Self::DnsError {
                rcode: Some("address not available".into()),
                info_code: Some(0),
            },
            ConnectError::DnsTimeout => Self::DnsTimeout,
            ConnectError::Refused(_) => Self::ConnectionRefused,
            ConnectError::Timeout => Self::ConnectionTimeout,
            ConnectError::Certificate(_) => Self::TlsCertificateError,
            ConnectError::Tls(_) => Self::TlsProtocolError,
        }
    }
}

/// Connects to a URI's host: plainly for `http`, by TLS with Mozilla's root certificates for `https`.
#[derive(Debug, Clone)]
pub(super) struct Connector;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(HTTP_TIMEOUT);
        Box::pin(async move {
            let deadline = Instant::now() + limit;
            let secure = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
            let tcp = connect_tcp(&uri, if secure { 443 } else { 80 }, deadline).await?;
            let stream = if secure {
                Stream::Tls(Box::new(connect_tls(&uri, tcp, deadline).await?))
            } else {
                Stream::Plain(tcp)
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// A host without the brackets that an IPv6 address has in a URI.
fn bare_host(uri: &Uri) -> Result<&str, ConnectError> {
    let host = uri.host().ok_or(ConnectError::InvalidUri)?;
    Ok(host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host))
}

async fn connect_tcp(uri: &Uri, default_port: u16, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let lookup = tokio::net::lookup_host((bare_host(uri)?, uri.port_u16().unwrap_or(default_port)));
    let addresses: Vec<_> = match timeout_at(deadline, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(ConnectError::Dns(error.to_string())),
        Err(_) => return Err(ConnectError::DnsTimeout),
    };
    match timeout_at(deadline, TcpStream::connect(&*addresses)).await {
        Ok(Ok(stream)) => {
            // A request's head and body are two writes; without this the second waits for the server's delayed ACK.
            stream
                .set_nodelay(true)
                .map_err(|error| ConnectError::Refused(error.to_string()))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(ConnectError::Refused(error.to_string())),
        Err(_) => Err(ConnectError::Timeout),
    }
}

static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.into(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of both TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
});

async fn connect_tls(uri: &Uri, tcp: TcpStream, deadline: Instant) -> Result<TlsStream<TcpStream>, ConnectError> {
    let name =
        ServerName::try_from(bare_host(uri)?.to_owned()).map_err(|error| ConnectError::Dns(error.to_string()))?;
    match timeout_at(deadline, TlsConnector::from(Arc::clone(&TLS)).connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Err(ConnectError::Certificate(error.to_string())),
            _ => Err(ConnectError::Tls(error.to_string())),
        },
        Err(_) => Err(ConnectError::Timeout),
    }
}

/// A connection, plain or by TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Plain($inner) => $call,
            Stream::Tls($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, inner => inner.is_write_vectored())
    }
}
