//! The same files run on Spin 4.1: every built component asks for nothing that Spin hasn't, and the manifest breaks none
//! of Spin's rules.

use std::path::{Path, PathBuf};

use selvedge_engine::config::{
    Component, Manifest, PlatformProblem, TriggerType, check_component, validate_files, validate_manifest,
};

use crate::harness::root;

fn manifest() -> anyhow::Result<Manifest> {
    Ok(Manifest::read(&root().join("spin.toml"))?)
}

fn bytes_of(id: &str) -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(&manifest()?.components[id].source)?)
}

/// The problems of a component, as an operator reads them.
fn problems(bytes: &[u8], trigger: TriggerType) -> Vec<String> {
    let told = |problems: Vec<PlatformProblem>| problems.iter().map(ToString::to_string).collect();
    check_component(bytes, &[trigger]).err().map(told).unwrap_or_default()
}

/// `bytes` with every `from` made a `to` of the same length, so that the file stays well formed.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut changed = bytes.to_vec();
    let mut found = false;
    for start in 0..changed.len().saturating_sub(from.len()) {
        if changed[start..].starts_with(from.as_bytes()) {
            changed[start..start + to.len()].copy_from_slice(to.as_bytes());
            found = true;
        }
    }
    assert!(found, "the component has no {from}: adapt the test");
    changed
}

/// spin.toml, and the manifests that run the same components on a broker.
fn manifests() -> anyhow::Result<Vec<Manifest>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(root())? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("spin.") && name.ends_with(".toml") {
            files.push(file);
        }
    }
    assert!(files.len() >= 3, "{files:?}");
    Ok(files
        .iter()
        .map(|file| Manifest::read(file))
        .collect::<Result<_, _>>()?)
}

#[test]
fn every_component_runs_on_spin() -> anyhow::Result<()> {
    for manifest in manifests()? {
        validate_manifest(&manifest)?;
        validate_files(&manifest)?;
        let file = manifest.file.display();
        assert!(
            manifest.components.len() >= 6,
            "{file}: {:?}",
            manifest.components.keys()
        );
        for Component { id, source, .. } in manifest.components.values() {
            let triggers = manifest.trigger_types_of(id);
            assert!(
                !triggers.is_empty(),
                "{file}: {id} has no trigger: nothing would ever call it"
            );
            let checked = check_component(&std::fs::read(source)?, &triggers);
            assert_eq!(checked, Ok(()), "{file}: {id}");
        }
    }
    Ok(())
}

#[test]
fn the_same_components_run_on_every_broker() -> anyhow::Result<()> {
    let local = manifest()?;
    for manifest in manifests()? {
        let file = manifest.file.display();
        for (id, component) in &local.components {
            let same = manifest
                .components
                .get(id)
                .unwrap_or_else(|| panic!("{file} has no {id}"));
            assert_eq!(same.source, component.source, "{file}: {id}");
            assert_eq!(same.key_value_stores, component.key_value_stores, "{file}: {id}");
            assert_eq!(same.sqlite_databases, component.sqlite_databases, "{file}: {id}");
            let command = |component: &Component| component.build.as_ref().map(|build| build.commands.clone());
            assert_eq!(command(same), command(component), "{file}: {id}");
            for (name, value) in &component.variables {
                assert_eq!(same.variables.get(name), Some(value), "{file}: {id}");
            }
        }
        let routes = |manifest: &Manifest| {
            let routes = manifest.triggers.http.iter();
            routes
                .map(|trigger| (trigger.route.clone(), trigger.handler.clone()))
                .collect::<Vec<_>>()
        };
        for route in routes(&local) {
            assert!(routes(&manifest).contains(&route), "{file} has no {route:?}");
        }
        for (name, declared) in &local.variables {
            let same = manifest
                .variables
                .get(name)
                .unwrap_or_else(|| panic!("{file} has no {name}"));
            assert_eq!(
                (&same.default, same.secret),
                (&declared.default, declared.secret),
                "{file}: {name}"
            );
        }
    }
    Ok(())
}

#[test]
fn spin_can_build_every_component() -> anyhow::Result<()> {
    for manifest in manifests()? {
        for component in manifest.components.values() {
            assert_buildable(component);
        }
    }
    Ok(())
}

fn assert_buildable(component: &Component) {
    let id = &component.id;
    let build = component
        .build
        .as_ref()
        .unwrap_or_else(|| panic!("{id} has no [component.{id}.build]"));
    let [command] = &build.commands[..] else {
        panic!("{id} is built by {:?}", build.commands);
    };
    assert!(
        command.contains(&format!("--package {id} ")),
        "{id} builds something else: {command}"
    );
    // What it builds is where its `source` points.
    let built = format!("target/functions/wasm32-wasip2/component/{}.wasm", id.replace('-', "_"));
    assert_eq!(component.source, root().join(built), "{id}");
    for option in [
        "--target wasm32-wasip2",
        "--profile component",
        "--target-dir target/functions",
    ] {
        assert!(command.contains(option), "{id}: no {option} in {command}");
    }
    let own = format!("functions/{id}/");
    assert!(
        build.watch.iter().any(|glob| glob.starts_with(&own)),
        "{id} doesn't watch its own files"
    );
}

