//! A server that takes connections and never says anything.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes every connection, keeps it, and never answers: what a broker does that hangs.
#[derive(Debug)]
pub struct SilentServer {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<TcpStream>>>,
}

impl SilentServer {
    /// Begins to listen on a free port, until the test's process ends.
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, kept) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
        let keeps = Arc::clone(&kept);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                keeps.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
        });
        Ok(Self { address, kept })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken.
    pub fn connections(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
