//! The application's variables and their values.
//!
//! A value comes from the first of: the command line, the runtime configuration's providers in their order, the
//! environment (`SPIN_VARIABLE_<NAME>`, also in a file `.env`), the manifest's default. Values are read once, when the
//! application starts. `Debug` and errors name variables and never show a value.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::error::{ConfigError, Location};
use super::identifier::check_variable_key;
use super::manifest::{Component, Manifest};
use super::runtime::VariablesProvider;
use super::template::Template;

/// The values of all variables of an application.
#[derive(Clone)]
pub struct Variables {
    values: BTreeMap<String, Value>,
}

#[derive(Clone)]
struct Value {
    text: String,
    secret: bool,
}

/// Why a variable has no value; the first two cases of `spin:variables`' `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VariableError {
    /// The name breaks the rule for names.
    #[error("\"{name}\" is no name of a variable: {problem}")]
    InvalidName {
        /// The name.
        name: String,
        /// The rule that it breaks.
        problem: String,
    },
    /// There is no such variable.
    #[error("the variable \"{name}\" is not defined; declare it in the manifest")]
    Undefined {
        /// The name.
        name: String,
    },
}

impl VariableError {
    /// Whether the same call may succeed later: never, values don't change while the application runs.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl Variables {
    /// Finds the value of every variable that the manifest declares.
    ///
    /// `overrides` are the command line's; one of an undeclared name is an error. `environment` looks up an environment
    /// variable. A required variable without a value is an error that says how to set it.
    pub fn resolve(
        manifest: &Manifest,
        providers: &[VariablesProvider],
        overrides: &BTreeMap<String, String>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        if let Some(name) = overrides.keys().find(|name| !manifest.variables.contains_key(*name)) {
            let declared = manifest
                .variables
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            let problem = format!("the variable \"{name}\" that is to be set is not declared");
            let remedy = format!("use one of the declared ones ({declared}), or declare it in [variables]");
            return Err(ConfigError::invalid(Location::new(&manifest.file, 0), problem, remedy));
        }
        let sources = providers.iter().map(Source::open).collect::<Result<Vec<_>, _>>()?;
        let mut values = BTreeMap::new();
        for (name, declaration) in &manifest.variables {
            let from_sources = || sources.iter().find_map(|source| source.get(name, environment));
            let text = overrides
                .get(name)
                .cloned()
                .or_else(from_sources)
                .or_else(|| declaration.default.clone());
            let Some(text) = text else {
                let problem = format!("the variable \"{name}\" is required and has no value");
                let upper = name.to_ascii_uppercase();
                let remedy =
                    format!("set it with `--variable {name}=…` or as the environment variable SPIN_VARIABLE_{upper}");
                return Err(ConfigError::invalid(manifest.at(declaration.line), problem, remedy));
            };
            values.insert(
                name.clone(),
                Value {
                    text,
                    secret: declaration.secret,
                },
            );
        }
        Ok(Self { values })
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.as_str())
    }

    /// Whether the manifest declares a variable as secret.
    pub fn is_secret(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value.secret)
    }

    /// A template with the variables' values in it; an error where it names one that isn't declared.
    pub fn expand(&self, template: &Template) -> Result<String, VariableError> {
        template.expand(|name| {
            self.get(name)
                .ok_or_else(|| VariableError::Undefined { name: name.to_owned() })
        })
    }

    /// Like [`expand`](Self::expand), with the error of a manifest that says where the template is.
    pub fn expand_at(&self, template: &Template, location: Location) -> Result<String, ConfigError> {
        self.expand(template).map_err(|error| {
            let problem = match error {
                VariableError::Undefined { name } => undeclared(template, &name),
                other => other.to_string(),
            };
            ConfigError::invalid(location, problem, DECLARE_IT)
        })
    }

    /// The values of a component's own variables.
    pub fn of_component(&self, manifest: &Manifest, component: &Component) -> Result<ComponentVariables, ConfigError> {
        let mut values = BTreeMap::new();
        for (name, template) in &component.variables {
            values.insert(name.clone(), self.expand_at(template, manifest.at(component.line))?);
        }
        Ok(ComponentVariables { values })
    }
}

/// What an error says about a template that names an undeclared variable.
pub(crate) fn undeclared(template: &Template, name: &str) -> String {
    format!("the template \"{template}\" names the variable \"{name}\", which is not declared")
}

pub(crate) const DECLARE_IT: &str = "declare it in [variables] or correct the name";

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Variables").field(&self.values.keys()).finish()
    }
}

/// The values that one component may ask for.
#[derive(Clone, Default)]
pub struct ComponentVariables {
    values: BTreeMap<String, String>,
}

impl ComponentVariables {
    /// The value of a variable, by the name that the component's `variables` give it.
    pub fn get(&self, name: &str) -> Result<&str, VariableError> {
        if let Some(value) = self.values.get(name) {
            return Ok(value);
        }
        match check_variable_key(name) {
            Ok(()) => Err(VariableError::Undefined { name: name.to_owned() }),
            Err(problem) => Err(VariableError::InvalidName {
                name: name.to_owned(),
                problem,
            }),
        }
    }

    /// All names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for ComponentVariables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ComponentVariables")
            .field(&self.values.keys())
            .finish()
    }
}

/// A provider that is ready to be asked.
enum Source<'a> {
    Static(&'a BTreeMap<String, String>),
    Environment {
        prefix: &'a str,
        from_file: HashMap<String, String>,
    },
}

impl<'a> Source<'a> {
    fn open(provider: &'a VariablesProvider) -> Result<Self, ConfigError> {
        match provider {
            VariablesProvider::Static { values } => Ok(Self::Static(values)),
            VariablesProvider::Env { prefix, dotenv_path } => {
                // A file that isn't there holds no values, as with Spin: the default one usually isn't.
                let entries = dotenv_path.as_ref().map(|path| (path, dotenvy::from_path_iter(path)));
                let from_file = match entries {
                    Some((path, Ok(entries))) => {
                        entries.collect::<Result<_, _>>().map_err(|_| malformed_dotenv(path))?
                    }
                    Some((_, Err(_))) | None => HashMap::new(),
                };
                Ok(Self::Environment { prefix, from_file })
            }
        }
    }

    fn get(&self, name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        match self {
            Self::Static(values) => values.get(name).cloned(),
            Self::Environment { prefix, from_file } => {
                let key = format!("{prefix}_{}", name.to_ascii_uppercase());
                environment(&key).or_else(|| from_file.get(&key).cloned())
            }
        }
    }
}

fn malformed_dotenv(path: &std::path::Path) -> ConfigError {
    // The parser's error quotes the line, which may hold a secret.
    ConfigError::invalid(
        Location::new(path, 0),
        "a line of the file isn't NAME=value",
        "correct the file",
    )
}

#[cfg(test)]
mod tests;
