//! Dapr as a bus: the sidecar is another Selvedge, in its role as one, as its own process on files that last.

use anyhow::Context;
use selvedge_testkit::bus::{Bus, Features};
use selvedge_testkit::{RealProcess, real_process};
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::harness::root;

/// A page of the journal, in bytes.
const PAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub const DAPR: Features = Features {
    name: "dapr",
    settled_by: "the sidecar's acknowledgement",
    has_consumers: false,
    order: "kept",
    nobody_listens: "as Dapr's component has it",
    replicas: "as Dapr's component has it",
    batches: "bulk requests",
};

/// Topics of Dapr, heard by somebody else.
pub struct Dapr {
    state: TempDir,
    sidecar: Option<RealProcess>,
    url: String,
}

impl Dapr {
    pub fn start() -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let sidecar = RealProcess::start(&real_process::binary()?, &root().join("spin.toml"), state.path(), &[])?;
        let url = sidecar.url().to_owned();
        let sidecar = Some(sidecar);
        Ok(Self { state, sidecar, url })
    }
}

impl Bus for Dapr {
    fn features(&self) -> Features {
        DAPR
    }

    fn subscription(&self, place: &str) -> String {
        format!("target = \"dapr:pubsub/{place}\"")
    }

    fn trigger(&self, _place: &str) -> String {
        String::new()
    }

    fn hosts(&self) -> &'static [&'static str] {
        &["http://127.0.0.1:*"]
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("dapr_url", self.url.clone())]
    }

    fn kill(&mut self) -> anyhow::Result<bool> {
        self.sidecar.take().context("the sidecar runs")?.kill()?;
        Ok(true)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        let (binary, manifest) = (real_process::binary()?, root().join("spin.toml"));
        let address = self.url.trim_start_matches("http://");
        self.sidecar = Some(RealProcess::start_at(&binary, &manifest, self.state.path(), address)?);
        Ok(())
    }

    fn taken_by_others(&self, place: &str) -> anyhow::Result<Vec<String>> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let url = format!("{}/events?limit=100&after={after}", self.url);
            let mut answer = ureq::get(&url).call()?;
            let cursor = answer
                .headers()
                .get("selvedge-cursor")
                .context("a page says where it ends")?;
            let cursor: i64 = cursor.to_str()?.parse()?;
            let body = answer.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_vec()?;
            let page: Vec<Box<RawValue>> = serde_json::from_slice(&body)?;
            if cursor == after {
                return Ok(events);
            }
            after = cursor;
            for event in page {
                let attributes: Value = serde_json::from_str(event.get())?;
                if attributes["topic"] == place {
                    events.push(event.get().to_owned());
                }
            }
        }
    }
}
