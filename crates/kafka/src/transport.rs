//! What the client needs from where it runs: connections that carry bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

/// A future that stays on its thread.
pub type LocalFuture<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

/// Makes connections.
pub trait Transport {
    /// A connection to this address. The error is the system's, without the address.
    fn connect(&self, address: SocketAddr) -> LocalFuture<'_, Result<Box<dyn Stream>, String>>;

    /// Ends after this time.
    fn wait(&self, duration_ms: u64) -> LocalFuture<'_, ()>;
}

/// One connection. Dropping it closes it.
pub trait Stream {
    /// Sends all of these bytes. The error is the system's.
    fn send(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), String>>;

    /// The next bytes that arrive, at least one; none when the other side has closed the connection.
    fn receive(&mut self) -> LocalFuture<'_, Result<Vec<u8>, String>>;
}
