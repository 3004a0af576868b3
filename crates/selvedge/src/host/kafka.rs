//! What of Kafka lives as long as its component's instance: connections, and the producer's id and numbers.

use std::net::SocketAddr;
use std::rc::Rc;

use futures::lock::Mutex;
use selvedge_kafka::transport::{LocalFuture, Stream, Transport};
use selvedge_kafka::{Client, Producer};

use super::Platform;

/// The producer that was last used, with the brokers that it was made for. Whoever uses it has it for themselves: a
/// producer's batches are numbered.
pub(crate) type Kept = Mutex<Option<(String, Producer)>>;

/// A client on a platform, for these brokers.
pub(super) fn client(platform: Rc<dyn Platform>, brokers: Vec<SocketAddr>) -> Client {
    Client::new(Rc::new(Sockets(platform)), brokers)
}

/// A platform's TCP connections, as the client wants them.
struct Sockets(Rc<dyn Platform>);

impl Transport for Sockets {
    fn connect(&self, address: SocketAddr) -> LocalFuture<'_, Result<Box<dyn Stream>, String>> {
        self.0.connect(address)
    }

    fn wait(&self, duration_ms: u64) -> LocalFuture<'_, ()> {
        self.0.wait(duration_ms)
    }
}
