//! What a component's imports are answered with: one file per interface, each of them a thin coat over a port.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings;
use crate::component::Definition;
use crate::ports::TcpConnection;

pub(crate) mod call;
pub(crate) mod http;
pub mod key_value;
pub mod mqtt;
pub mod redis;
pub mod sqlite;
pub(crate) mod tcp;
pub(crate) mod variables;
pub(crate) mod wasi;
pub mod wasi_keyvalue;

/// The state of one component instance.
pub struct InstanceState {
    pub(crate) component: Arc<Definition>,
    pub(crate) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(crate) outbound: http::Outbound,
    pub(crate) open: OpenCounts,
    /// The connections of sockets that the network's port has connected, by the socket's number.
    pub(crate) tcp: HashMap<u32, Arc<dyn TcpConnection>>,
}

/// How many of each bounded resource an instance holds open.
#[derive(Default)]
pub(crate) struct OpenCounts {
    pub sqlite: usize,
    pub key_value: usize,
    pub redis: usize,
    pub mqtt: usize,
}

/// Marks [`InstanceState`] as the data behind the host's interfaces.
pub(crate) struct Host;

impl HasData for Host {
    type Data<'a> = &'a mut InstanceState;
}

impl InstanceState {
    /// The state of a new instance of `component`.
    pub(crate) fn new(component: Arc<Definition>) -> wasmtime::Result<Self> {
        Ok(Self {
            wasi: wasi::context(&component)?,
            http: WasiHttpCtx::new(),
            outbound: http::Outbound::new(component.clone()),
            table: ResourceTable::new(),
            open: OpenCounts::default(),
            tcp: HashMap::new(),
            component,
        })
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outbound,
        }
    }
}

/// A linker with everything that a component may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    tcp::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    bindings::Host_::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    Ok(linker)
}
