//! Dapr's official SDK for JavaScript, unmodified, against the running application: it finds its sidecar, publishes, and is
//! brought what it subscribes to.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use selvedge_testkit::{RealProcess, real_process};
use serde_json::{Value, json};

use crate::harness::{application_copy, edit, root};

/// How long something may take that another process does.
const DEADLINE: Duration = Duration::from_secs(30);

/// The application that is written with the SDK.
struct App {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Value>,
    said: Vec<Value>,
}

impl App {
    fn start(port: u16, sidecar_port: &str) -> anyhow::Result<Self> {
        let mut child = Command::new("node")
            .args(["app.mjs", &port.to_string(), sidecar_port])
            .current_dir(root().join("target/dapr-sdk"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("node can't be started")?;
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().context("its output was asked for")?);
        std::thread::spawn(move || {
            let said = output.lines().map_while(Result::ok);
            // The SDK prints lines of its own.
            for line in said.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().context("its input was asked for")?;
        let said = Vec::new();
        Ok(Self {
            child,
            input,
            lines,
            said,
        })
    }

    fn tell(&mut self, what: &Value) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{what}")?)
    }

    /// Waits until it has said something `count` times.
    fn until(&mut self, what: &Value, count: usize) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.said.iter().filter(|said| *said == what).count() < count {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            self.said
                .push(line.with_context(|| format!("it didn't say {what} {count} times, but {:?}", self.said))?);
        }
        Ok(())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `cargo xtask test` installs the SDK; where there is no npm it leaves this test out, and says so.
#[test]
fn daprs_own_sdk_publishes_and_hears() -> anyhow::Result<()> {
    anyhow::ensure!(
        root().join("target/dapr-sdk/node_modules/@dapr/dapr").is_dir(),
        "the SDK isn't installed: run `cargo xtask test`, which does that, or leave this test out with \
         `-- --skip daprs_own_sdk`"
    );
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let copy = application_copy()?;
    let (manifest, subscriptions) = (copy.path().join("spin.toml"), copy.path().join("subscriptions.toml"));
    let allowed = format!(r#""{{{{ dapr_url }}}}", "http://127.0.0.1:{port}""#);
    edit(&manifest, r#""{{ dapr_url }}""#, &allowed)?;
    let mut text = std::fs::read_to_string(&subscriptions)?;
    text.push_str(&format!(
        "\n[[subscription]]\nname = \"sdk\"\ntypes = [\"*\"]\nmatch = \"has(event.topic)\"\n\
         target = \"http://127.0.0.1:{port}\"\nprotocol = \"dapr\"\ninitial_interval = \"50ms\"\n"
    ));
    std::fs::write(&subscriptions, text)?;
    let state = tempfile::tempdir()?;
    let process = RealProcess::start(&real_process::binary()?, &manifest, state.path(), &[])?;
    let sidecar_port = process.url().rsplit(':').next().context("its URL has a port")?;
    let mut app = App::start(port, sidecar_port)?;
    app.until(&json!({"ready": true}), 1)?;
    let (published, failed) = (|count| json!({"published": count, "error": null}), Vec::<Value>::new());

    for (data, heard) in [
        (json!({"orderId": 1}), json!({"orderId": 1})),
        (json!("Grüße"), json!("Grüße")),
        (
            json!({"specversion": "1.0", "id": "7", "source": "/shop", "type": "shop.order.placed", "data": {"orderId": 7}}),
            json!({"orderId": 7}),
        ),
    ] {
        app.tell(&json!({"publish": data, "to": "orders"}))?;
        app.until(&json!({"heard": heard, "on": "orders"}), 1)?;
    }
    app.until(&published(1), 3)?;

    let raw = json!({"publish": {"raw": true}, "to": "orders", "options": {"metadata": {"rawPayload": "true"}}});
    app.tell(&raw)?;
    app.until(&json!({"heard": {"raw": true}, "on": "orders"}), 1)?;

    app.tell(&json!({"publish": {"n": 1}, "to": "retried"}))?;
    app.until(&json!({"heard": {"n": 1}, "on": "retried"}), 2)?;
    app.tell(&json!({"publish": {"n": 2}, "to": "dropped"}))?;
    app.until(&json!({"heard": {"n": 2}, "on": "dropped"}), 1)?;
    let typed = json!({"metadata": {"cloudevent.type": "shop.order.placed"}});
    app.tell(&json!({"publish": {"n": 3}, "to": "routed", "options": typed}))?;
    app.until(&json!({"heard": {"n": 3}, "on": "routed/placed"}), 1)?;
    app.tell(&json!({"publish": {"n": 4}, "to": "routed"}))?;
    app.until(&json!({"heard": {"n": 4}, "on": "routed/other"}), 1)?;

    app.tell(&json!({"bulk": [{"n": 5}, {"n": 6}], "to": "bulk"}))?;
    app.until(&json!({"published": 2, "failed": failed}), 1)?;
    app.until(&json!({"heard": {"n": 5}, "on": "bulk"}), 1)?;
    app.until(&json!({"heard": {"n": 6}, "on": "bulk"}), 1)?;

    let partly = json!([{"event": "good", "contentType": "text/plain"}, {"event": "no base64", "contentType": "application/octet-stream"}]);
    app.tell(&json!({"bulk": partly, "to": "bulk"}))?;
    app.until(&json!({"published": 2, "failed": ["no base64"]}), 1)?;
    app.tell(&json!({"publish": 1, "to": "orders", "options": {"pubsub": "other"}}))?;
    app.until(&json!({"published": 1, "error": "ERR_PUBSUB_NOT_FOUND"}), 1)?;

    let dropped = app
        .said
        .iter()
        .filter(|said| **said == json!({"heard": {"n": 2}, "on": "dropped"}))
        .count();
    assert_eq!(dropped, 1, "what is dropped doesn't come again: {:?}", app.said);
    process.kill()?;
    Ok(())
}
