//! `GET /asyncapi.json` says what the application has: its types, its subscriptions, as a valid AsyncAPI 3 document.

use std::process::Command;

use anyhow::Context;
use selvedge::subscription::Subscriptions;
use serde_json::Value;

use crate::application::schemas::schemas;
use crate::harness::{root, simulate};

fn document() -> anyhow::Result<Value> {
    simulate(async |world| {
        let answer = world.get("/asyncapi.json").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        Ok(answer.json())
    })
}

#[test]
fn every_type_with_a_schema_is_a_message() -> anyhow::Result<()> {
    let document = document()?;
    assert_eq!(document["asyncapi"], "3.0.0");
    for (event_type, schema) in schemas().iter() {
        let message = &document["components"]["messages"][event_type];
        assert_eq!(message["payload"]["properties"]["type"]["const"], event_type);
        let data = &document["components"]["schemas"][event_type];
        assert_eq!(data["properties"], schema.document()["properties"], "{event_type}");
    }
    Ok(())
}

#[test]
fn every_subscription_receives_what_it_hears() -> anyhow::Result<()> {
    let document = document()?;
    let text = std::fs::read_to_string(root().join("subscriptions.toml"))?;
    let subscriptions = Subscriptions::parse(&text)?;
    assert!(subscriptions.iter().len() >= 2, "subscriptions.toml has hardly any");
    for subscription in &subscriptions {
        let name = &subscription.name;
        let heard = schemas()
            .iter()
            .filter(|(event_type, _)| subscription.hears(event_type))
            .count();
        let messages = document["operations"][format!("receive.{name}")]["messages"].as_array();
        let messages = messages.with_context(|| format!("{name} is no operation"))?;
        assert!(
            messages.len() >= heard && heard > 0,
            "{name} hears {heard} types, the document has {messages:?}"
        );
    }
    Ok(())
}

/// `cargo xtask test` installs the parser; where there is no npm it leaves this test out, and says so.
#[test]
fn the_asyncapi_projects_own_parser_finds_no_mistake() -> anyhow::Result<()> {
    let parser = root().join("target/asyncapi");
    anyhow::ensure!(
        parser.join("node_modules/@asyncapi/parser").is_dir(),
        "the parser isn't installed: run `cargo xtask test`, which does that, or leave this test out with \
         `-- --skip the_asyncapi_projects_own_parser`"
    );
    let folder = tempfile::tempdir()?;
    let check = |name: &str, document: &Value| -> anyhow::Result<(bool, String)> {
        let file = folder.path().join(name);
        std::fs::write(&file, document.to_string())?;
        let output = Command::new("node")
            .arg("validate.mjs")
            .arg(&file)
            .current_dir(&parser)
            .output()?;
        let told = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&told).into_owned()))
    };
    let mut document = document()?;
    let (is_valid, told) = check("asyncapi.json", &document)?;
    assert!(is_valid, "{told}");
    assert!(told.contains("messages"), "the parser says what it read: {told}");

    // It does find mistakes.
    document["operations"]["receive.notifications"]["action"] = Value::from("listen");
    let (is_valid, told) = check("wrong.json", &document)?;
    assert!(!is_valid && told.contains("action"), "{told}");
    Ok(())
}
