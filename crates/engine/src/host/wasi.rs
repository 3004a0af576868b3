//! WASI itself (0.2 for std, 0.3 for the SDK): clocks, randomness, environment, files, sockets and output, from the ports.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand_core::TryRng;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx};

use crate::component::Definition;
use crate::ports::{Clock, Output, Random};

/// How much a component may write to its output in one go.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// The WASI context of a new instance of `component`.
pub(crate) fn context(component: &Arc<Definition>) -> wasmtime::Result<WasiCtx> {
    let ports = &component.ports;
    let output = |stream| PortOutput {
        component: component.id.clone(),
        stream,
        output: ports.output.clone(),
    };
    let mut seed = [0; 16];
    ports.random.fill(&mut seed);
    let mut builder = WasiCtx::builder();
    builder
        .allow_blocking_current_thread(true)
        .envs(&component.environment)
        .wall_clock(PortClock(ports.clock.clone()))
        .monotonic_clock(PortClock(ports.clock.clone()))
        .secure_random(PortRandom(ports.random.clone()))
        .insecure_random(PortRandom(ports.random.clone()))
        .insecure_random_seed(u128::from_le_bytes(seed))
        .stdout(output(1))
        .stderr(output(2));
    let sockets_of = Arc::downgrade(component);
    builder.allow_tcp(true).socket_addr_check(move |address, purpose| {
        let component = sockets_of.upgrade();
        let allowed = component.is_some_and(|component| may_use(&component, address, purpose));
        Box::pin(async move { allowed })
    });
    if let Some(folder) = &component.files {
        builder.preopened_dir(folder, "/", FsPerms::ReadOnly)?;
    }
    Ok(builder.build())
}

/// Whether a component's socket may be used so by the system: to connect to what its manifest allows, and for nothing else. Whoever
/// connects is given a local address by the system, which counts as binding to none in particular.
fn may_use(component: &Definition, address: SocketAddr, purpose: SocketAddrUse) -> bool {
    if component.ports.network.tcp().is_some() {
        return false;
    }
    match purpose {
        SocketAddrUse::TcpConnect => component.allowed_hosts.allows_address("tcp", address),
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        _ => false,
    }
}

struct PortClock(Arc<dyn Clock>);

impl HostWallClock for PortClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.wall_ns())
    }
}

impl HostMonotonicClock for PortClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.monotonic_ns()
    }
}

struct PortRandom(Arc<dyn Random>);

impl TryRng for PortRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// A component's standard output or error.
#[derive(Clone)]
struct PortOutput {
    component: Arc<str>,
    stream: u8,
    output: Arc<dyn Output>,
}

impl IsTerminal for PortOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for PortOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for PortOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.write(&self.component, self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for PortOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(&self.component, self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(OUTPUT_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for PortOutput {
    async fn ready(&mut self) {}
}