#[test]
fn service_chaining_is_named_by_http_components_only() -> anyhow::Result<()> {
    for manifest in manifests()? {
        let mut others = 0;
        for component in manifest.components.values() {
            if manifest.trigger_types_of(&component.id) == [TriggerType::Http] {
                continue;
            }
            others += 1;
            for host in &component.allowed_outbound_hosts {
                assert!(
                    !host.source().contains("spin.internal"),
                    "{} names {}",
                    component.id,
                    host.source()
                );
            }
        }
        assert!(others > 0, "there is a component with another trigger");
    }
    Ok(())
}

#[test]
fn a_manifest_that_spin_would_refuse_is_refused() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("spin.toml"))?;
    let chained = "allowed_outbound_hosts = [\"http://relay.spin.internal\"]\nsqlite_databases";
    let any_chained = "allowed_outbound_hosts = [\"http://*.spin.internal\"]\nsqlite_databases";
    let app_url = "allowed_outbound_hosts = [\"{{ app_url }}\"]\nsqlite_databases";
    for (from, to, names) in [
        (app_url, chained, "outbox-cron"),
        (app_url, any_chained, "outbox-cron"),
        (
            app_url,
            "allowed_outbound_hosts = [\"{{ app_uri }}\"]\nsqlite_databases",
            "app_uri",
        ),
        (
            app_url,
            "allowed_outbound_hosts = [\"127.0.0.1\"]\nsqlite_databases",
            "127.0.0.1",
        ),
        (
            "admin_token = \"{{ admin_token }}\"",
            "admin_token = \"{{ admin_tokens }}\"",
            "admin_tokens",
        ),
        (
            "admin_token = \"{{ admin_token }}\"",
            "admin_token = \"{{ admin_token \"",
            "{{ admin_token",
        ),
        ("route = \"/relay/...\"", "route = \"/todos/...\"", "/todos/..."),
        ("route = \"/relay/...\"", "route = \"todos/...\"", "todos/..."),
        (
            "route = \"/relay/...\"",
            "route = \"/.well-known/spin/relay\"",
            ".well-known",
        ),
        ("route = \"/relay/...\"", "route = \"/relay/.../x\"", "/relay/.../x"),
        ("component = \"relay\"", "component = \"relays\"", "relays"),
        (
            "spin_manifest_version = 2",
            "spin_manifest_version = 3",
            "spin_manifest_version",
        ),
        (
            "cron_expression = \"* * * * * *\"",
            "cron_expression = \"often\"",
            "often",
        ),
        ("files = [", "file = [", "file"),
        ("[trigger.http]]", "[trigger.pigeon]]", "pigeon"),
    ] {
        assert!(text.contains(from), "spin.toml has no {from:?}: adapt the test");
        let changed = text.replacen(from, to, 1);
        let checked = Manifest::parse(&changed, Path::new("spin.toml"), &root())
            .and_then(|manifest| validate_manifest(&manifest));
        let Err(error) = checked else {
            panic!("a manifest with {to:?} was taken");
        };
        let said = error.to_string();
        assert!(
            said.starts_with("spin.toml, line ") && said.contains(names),
            "{to:?}: {said}"
        );
        assert!(!said.contains('\n'), "{said}");
    }
    Ok(())
}

#[test]
fn a_component_that_asks_for_what_spin_has_not_is_refused() -> anyhow::Result<()> {
    let todos = bytes_of("todos")?;
    for trigger in [TriggerType::Http, TriggerType::Redis, TriggerType::Mqtt] {
        assert_eq!(problems(&todos, trigger), Vec::<String>::new());
    }
    for (from, to) in [
        // Versions that no Spin 4.1 has, and an interface that nobody has.
        ("wasi:http/types@0.3.0", "wasi:http/types@0.4.0"),
        ("spin:sqlite/sqlite@3.1.0", "spin:sqlite/sqlite@3.2.0"),
        ("spin:variables/variables@3.0.0", "spin:variables/variables@4.0.0"),
        ("wasi:random/random@0.3.0", "wasi:random/chance@0.3.0"),
    ] {
        let found = problems(&replaced(&todos, from, to), TriggerType::Http);
        assert!(found.iter().any(|problem| problem.contains(to)), "{to}: {found:?}");
    }
    Ok(())
}

#[test]
fn a_component_that_its_trigger_cannot_call_is_refused() -> anyhow::Result<()> {
    let (todos, cron) = (bytes_of("todos")?, bytes_of("outbox-cron")?);
    assert_eq!(problems(&cron, TriggerType::Cron), Vec::<String>::new());
    for (bytes, trigger) in [
        (&cron, TriggerType::Http),
        (&cron, TriggerType::Redis),
        (&cron, TriggerType::Mqtt),
        (&todos, TriggerType::Cron),
    ] {
        let found = problems(bytes, trigger);
        assert!(
            found.len() == 1 && found[0].contains(&trigger.to_string()),
            "{trigger}: {found:?}"
        );
    }
    let exported = replaced(&todos, "wasi:http/handler@0.3.0", "wasi:http/handler@0.9.0");
    assert_eq!(problems(&exported, TriggerType::Http).len(), 1);
    for no_component in [
        &b"\0asm\x01\0\0\0"[..],
        b"",
        b"this is no component",
        &todos[..todos.len() / 2],
    ] {
        assert_eq!(problems(no_component, TriggerType::Http).len(), 1);
    }
    Ok(())
}
