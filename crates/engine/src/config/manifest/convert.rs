//! From the manifest as TOML writes it to the typed one.

mod component;
mod trigger;

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;

use super::toml_shape::{ApplicationShape, ManifestShape, VariableShape, VersionShape};
use super::{Application, Manifest, VariableDeclaration};
use crate::config::error::ConfigError;
use crate::config::identifier::check_variable_name;
use crate::config::template::Template;
use crate::config::toml_source::TomlSource;

pub fn manifest(source: TomlSource<'_>, folder: &Path) -> Result<Manifest, ConfigError> {
    check_version(source)?;
    let shape: ManifestShape = source.parse()?;
    let ApplicationShape {
        name,
        version,
        description,
        authors,
        trigger: settings,
        ..
    } = shape.application;
    let mut components = BTreeMap::new();
    for (id, component) in shape.component {
        components.insert(
            id.get_ref().clone(),
            component::component(source, folder, id, component)?,
        );
    }
    Ok(Manifest {
        file: source.file.to_owned(),
        folder: folder.to_owned(),
        application: Application {
            name,
            version,
            description,
            authors,
        },
        variables: variables(source, shape.variables)?,
        triggers: trigger::triggers(source, shape.trigger, settings)?,
        components,
    })
}

fn check_version(source: TomlSource<'_>) -> Result<(), ConfigError> {
    const REMEDY: &str = "write `spin_manifest_version = 2`, and the manifest in that version's format";
    let shape: VersionShape = source.parse()?;
    let Some(version) = shape.spin_manifest_version else {
        let location = source.at(&(0..0));
        return Err(ConfigError::invalid(
            location,
            "the manifest doesn't say its version",
            REMEDY,
        ));
    };
    match version.get_ref() {
        toml::Value::Integer(2) => Ok(()),
        other => {
            let problem = match other {
                toml::Value::Integer(version) => format!("the manifest is of version {version}, not 2"),
                _ => "the manifest isn't of version 2".to_owned(),
            };
            Err(ConfigError::invalid(source.at(&version.span()), problem, REMEDY))
        }
    }
}

fn variables(
    source: TomlSource<'_>,
    shapes: BTreeMap<Spanned<String>, VariableShape>,
) -> Result<BTreeMap<String, VariableDeclaration>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, shape) in shapes {
        let location = source.at(&name.span());
        let line = location.line;
        let name = name.into_inner();
        if let Err(problem) = check_variable_name(&name) {
            let problem = format!("\"{name}\" is no name for a variable: {problem}");
            return Err(ConfigError::invalid(location, problem, "rename the variable"));
        }
        if shape.required == shape.default.is_some() {
            let problem = format!("the variable \"{name}\" must have either `required = true` or a `default`");
            return Err(ConfigError::invalid(
                location,
                problem,
                "give it exactly one of the two",
            ));
        }
        let default = shape.default.map(|default| default.0);
        variables.insert(
            name,
            VariableDeclaration {
                default,
                secret: shape.secret,
                line,
            },
        );
    }
    Ok(variables)
}

/// A template at its place.
fn template(source: TomlSource<'_>, text: &Spanned<String>) -> Result<Template, ConfigError> {
    Template::parse(text.get_ref())
        .map_err(|problem| ConfigError::invalid(source.at(&text.span()), problem, "close each `{{` with `}}`"))
}
