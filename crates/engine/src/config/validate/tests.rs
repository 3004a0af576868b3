use super::*;
use std::collections::BTreeMap;
use std::path::Path;

use crate::config::runtime::RuntimeFolders;

const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"app\"\n";
const TRIGGER: &str = "[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n";
const COMPONENT: &str = "[component.a]\nsource = \"a.wasm\"\n";

fn check(text: &str, folder: &Path) -> Result<(), ConfigError> {
    let manifest = Manifest::parse(text, Path::new("spin.toml"), folder)?;
    let folders = RuntimeFolders {
        application: "/app".into(),
        current: "/".into(),
        state_dir: None,
    };
    let runtime = RuntimeConfig::read(None, &folders)?;
    let variables = Variables::resolve(&manifest, &[], &BTreeMap::new(), &|_| None)?;
    validate(&manifest, &runtime, &variables)
}

fn checked(extra: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.wasm"), "").unwrap();
    std::fs::write(folder.path().join("b.wasm"), "").unwrap();
    check(&format!("{HEAD}{TRIGGER}{COMPONENT}{extra}"), folder.path()).map_err(|error| error.to_string())
}

const CRON_ON_B: &str = "[component.b]\nsource = \"b.wasm\"\n[[trigger.cron]]\ncomponent = \"b\"\n\
                         cron_expression = \"* * * * * *\"\n";

#[test]
fn what_spin_accepts_is_accepted() {
    for extra in [
        "",
        "[component.unused]\nsource = \"b.wasm\"\n",
        "allowed_outbound_hosts = [\"http://*.spin.internal\", \"https://*:*\"]\n",
        "key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]\n",
        "variables = { x = \"{{ y }}\" }\n[variables]\ny = { default = \"1\" }\n",
        "allowed_outbound_hosts = [\"{{ y }}\"]\n[variables]\ny = { default = \"\" }\n",
        CRON_ON_B,
    ] {
        assert_eq!(checked(extra), Ok(()), "{extra}");
    }
}

#[test]
fn what_must_not_start_does_not() {
    for (extra, line, names) in [
        (
            "[[trigger.http]]\nroute = \"/b\"\ncomponent = \"b\"\n",
            9,
            "the http trigger calls the component \"b\"",
        ),
        (
            "[[trigger.cron]]\ncomponent = \"b\"\ncron_expression = \"* * * * * *\"\n",
            9,
            "the cron trigger calls",
        ),
        (
            "[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n",
            9,
            "the route \"/\" matches the same paths",
        ),
        (
            "key_value_stores = [\"other\"]\n",
            7,
            "the key-value store \"other\", which is not configured",
        ),
        ("sqlite_databases = [\"other\"]\n", 7, "[sqlite_database.other]"),
        (
            "variables = { x = \"{{ y }}\" }\n",
            7,
            "names the variable \"y\", which is not declared",
        ),
        ("allowed_outbound_hosts = [\"http://{{ y }}\"]\n", 7, "\"y\""),
        (
            "[variables]\ny = { required = true }\n",
            10,
            "the variable \"y\" is required",
        ),
        (
            "allowed_outbound_hosts = [\"http://{{ y }}\"]\n[variables]\ny = { default = \"a b\" }\n",
            7,
            "\"http://{{ y }}\"",
        ),
        ("[component.c]\nsource = \"c.wasm\"\n", 9, "cargo xtask build"),
        ("files = [\"none.toml\"]\n", 7, "\"none.toml\""),
        (
            "[application.trigger.redis]\naddress = \"{{ y }}\"\n[[trigger.redis]]\ncomponent = \"a\"\nchannel = \"c\"\n",
            11,
            "\"y\"",
        ),
    ] {
        let error = checked(extra).expect_err(extra);
        assert!(
            error.starts_with(&format!("spin.toml, line {line}: ")),
            "{error}\n{extra}"
        );
        assert!(error.contains(names) && error.contains("; "), "{error}");
    }
}

#[test]
fn service_chaining_is_for_http_only() {
    let with =
        |hosts: &str| CRON_ON_B.replace("b.wasm\"", &format!("b.wasm\"\nallowed_outbound_hosts = [\"{hosts}\"]"));
    let declared =
        |hosts: &str, default: &str| format!("{}[variables]\nurl = {{ default = \"{default}\" }}\n", with(hosts));
    for hosts in ["http://a.spin.internal", "http://*.spin.internal"] {
        let error = checked(&with(hosts)).unwrap_err();
        assert!(
            error.contains("\"b\" has a cron trigger") && error.contains("spin.internal"),
            "{error}"
        );
    }
    let by_variable = declared("{{ url }}", "http://a.spin.internal");
    assert!(checked(&by_variable).unwrap_err().contains("\"b\" has a cron trigger"));
    let allowed = declared("{{ url }}", "http://127.0.0.1:3000");
    assert_eq!(checked(&allowed), Ok(()));
    // A component of its own isn't enough when it is shared.
    let shared = "allowed_outbound_hosts = [\"http://a.spin.internal\"]\n[[trigger.cron]]\ncomponent = \"a\"\n\
                  cron_expression = \"* * * * * *\"\n";
    assert!(checked(shared).unwrap_err().contains("\"a\" has a cron trigger"));
}

#[test]
fn mqtt_settings_are_templates_too() {
    let broker = "[application.trigger.mqtt]\naddress = \"{{ y }}\"\nusername = \"\"\npassword = \"\"\n\
                  keep_alive_interval = \"30\"\n";
    assert!(checked(broker).unwrap_err().contains("\"y\""));
    let topic = broker.replace("{{ y }}", "mqtt://x")
        + "[[trigger.mqtt]]\ncomponent = \"a\"\ntopic = \"{{ z }}\"\nqos = \"0\"\n";
    assert!(checked(&topic).unwrap_err().contains("\"z\""));
}
