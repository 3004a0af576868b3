//! A broker of a few lines, for tests: it reads packets, and answers as each test says.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::ports::MqttOptions;

pub fn options(address: String) -> MqttOptions {
    MqttOptions {
        address,
        username: String::new(),
        password: String::new(),
        keep_alive: Duration::from_secs(30),
    }
}

/// Reads one packet: its first byte and what follows the length. Test packets are short: one byte of length.
pub async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).await.ok()?;
    Some((head[0], body))
}

/// Takes a connection, and answers its CONNECT with this code.
pub async fn accept_with(listener: &TcpListener, code: u8) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(packet(&mut stream).await.unwrap().0, 0x10, "CONNECT comes first");
    stream.write_all(&[0x20, 2, 0, code]).await.unwrap();
    stream
}

pub async fn accept(listener: &TcpListener) -> TcpStream {
    accept_with(listener, 0).await
}
