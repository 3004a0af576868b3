//! `wasi:sockets@0.3.0`: TCP connections. Where the network's port connects sockets, their bytes go through it; where it doesn't, all of it
//! is wasmtime's own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Linker, Resource, ResourceType, Source, StreamConsumer,
    StreamProducer, StreamReader, StreamResult,
};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpSocketAddress, TcpSocket,
};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use super::InstanceState;
use crate::component::Definition;
use crate::ports::{TcpConnection, TcpError};

const INTERFACE: &str = "wasi:sockets/types@0.3.0";

type Ended = Result<(), ErrorCode>;
type Received = (StreamReader<u8>, FutureReader<Ended>);

/// Puts these functions in the place of wasmtime's, which they call where the system connects sockets.
pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(INTERFACE)?;
    types.resource("tcp-socket", ResourceType::host::<TcpSocket>(), |mut store, number| {
        let state = store.data_mut();
        state.tcp.remove(&number);
        HostTcpSocket::drop(&mut state.sockets(), Resource::new_own(number))
    })?;
    types.func_wrap_concurrent("[method]tcp-socket.connect", |accessor, (socket, address)| {
        Box::pin(async move { Ok((connect(accessor, socket, address).await?,)) })
    })?;
    types.func_wrap("[method]tcp-socket.send", |store, (socket, bytes)| {
        Ok((send(store, socket, bytes)?,))
    })?;
    types.func_wrap("[method]tcp-socket.receive", |store, (socket,)| {
        Ok((receive(store, socket)?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn connect(
    accessor: &Accessor<InstanceState>,
    socket: Resource<TcpSocket>,
    address: IpSocketAddress,
) -> wasmtime::Result<Ended> {
    let component = accessor.with(|mut access| access.get().component.clone());
    let Some(network) = component.ports.network.tcp() else {
        let accessor = accessor.with_getter::<WasiSockets>(InstanceState::sockets);
        return match WasiSockets::connect(&accessor, socket, address).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => Ok(Err(error.downcast()?)),
        };
    };
    let address = SocketAddr::from(address);
    let work = async {
        if !component.allowed_hosts.allows_address("tcp", address) {
            return Err(ErrorCode::AccessDenied);
        }
        Ok(network.connect(address).await?)
    };
    let connected = component
        .caller
        .call("tcp.connect", || address.to_string(), failed, work)
        .await?;
    Ok(connected.map(|connection| {
        accessor.with(|mut access| access.get().tcp.insert(socket.rep(), connection));
    }))
}

fn send(
    mut store: StoreContextMut<'_, InstanceState>,
    socket: Resource<TcpSocket>,
    mut bytes: StreamReader<u8>,
) -> wasmtime::Result<FutureReader<Ended>> {
    let state = store.data();
    if state.component.ports.network.tcp().is_none() {
        return WasiSockets::send(
            Access::<_, WasiSockets>::new(store, InstanceState::sockets),
            socket,
            bytes,
        );
    }
    let (mut end, ended) = End::new();
    match state.tcp.get(&socket.rep()) {
        Some(connection) => {
            let sending = Sending {
                way: Way::new(&state.component, connection),
                under_way: None,
                end,
            };
            bytes.pipe(&mut store, sending)?;
        }
        None => {
            bytes.close(&mut store)?;
            end.tell(Err(ErrorCode::InvalidState));
        }
    }
    FutureReader::new(&mut store, ended)
}

fn receive(mut store: StoreContextMut<'_, InstanceState>, socket: Resource<TcpSocket>) -> wasmtime::Result<Received> {
    let state = store.data();
    if state.component.ports.network.tcp().is_none() {
        return WasiSockets::receive(Access::<_, WasiSockets>::new(store, InstanceState::sockets), socket);
    }
    let (mut end, ended) = End::new();
    let bytes = match state.tcp.get(&socket.rep()) {
        Some(connection) => {
            let receiving = Receiving {
                way: Way::new(&state.component, connection),
                under_way: None,
                end,
            };
            StreamReader::new(&mut store, receiving)?
        }
        None => {
            end.tell(Err(ErrorCode::InvalidState));
            StreamReader::new(&mut store, std::iter::empty())?
        }
    };
    Ok((bytes, FutureReader::new(&mut store, ended)?))
}

/// A component's way to the other side of a connection.
struct Way {
    component: Arc<Definition>,
    connection: Arc<dyn TcpConnection>,
}

/// A call that is under way.
type Call<T> = BoxFuture<'static, wasmtime::Result<Result<T, ErrorCode>>>;

impl Way {
    fn new(component: &Arc<Definition>, connection: &Arc<dyn TcpConnection>) -> Self {
        Self {
            component: component.clone(),
            connection: connection.clone(),
        }
    }

    fn send(&self, bytes: Bytes) -> Call<usize> {
        let (component, connection) = (self.component.clone(), self.connection.clone());
        Box::pin(async move {
            let length = bytes.len();
            let work = async {
                connection.send(bytes).await?;
                Ok(length)
            };
            let detail = || format!("{length} bytes");
            component.caller.call("tcp.send", detail, failed, work).await
        })
    }

    fn receive(&self) -> Call<Bytes> {
        let (component, connection) = (self.component.clone(), self.connection.clone());
        Box::pin(async move {
            let work = async { Ok(connection.receive().await?) };
            component.caller.call("tcp.receive", String::new, failed, work).await
        })
    }
}

/// What a component writes goes to the other side.
struct Sending {
    way: Way,
    under_way: Option<Call<usize>>,
    end: End,
}

impl<D> StreamConsumer<D> for Sending {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        if source.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut call = match self.under_way.take() {
            Some(call) => call,
            None => self.way.send(Bytes::copy_from_slice(source.remaining())),
        };
        match call.as_mut().poll(context) {
            // Whoever gives up doesn't know whether they arrived.
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => {
                self.under_way = Some(call);
                Poll::Pending
            }
            Poll::Ready(sent) => Poll::Ready(sent.map(|sent| match sent {
                Ok(length) => {
                    source.mark_read(length);
                    StreamResult::Completed
                }
                Err(error) => {
                    self.end.tell(Err(error));
                    StreamResult::Dropped
                }
            })),
        }
    }
}

/// What the other side sends goes to the component.
struct Receiving {
    way: Way,
    under_way: Option<Call<Bytes>>,
    end: End,
}

impl<D> StreamProducer<D> for Receiving {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut call = match self.under_way.take() {
            Some(call) => call,
            None => self.way.receive(),
        };
        let Poll::Ready(received) = call.as_mut().poll(context) else {
            // The next one who reads goes on waiting: what arrives meanwhile isn't lost.
            self.under_way = Some(call);
            return match finish {
                true => Poll::Ready(Ok(StreamResult::Cancelled)),
                false => Poll::Pending,
            };
        };
        let ended = match received? {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => {
                destination.set_buffer(BytesMut::from(bytes));
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Err(error) => Err(error),
        };
        self.end.tell(ended);
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

/// Tells once how a direction ended: well, where nothing else was said before it was dropped.
struct End(Option<oneshot::Sender<Ended>>);

impl End {
    fn new() -> (Self, oneshot::Receiver<Ended>) {
        let (end, ended) = oneshot::channel();
        (Self(Some(end)), ended)
    }

    fn tell(&mut self, ended: Ended) {
        if let Some(end) = self.0.take() {
            // Nobody may want to know any more.
            let _ = end.send(ended);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tell(Ok(()));
    }
}

fn failed(text: String) -> ErrorCode {
    ErrorCode::Other(Some(text))
}

impl From<TcpError> for ErrorCode {
    fn from(error: TcpError) -> Self {
        match error {
            TcpError::ConnectionRefused => Self::ConnectionRefused,
            TcpError::ConnectionReset => Self::ConnectionReset,
        }
    }
}
