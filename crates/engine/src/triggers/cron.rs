//! The cron trigger: `spin:cron@3.0.0`.
//!
//! As on Spin: ticks that were missed while the application was down are lost, and a run that takes longer than the
//! interval overlaps with the next one.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::Error;
use crate::application::Inner;
use crate::component::Component;
use crate::component::once::{self, Export};
use crate::config::CronSchedule;

/// What the trigger calls.
const HANDLER: Export = Export {
    interface: None,
    name: "handle-cron-event",
};

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
                        application.log(component.id(), &format!("the cron run failed: {error}"));
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

/// One run of a cron-triggered component.
pub(crate) async fn fire(component: &Component, timestamp: u64) -> Result<(), Error> {
    let refusal = |CronError::Other(text)| text;
    once::call(component, HANDLER, (Metadata { timestamp },), refusal).await
}
