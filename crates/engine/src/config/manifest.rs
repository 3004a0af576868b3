//! The application's manifest, `spin.toml` in version 2, read and typed.
//!
//! Reading refuses what is malformed line by line: an unknown key, a wrong type, an id or a template that breaks its
//! rule. What only shows when several parts are seen together is [`validate`](mod@super::validate)'s.

mod convert;
mod toml_shape;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Location};
use super::schedule::CronSchedule;
use super::template::Template;
use super::toml_source::TomlSource;

/// A whole manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file it was read from, as it was named.
    pub file: PathBuf,
    /// The folder that its paths are relative to; absolute when [`Manifest::read`] read it.
    pub folder: PathBuf,
    /// `[application]`.
    pub application: Application,
    /// `[variables]`, by name.
    pub variables: BTreeMap<String, VariableDeclaration>,
    /// `[[trigger.*]]`, each kind in the manifest's order.
    pub triggers: Triggers,
    /// `[component.*]`, by id.
    pub components: BTreeMap<String, Component>,
}

/// What the application says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its version; empty where the manifest has none.
    pub version: String,
    /// One sentence about it; empty where the manifest has none.
    pub description: String,
    /// Who wrote it.
    pub authors: Vec<String>,
}

/// A variable of the application.
#[derive(Clone, PartialEq, Eq)]
pub struct VariableDeclaration {
    /// What is used when nobody sets it; `None` when it is required. `Debug` doesn't show it.
    pub default: Option<String>,
    /// Whether its value is to be kept out of logs.
    pub secret: bool,
    /// The line it is declared in.
    pub line: usize,
}

impl fmt::Debug for VariableDeclaration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = self.default.as_ref().map(|_| "(not shown)");
        let Self { secret, line, .. } = self;
        write!(
            formatter,
            "VariableDeclaration {{ default: {default:?}, secret: {secret}, line: {line} }}"
        )
    }
}

/// All triggers of an application.
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    /// `[[trigger.http]]`.
    pub http: Vec<HttpTrigger>,
    /// `[[trigger.cron]]`.
    pub cron: Vec<CronTrigger>,
    /// `[[trigger.redis]]`.
    pub redis: Vec<RedisTrigger>,
    /// `[[trigger.mqtt]]`.
    pub mqtt: Vec<MqttTrigger>,
    /// `[application.trigger.mqtt]`: the one broker of all MQTT triggers. There when there is an MQTT trigger.
    pub mqtt_broker: Option<MqttBroker>,
}

/// The kinds of triggers that the engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TriggerType {
    /// A request.
    Http,
    /// A schedule.
    Cron,
    /// A message on a Redis channel.
    Redis,
    /// A message on an MQTT topic.
    Mqtt,
}

impl fmt::Display for TriggerType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "http",
            Self::Cron => "cron",
            Self::Redis => "redis",
            Self::Mqtt => "mqtt",
        })
    }
}

/// `[[trigger.http]]`.
#[derive(Debug, Clone)]
pub struct HttpTrigger {
    /// The trigger's id; made from the component's where the manifest has none.
    pub id: String,
    /// Which requests it takes.
    pub route: HttpRoute,
    /// Who answers them.
    pub handler: HttpHandler,
    /// The line it starts in.
    pub line: usize,
}

/// Which requests an HTTP trigger takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpRoute {
    /// Those whose path matches the pattern.
    Path(String),
    /// Only those of other components, by service chaining.
    Private,
}

/// Who answers an HTTP trigger's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpHandler {
    /// The component of that id.
    Component(String),
    /// The host itself, always with the same response.
    Static(StaticResponse),
}

/// A response that the host gives without a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticResponse {
    /// Its status.
    pub status: http::StatusCode,
    /// Its headers.
    pub headers: http::HeaderMap,
    /// Its body; empty where the manifest has none.
    pub body: String,
}

/// `[[trigger.cron]]`.
#[derive(Debug, Clone)]
pub struct CronTrigger {
    /// The trigger's id.
    pub id: String,
    /// The id of the component that it calls.
    pub component: String,
    /// When it fires, in UTC.
    pub schedule: CronSchedule,
    /// The line it starts in.
    pub line: usize,
}

/// `[[trigger.redis]]`.
#[derive(Debug, Clone)]
pub struct RedisTrigger {
    /// The trigger's id.
    pub id: String,
    /// The id of the component that it calls.
    pub component: String,
    /// The server: its own, or `[application.trigger.redis]`'s.
    pub address: Template,
    /// The channel; no pattern.
    pub channel: Template,
    /// The line it starts in.
    pub line: usize,
}

