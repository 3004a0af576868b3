//! TCP connections through `wasi:sockets`.

use std::net::SocketAddr;

use selvedge_kafka::transport::{LocalFuture, Stream};
use spin_sdk::wasip3::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use spin_sdk::wasip3::wit_stream;
use spin_sdk::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};

/// Room for what arrives, in bytes.
const RECEIVE_BYTES: usize = 64 * 1024;

/// A connection to this address. The error is the host's.
pub(super) async fn connect(address: SocketAddr) -> Result<Box<dyn Stream>, String> {
    let said = |error: ErrorCode| match error {
        ErrorCode::AccessDenied => "the component may not connect to it".to_owned(),
        error => error.to_string(),
    };
    let family = match address {
        SocketAddr::V4(_) => IpAddressFamily::Ipv4,
        SocketAddr::V6(_) => IpAddressFamily::Ipv6,
    };
    let socket = TcpSocket::create(family).map_err(said)?;
    socket.connect(socket_address(address)).await.map_err(said)?;
    let (incoming, received) = socket.receive();
    let (outgoing, contents) = wit_stream::new();
    let sent = socket.send(contents);
    Ok(Box::new(TcpStream {
        incoming,
        outgoing,
        _ends: (received, sent),
        _socket: socket,
    }))
}

type End = FutureReader<Result<(), ErrorCode>>;

/// An open connection. The socket comes last: it must outlive its streams.
struct TcpStream {
    incoming: StreamReader<u8>,
    outgoing: StreamWriter<u8>,
    _ends: (End, End),
    _socket: TcpSocket,
}

impl Stream for TcpStream {
    fn send(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), String>> {
        Box::pin(async move {
            // What comes back wasn't taken.
            match self.outgoing.write_all(bytes).await.is_empty() {
                true => Ok(()),
                false => Err("it doesn't take any more".to_owned()),
            }
        })
    }

    fn receive(&mut self) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let (result, bytes) = self.incoming.read(Vec::with_capacity(RECEIVE_BYTES)).await;
            match result {
                StreamResult::Complete(_) => Ok(bytes),
                _ => Ok(Vec::new()),
            }
        })
    }
}

fn socket_address(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: address.port(),
            address: address.ip().octets().into(),
        }),
        SocketAddr::V6(address) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: address.port(),
            flow_info: address.flowinfo(),
            address: address.ip().segments().into(),
            scope_id: address.scope_id(),
        }),
    }
}
