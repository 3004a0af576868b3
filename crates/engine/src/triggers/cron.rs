//! The cron trigger: `spin:cron@3.0.0`.
//!
//! As on Spin: ticks that were missed while the application was down are lost, and a run that takes longer than the
//! interval overlaps with the next one.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::Error;
use crate::application::Inner;
use crate::component::{Component, instances};
use crate::config::CronSchedule;
use crate::limits;

/// `spin:cron/cron-types.metadata`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
struct Metadata {
    timestamp: u64,
}

/// `spin:cron/cron-types.error`.
#[derive(Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum CronError {
    #[component(name = "other")]
    Other(String),
}

/// Runs every cron trigger of the application for as long as it is polled.
pub(crate) async fn run(application: Arc<Inner>) {
    let triggers = application.cron_triggers.iter().map(|trigger| {
        let application = application.clone();
        async move {
            while let Some(wait) = next_tick(&application, &trigger.schedule) {
                tokio::time::sleep(wait).await;
                let timestamp_s = application.ports.clock.wall_ns() / 1_000_000_000;
                let component = trigger.component.clone();
                let application = application.clone();
                tokio::spawn(async move {
                    if let Err(error) = fire(&component, timestamp_s).await {
                        let text = format!("the cron run failed: {error}\n");
                        application.ports.output.write(component.id(), 2, text.as_bytes());
                    }
                });
            }
        }
    });
    futures::future::join_all(triggers).await;
}

/// How long it is until the next tick; `None` when there is none any more.
fn next_tick(application: &Inner, schedule: &CronSchedule) -> Option<Duration> {
    let now_ns = application.ports.clock.wall_ns();
    let next_ms = schedule.next_after_ms(now_ns / 1_000_000)?;
    Some(Duration::from_nanos((next_ms * 1_000_000).saturating_sub(now_ns)))
}

/// One run of a cron-triggered component, in an instance of its own.
pub(crate) async fn fire(component: &Arc<Component>, timestamp_s: u64) -> Result<(), Error> {
    let failed = |cause| Error::Call {
        id: component.id().to_owned(),
        cause,
    };
    let run = tokio::time::timeout(limits::REQUEST_TIMEOUT, call(component, timestamp_s));
    match run.await {
        Err(_) => Err(failed(wasmtime::format_err!(
            "timed out after {} s",
            limits::REQUEST_TIMEOUT.as_secs()
        ))),
        Ok(Err(cause)) => Err(failed(cause)),
        Ok(Ok(Err(CronError::Other(text)))) => Err(failed(wasmtime::format_err!("{text}"))),
        Ok(Ok(Ok(()))) => Ok(()),
    }
}

async fn call(component: &Arc<Component>, timestamp: u64) -> wasmtime::Result<Result<(), CronError>> {
    let code = component.code();
    let mut store = instances::store(code.pre.engine(), &component.definition)?;
    let trap = store.data().outbound.trap.clone();
    let instance = code.pre.instantiate_async(&mut store).await?;
    let handler = instance.get_typed_func::<(Metadata,), (Result<(), CronError>,)>(&mut store, "handle-cron-event")?;
    let run = store.run_concurrent(async |accessor| handler.call_concurrent(accessor, (Metadata { timestamp },)).await);
    let trapped = std::future::poll_fn(|context| trap.poll(context));
    tokio::select! {
        biased;
        () = trapped => wasmtime::bail!("trapped in a host call"),
        answer = run => Ok(answer??.0),
    }
}
