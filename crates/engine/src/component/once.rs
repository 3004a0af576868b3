//! One call in an instance of its own: how every trigger but HTTP calls a component, as on Spin.

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc};

use super::{Component, instances};
use crate::host::InstanceState;
use crate::{Error, limits};

/// An exported function of a component.
#[derive(Clone, Copy)]
pub(crate) struct Export {
    /// The interface that it belongs to; `None` for one of the component's own.
    pub interface: Option<&'static str>,
    /// Its name.
    pub name: &'static str,
}

/// Calls an exported function with these parameters. What the instance does after its answer ends with the instance.
///
/// # Errors
/// [`Error::Call`] where the component has no such export, traps, takes longer than [`limits::REQUEST_TIMEOUT`], or answers an
/// error, whose text `refusal` knows.
pub(crate) async fn call<P, E>(
    component: &Component,
    export: Export,
    parameters: P,
    refusal: impl FnOnce(E) -> String,
) -> Result<(), Error>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    E: Lift + Send + Sync + 'static,
{
    let failed = |cause| Error::Call {
        id: component.id().to_owned(),
        cause,
    };
    let run = tokio::time::timeout(limits::REQUEST_TIMEOUT, run(component, export, parameters));
    match run.await {
        Err(_) => Err(failed(wasmtime::format_err!(
            "timed out after {} s",
            limits::REQUEST_TIMEOUT.as_secs()
        ))),
        Ok(Err(cause)) => Err(failed(cause)),
        Ok(Ok(Err(error))) => Err(failed(wasmtime::format_err!("{}", refusal(error)))),
        Ok(Ok(Ok(()))) => Ok(()),
    }
}

async fn run<P, E>(component: &Component, export: Export, parameters: P) -> wasmtime::Result<Result<(), E>>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    E: Lift + Send + Sync + 'static,
{
    let code = component.code();
    let mut store = instances::store(code.pre.engine(), &component.definition)?;
    let trap = store.data().outbound.trap.clone();
    let instance = code.pre.instantiate_async(&mut store).await?;
    let function = find::<P, E>(&mut store, &instance, export)?;
    let answer = store.run_concurrent(async |accessor| function.call_concurrent(accessor, parameters).await);
    let trapped = std::future::poll_fn(|context| trap.poll(context));
    tokio::select! {
        biased;
        () = trapped => wasmtime::bail!("trapped in a host call"),
        answer = answer => Ok(answer??.0),
    }
}

fn find<P, E>(
    store: &mut Store<InstanceState>,
    instance: &Instance,
    export: Export,
) -> wasmtime::Result<TypedFunc<P, (Result<(), E>,)>>
where
    P: ComponentNamedList + Lower,
    E: Lift,
{
    let missing = || wasmtime::format_err!("it exports no {}", export.name);
    let interface = match export.interface {
        None => None,
        Some(interface) => Some(
            instance
                .get_export_index(&mut *store, None, interface)
                .ok_or_else(missing)?,
        ),
    };
    let function = instance
        .get_export_index(&mut *store, interface.as_ref(), export.name)
        .ok_or_else(missing)?;
    instance.get_typed_func(store, function)
}
