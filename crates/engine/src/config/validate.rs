//! Whether an application may start: what only shows when the manifest, the runtime configuration, the variables and the
//! files on disk are seen together.

use std::collections::BTreeSet;

use super::allowed_hosts::{AllowedHost, AllowedHosts};
use super::error::ConfigError;
use super::files::mounted_files;
use super::manifest::{Component, HttpHandler, Manifest, TriggerType};
use super::message_triggers::{mqtt_sources, redis_sources};
use super::routes::Router;
use super::runtime::RuntimeConfig;
use super::template::Template;
use super::variables::{DECLARE_IT, Variables, undeclared};

/// Checks everything: [`validate_manifest`], [`validate_runtime`] and [`validate_files`], in this order. The first
/// problem is the error.
pub fn validate(manifest: &Manifest, runtime: &RuntimeConfig, variables: &Variables) -> Result<(), ConfigError> {
    validate_manifest(manifest)?;
    validate_runtime(manifest, runtime, variables)?;
    validate_files(manifest)
}

/// Checks what the manifest alone decides: triggers name components that there are, routes don't collide, templates name
/// declared variables, and service chaining is for components that nothing but HTTP triggers.
pub fn validate_manifest(manifest: &Manifest) -> Result<(), ConfigError> {
    check_triggers(manifest)?;
    Router::build(manifest)?;
    check_templates(manifest)?;
    for component in manifest.components.values() {
        let is_chaining = |template: &Template| {
            AllowedHost::parse(template.source()).is_ok_and(|host| host.is_for_service_chaining())
        };
        if component.allowed_outbound_hosts.iter().any(is_chaining) {
            check_chaining(manifest, component)?;
        }
    }
    Ok(())
}

/// Checks what needs the runtime configuration and the variables' values: the stores that components name are configured,
/// every allowed host is one with the values in it, and message triggers have somewhere to listen.
pub fn validate_runtime(
    manifest: &Manifest,
    runtime: &RuntimeConfig,
    variables: &Variables,
) -> Result<(), ConfigError> {
    let stores: BTreeSet<&str> = runtime.key_value_stores.keys().map(String::as_str).collect();
    let databases: BTreeSet<&str> = runtime.sqlite_databases.keys().map(String::as_str).collect();
    for component in manifest.components.values() {
        check_labels(
            manifest,
            component,
            "key-value store",
            "key_value_store",
            &component.key_value_stores,
            &stores,
        )?;
        check_labels(
            manifest,
            component,
            "database",
            "sqlite_database",
            &component.sqlite_databases,
            &databases,
        )?;
        variables.of_component(manifest, component)?;
        if AllowedHosts::resolve(manifest, component, variables)?.allows_service_chaining() {
            check_chaining(manifest, component)?;
        }
    }
    redis_sources(manifest, variables)?;
    mqtt_sources(manifest, variables)?;
    Ok(())
}

/// Checks the files on disk: every component's .wasm and whatever it mounts.
pub fn validate_files(manifest: &Manifest) -> Result<(), ConfigError> {
    for component in manifest.components.values() {
        if !component.source.is_file() {
            return Err(ConfigError::MissingSource {
                location: manifest.at(component.line),
                component: component.id.clone(),
                path: component.source.clone(),
            });
        }
        mounted_files(manifest, component)?;
    }
    Ok(())
}

fn check_triggers(manifest: &Manifest) -> Result<(), ConfigError> {
    let triggers = &manifest.triggers;
    let http = triggers.http.iter().filter_map(|trigger| match &trigger.handler {
        HttpHandler::Component(id) => Some((TriggerType::Http, &trigger.id, id, trigger.line)),
        HttpHandler::Static(_) => None,
    });
    let cron = triggers
        .cron
        .iter()
        .map(|trigger| (TriggerType::Cron, &trigger.id, &trigger.component, trigger.line));
    let redis = triggers
        .redis
        .iter()
        .map(|trigger| (TriggerType::Redis, &trigger.id, &trigger.component, trigger.line));
    let mqtt = triggers
        .mqtt
        .iter()
        .map(|trigger| (TriggerType::Mqtt, &trigger.id, &trigger.component, trigger.line));
    for (kind, _, component, line) in http.chain(cron).chain(redis).chain(mqtt) {
        if !manifest.components.contains_key(component) {
            let known = manifest
                .components
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            let problem = format!("the {kind} trigger calls the component \"{component}\", which there is not");
            let remedy = format!("add [component.{component}], or use one of: {known}");
            return Err(ConfigError::invalid(manifest.at(line), problem, remedy));
        }
    }
    Ok(())
}

fn check_templates(manifest: &Manifest) -> Result<(), ConfigError> {
    let triggers = &manifest.triggers;
    for component in manifest.components.values() {
        let hosts = component.allowed_outbound_hosts.iter();
        check_declared(manifest, component.line, component.variables.values().chain(hosts))?;
    }
    for trigger in &triggers.redis {
        check_declared(manifest, trigger.line, [&trigger.address, &trigger.channel])?;
    }
    for trigger in &triggers.mqtt {
        check_declared(manifest, trigger.line, [&trigger.topic])?;
    }
    match &triggers.mqtt_broker {
        Some(broker) => check_declared(manifest, 0, [&broker.address, &broker.username, &broker.password]),
        None => Ok(()),
    }
}

fn check_declared<'a>(
    manifest: &Manifest,
    line: usize,
    templates: impl IntoIterator<Item = &'a Template>,
) -> Result<(), ConfigError> {
    for template in templates {
        if let Some(name) = template
            .variables()
            .find(|name| !manifest.variables.contains_key(*name))
        {
            return Err(ConfigError::invalid(
                manifest.at(line),
                undeclared(template, name),
                DECLARE_IT,
            ));
        }
    }
    Ok(())
}

/// Spin refuses to start a trigger other than HTTP on a component that is allowed service chaining.
fn check_chaining(manifest: &Manifest, component: &Component) -> Result<(), ConfigError> {
    let id = &component.id;
    match manifest
        .trigger_types_of(id)
        .into_iter()
        .find(|kind| *kind != TriggerType::Http)
    {
        Some(kind) => {
            let problem = format!(
                "the component \"{id}\" has a {kind} trigger and may not be allowed a host of spin.internal, since Spin \
                 offers service chaining to HTTP triggers only"
            );
            let remedy = "call the application by its full URL, or give the trigger a component of its own";
            Err(ConfigError::invalid(manifest.at(component.line), problem, remedy))
        }
        None => Ok(()),
    }
}

fn check_labels(
    manifest: &Manifest,
    component: &Component,
    what: &str,
    table: &str,
    labels: &[String],
    configured: &BTreeSet<&str>,
) -> Result<(), ConfigError> {
    let Some(label) = labels.iter().find(|label| !configured.contains(label.as_str())) else {
        return Ok(());
    };
    let known = configured.iter().copied().collect::<Vec<_>>().join(", ");
    let problem = format!(
        "the component \"{}\" uses the {what} \"{label}\", which is not configured",
        component.id
    );
    let remedy = format!("add [{table}.{label}] to the runtime configuration, or use one of: {known}");
    Err(ConfigError::invalid(manifest.at(component.line), problem, remedy))
}

#[cfg(test)]
mod tests;
