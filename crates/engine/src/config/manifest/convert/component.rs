//! `[component.<id>]`.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;

use super::template;
use crate::config::allowed_hosts::AllowedHost;
use crate::config::error::ConfigError;
use crate::config::identifier::{check_component_id, check_label, check_variable_name};
use crate::config::manifest::toml_shape::{BuildShape, ComponentShape, PlacementShape};
use crate::config::manifest::{BuildCommands, Component, FileMount};
use crate::config::template::Template;
use crate::config::toml_source::{TextOr, TomlSource};

pub fn component(
    source: TomlSource<'_>,
    folder: &Path,
    id: Spanned<String>,
    shape: ComponentShape,
) -> Result<Component, ConfigError> {
    let location = source.at(&id.span());
    let line = location.line;
    let id = id.into_inner();
    if let Err(problem) = check_component_id(&id) {
        let problem = format!("\"{id}\" is no component id: {problem}");
        return Err(ConfigError::invalid(
            location,
            problem,
            "rename the component, for example to \"my-component\"",
        ));
    }
    refuse_unsupported(source, &id, &shape)?;
    let TextOr::Text(wasm) = shape.source.get_ref() else {
        let feature = format!("the `source` of the component \"{id}\" from a URL or a registry");
        let remedy = "download the file and write its path";
        return Err(ConfigError::unsupported(
            source.at(&shape.source.span()),
            feature,
            remedy,
        ));
    };
    Ok(Component {
        line,
        description: shape.description,
        source: folder.join(wasm),
        files: shape.files.into_iter().map(file_mount).collect(),
        exclude_files: patterns(source, shape.exclude_files)?,
        environment: shape.environment,
        variables: variables(source, &id, shape.variables)?,
        key_value_stores: labels(source, shape.key_value_stores)?,
        sqlite_databases: labels(source, shape.sqlite_databases)?,
        allowed_outbound_hosts: allowed_outbound_hosts(source, &shape.allowed_outbound_hosts)?,
        ai_models: shape.ai_models,
        build: shape.build.map(|build| build_commands(folder, build)),
        id,
    })
}

fn refuse_unsupported(source: TomlSource<'_>, id: &str, shape: &ComponentShape) -> Result<(), ConfigError> {
    if let Some(dependencies) = &shape.dependencies
        && !dependencies.get_ref().is_empty()
    {
        let feature = format!("`dependencies` of the component \"{id}\"");
        let remedy = "compose the component when it is built, for example with `wac plug`";
        return Err(ConfigError::unsupported(
            source.at(&dependencies.span()),
            feature,
            remedy,
        ));
    }
    if let Some(hosts) = &shape.allowed_http_hosts {
        let feature = format!("the deprecated `allowed_http_hosts` of the component \"{id}\"");
        let remedy = "write `allowed_outbound_hosts = [\"https://host\"]` instead";
        return Err(ConfigError::unsupported(source.at(&hosts.span()), feature, remedy));
    }
    Ok(())
}

fn file_mount(shape: TextOr<PlacementShape>) -> FileMount {
    match shape {
        TextOr::Text(pattern) => FileMount::Pattern(pattern),
        TextOr::Table(PlacementShape { source, destination }) => FileMount::Placement { source, destination },
    }
}

fn patterns(source: TomlSource<'_>, texts: Vec<Spanned<String>>) -> Result<Vec<String>, ConfigError> {
    let check = |text: Spanned<String>| match glob::Pattern::new(text.get_ref()) {
        Ok(_) => Ok(text.into_inner()),
        Err(error) => {
            let problem = format!(
                "the pattern {:?} in `exclude_files` is malformed ({})",
                text.get_ref(),
                error.msg
            );
            Err(ConfigError::invalid(
                source.at(&text.span()),
                problem,
                "correct the glob pattern",
            ))
        }
    };
    texts.into_iter().map(check).collect()
}

fn variables(
    source: TomlSource<'_>,
    id: &str,
    shapes: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<String, Template>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, value) in shapes {
        if let Err(problem) = check_variable_name(name.get_ref()) {
            let problem = format!(
                "\"{}\" is no name for a variable of \"{id}\": {problem}",
                name.get_ref()
            );
            return Err(ConfigError::invalid(
                source.at(&name.span()),
                problem,
                "rename the variable",
            ));
        }
        variables.insert(name.into_inner(), template(source, &value)?);
    }
    Ok(variables)
}

fn labels(source: TomlSource<'_>, texts: Vec<Spanned<String>>) -> Result<Vec<String>, ConfigError> {
    let check = |text: Spanned<String>| match check_label(text.get_ref()) {
        Ok(()) => Ok(text.into_inner()),
        Err(problem) => {
            let problem = format!("\"{}\" is no label of a store: {problem}", text.get_ref());
            Err(ConfigError::invalid(
                source.at(&text.span()),
                problem,
                "rename the label, for example to \"default\"",
            ))
        }
    };
    texts.into_iter().map(check).collect()
}

/// Those without a variable are parsed here, where their line is known; the others when the variables are.
fn allowed_outbound_hosts(source: TomlSource<'_>, texts: &[Spanned<String>]) -> Result<Vec<Template>, ConfigError> {
    let check = |text: &Spanned<String>| {
        let template = template(source, text)?;
        if template.is_literal() {
            AllowedHost::parse(text.get_ref()).map_err(|problem| {
                let remedy = "write it as <scheme>://<host>[:<port>], for example \"https://example.com\"";
                ConfigError::invalid(source.at(&text.span()), problem, remedy)
            })?;
        }
        Ok(template)
    };
    texts.iter().map(check).collect()
}

fn build_commands(folder: &Path, shape: BuildShape) -> BuildCommands {
    let folder = shape
        .workdir
        .map_or_else(|| folder.to_owned(), |workdir| folder.join(workdir));
    BuildCommands {
        commands: shape.command.0,
        folder,
        watch: shape.watch,
    }
}