/// `[[trigger.mqtt]]`.
#[derive(Debug, Clone)]
pub struct MqttTrigger {
    /// The trigger's id.
    pub id: String,
    /// The id of the component that it calls.
    pub component: String,
    /// The topic, which may hold wildcards.
    pub topic: Template,
    /// The quality of service: 0, 1 or 2.
    pub qos: u8,
    /// The line it starts in.
    pub line: usize,
}

/// `[application.trigger.mqtt]`. `Debug` shows neither user name nor password.
#[derive(Clone)]
pub struct MqttBroker {
    /// `mqtt://host:port`.
    pub address: Template,
    /// May expand to nothing.
    pub username: Template,
    /// May expand to nothing.
    pub password: Template,
    /// The keep-alive interval.
    pub keep_alive_s: u64,
}

impl fmt::Debug for MqttBroker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MqttBroker")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// `[component.<id>]`.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its id.
    pub id: String,
    /// One sentence about it; empty where the manifest has none.
    pub description: String,
    /// Its .wasm file.
    pub source: PathBuf,
    /// The files that it may read.
    pub files: Vec<FileMount>,
    /// Patterns, relative to the manifest's folder, of files that it may not read although `files` matches them.
    pub exclude_files: Vec<String>,
    /// Its environment variables.
    pub environment: BTreeMap<String, String>,
    /// Its variables, by the name it asks for.
    pub variables: BTreeMap<String, Template>,
    /// The labels of the key-value stores that it may open.
    pub key_value_stores: Vec<String>,
    /// The labels of the SQLite databases that it may open.
    pub sqlite_databases: Vec<String>,
    /// Where it may connect to.
    pub allowed_outbound_hosts: Vec<Template>,
    /// The AI models that it may use. The embedded engine has none.
    pub ai_models: Vec<String>,
    /// How it is built.
    pub build: Option<BuildCommands>,
    /// The line it is declared in.
    pub line: usize,
}

/// Files that a component may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileMount {
    /// A file, a folder or a glob pattern relative to the manifest's folder; seen by the component under the same path.
    Pattern(String),
    /// A file or folder, seen by the component under another path.
    Placement {
        /// Relative to the manifest's folder.
        source: String,
        /// The path that the component sees; absolute.
        destination: String,
    },
}

/// How a component is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildCommands {
    /// Shell commands, run in their order.
    pub commands: Vec<String>,
    /// The folder they run in.
    pub folder: PathBuf,
    /// Globs of the files whose change makes a new build necessary, relative to `folder`.
    pub watch: Vec<String>,
}

impl Manifest {
    /// Reads a manifest. A folder is taken to mean the `spin.toml` in it. Its paths are relative to its own folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = match path.is_dir() {
            true => path.join("spin.toml"),
            false => path.to_owned(),
        };
        let cannot_read = |cause| ConfigError::CannotRead {
            file: file.clone(),
            cause,
        };
        let text = std::fs::read_to_string(&file).map_err(cannot_read)?;
        let absolute = std::path::absolute(&file).map_err(cannot_read)?;
        // A file always has a folder: `absolute` fails on an empty path, and the root is no readable file.
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self::parse(&text, &file, &folder)
    }

    /// Parses the text of a manifest. `file` is the name that errors give it; paths are relative to `folder`.
    pub fn parse(text: &str, file: &Path, folder: &Path) -> Result<Self, ConfigError> {
        convert::manifest(TomlSource { file, text }, folder)
    }

    /// A line of this manifest, for an error.
    pub fn at(&self, line: usize) -> Location {
        Location::new(&self.file, line)
    }

    /// The triggers that call a component: each kind once, in a fixed order.
    pub fn trigger_types_of(&self, component: &str) -> Vec<TriggerType> {
        let triggers = &self.triggers;
        let is_http = |trigger: &HttpTrigger| trigger.handler == HttpHandler::Component(component.to_owned());
        [
            (TriggerType::Http, triggers.http.iter().any(is_http)),
            (
                TriggerType::Cron,
                triggers.cron.iter().any(|trigger| trigger.component == component),
            ),
            (
                TriggerType::Redis,
                triggers.redis.iter().any(|trigger| trigger.component == component),
            ),
            (
                TriggerType::Mqtt,
                triggers.mqtt.iter().any(|trigger| trigger.component == component),
            ),
        ]
        .into_iter()
        .filter_map(|(kind, calls)| calls.then_some(kind))
        .collect()
    }
}

#[cfg(test)]
mod tests;
