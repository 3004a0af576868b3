//! The cron that makes it certain: wakes the relay when something is due that no bell told it of. Missed bells, retries,
//! and what a relay that died left behind.
//!
//! Spin lets a component that no HTTP request triggers reach others by the application's URL only.

use anyhow::Context;
use selvedge::http::Call;
use selvedge::subscription::Subscriptions;
use selvedge::{Host, limits, relay};

mod bindings {
    selvedge::spin::wit_bindgen::generate!({
        path: "../../wit/spin-cron",
        world: "spin-cron",
        runtime_path: "::selvedge::spin::wit_bindgen::rt",
    });
}

use bindings::spin::cron::cron_types::{Error, Metadata};

struct Component;

impl bindings::Guest for Component {
    async fn handle_cron_event(_metadata: Metadata) -> Result<(), Error> {
        wake_if_due(&selvedge::spin::host(&[]))
            .await
            .map_err(|error| Error::Other(format!("{error:#}")))
    }
}

bindings::export!(Component with_types_in bindings);

async fn wake_if_due(host: &Host) -> anyhow::Result<()> {
    let subscriptions = Subscriptions::from_file()?.of_relay();
    if !relay::is_due(host, &subscriptions).context("looking into the outbox")? {
        return Ok(());
    }
    let app_url = host
        .variable("app_url")
        .await?
        .context("the variable app_url is not set: it says where the app is")?;
    let call = Call::post(
        format!("{}/relay/drain", app_url.trim_end_matches('/')),
        "application/json",
        [],
    );
    let target = call.target();
    host.send_within(call, limits::BELL_TIMEOUT_MS)
        .await?
        .successful(&target)
        .context("waking the relay")?;
    Ok(())
}
