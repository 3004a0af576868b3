//! Instances that answer HTTP requests: made when needed, used again within Spin's limits, ended when idle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use wasmtime::component::{GuestTaskId, InstancePre};
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::Definition;
use crate::Error;
use crate::host::InstanceState;
use crate::host::call::TrapSignal;
use crate::limits;

/// Makes the instances of one component's code.
pub(crate) struct HttpInstances {
    definition: Arc<Definition>,
    pre: ProxyPre<InstanceState>,
}

impl HttpInstances {
    /// `None` where the code doesn't export `wasi:http/handler`.
    pub fn new(definition: Arc<Definition>, pre: InstancePre<InstanceState>) -> Result<Option<Self>, Error> {
        let exports_http = |(name, _): (&str, _)| name.starts_with("wasi:http/handler@");
        let engine = pre.engine().clone();
        if !pre.component().component_type().exports(&engine).any(exports_http) {
            return Ok(None);
        }
        let pre = ProxyPre::P3(ServicePre::new(pre).map_err(Error::Engine)?);
        Ok(Some(Self { definition, pre }))
    }
}

/// A store for a new instance. It gives way to other tasks with every tick of the engine's epoch.
pub(crate) fn store(engine: &wasmtime::Engine, definition: &Arc<Definition>) -> wasmtime::Result<Store<InstanceState>> {
    let mut store = Store::new(engine, InstanceState::new(definition.clone())?);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    Ok(store)
}

impl HandlerState for HttpInstances {
    type StoreData = InstanceState;
    type WorkerExpiration = Expiration;
    type WorkerState = Limits;

    async fn instantiate(&self) -> wasmtime::Result<Instance<InstanceState, Expiration, Limits>> {
        let ProxyPre::P3(service) = &self.pre;
        let mut store = store(service.engine(), &self.definition)?;
        let proxy: Proxy = self.pre.instantiate_async(&mut store).await?;
        let trap = store.data().outbound.trap.clone();
        Ok(Instance {
            store,
            proxy,
            view: WasiHttpView::http,
            expiration: Expiration {
                sleep: Box::pin(tokio::time::sleep(Duration::MAX)),
                since: None,
                trap,
            },
            state: Limits {
                component: self.definition.clone(),
            },
        })
    }
}

/// Ends an instance: idle too long, busy too long, or told to trap.
pub(crate) struct Expiration {
    sleep: Pin<Box<Sleep>>,
    since: Option<(WorkerStatus, Instant)>,
    trap: Arc<TrapSignal>,
}

impl WorkerExpiration for Expiration {
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        let this = self.get_mut();
        if this.trap.poll(context).is_ready() {
            return Poll::Ready(());
        }
        // `start` is the machine's clock; the timer is tokio's, so that a paused runtime owns this timeout too.
        if this.since != Some((status, start)) {
            this.since = Some((status, start));
            let timeout = match status {
                WorkerStatus::Idle => limits::INSTANCE_IDLE_TIMEOUT,
                WorkerStatus::Requests | WorkerStatus::PostReturn => limits::REQUEST_TIMEOUT,
            };
            this.sleep.as_mut().reset(tokio::time::Instant::now() + timeout);
        }
        this.sleep.as_mut().poll(context)
    }
}

/// How much an instance takes on.
pub(crate) struct Limits {
    component: Arc<Definition>,
}

impl WorkerState for Limits {
    type StoreData = InstanceState;
    type RequestData = ();

    fn should_accept_request(&self, concurrent_count: usize, total_count: usize) -> ShouldAccept {
        if total_count >= limits::INSTANCE_REUSE_MAX {
            ShouldAccept::Never
        } else if concurrent_count >= limits::INSTANCE_CONCURRENCY_MAX {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, InstanceState>,
        _data: (),
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(tokio::time::sleep(limits::REQUEST_TIMEOUT))
    }

    fn drop(&self, store: Store<InstanceState>, result: wasmtime::Result<()>) {
        // An instance that is dropped at work, because the engine stops, ends with an error as one that panicked does.
        let stopped = result
            .as_ref()
            .is_err_and(|error| error.to_string() == "worker panicked")
            && !std::thread::panicking();
        if let Err(error) = result
            && !stopped
        {
            let text = format!("the instance ended: {error:?}\n");
            self.component
                .ports
                .output
                .write(&self.component.id, 2, text.as_bytes());
        }
        drop(store);
    }
}
