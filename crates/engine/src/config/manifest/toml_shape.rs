//! The manifest as TOML writes it. Every struct refuses a key that it doesn't name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::config::toml_source::{OneOrMany, SecretText, TextOr};

/// Only the version, so that a manifest of another version gets an answer about its version.
#[derive(Deserialize)]
pub struct VersionShape {
    pub spin_manifest_version: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestShape {
    #[serde(rename = "spin_manifest_version")]
    pub _version: IgnoredAny,
    pub application: ApplicationShape,
    #[serde(default)]
    pub variables: BTreeMap<Spanned<String>, VariableShape>,
    pub trigger: TriggersShape,
    #[serde(default)]
    pub component: BTreeMap<Spanned<String>, ComponentShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationShape {
    pub name: String,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub authors: Vec<String>,
    #[serde(default, rename = "targets")]
    pub _targets: Vec<TextOr<BTreeMap<String, String>>>,
    #[serde(default)]
    pub trigger: TriggerSettingsShape,
    #[serde(default, rename = "tool")]
    pub _tool: BTreeMap<String, toml::Table>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerSettingsShape {
    pub http: Option<HttpSettingsShape>,
    pub redis: Option<RedisSettingsShape>,
    pub mqtt: Option<MqttSettingsShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettingsShape {
    pub base: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettingsShape {
    pub address: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettingsShape {
    pub address: Spanned<String>,
    pub username: Spanned<String>,
    pub password: Spanned<SecretText>,
    pub keep_alive_interval: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableShape {
    #[serde(default, rename = "description")]
    pub _description: String,
    #[serde(default)]
    pub required: bool,
    pub default: Option<SecretText>,
    #[serde(default)]
    pub secret: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggersShape {
    #[serde(default)]
    pub http: Vec<Spanned<HttpTriggerShape>>,
    #[serde(default)]
    pub cron: Vec<Spanned<CronTriggerShape>>,
    #[serde(default)]
    pub redis: Vec<Spanned<RedisTriggerShape>>,
    #[serde(default)]
    pub mqtt: Vec<Spanned<MqttTriggerShape>>,
}

/// A component's id, or the component itself in its place.
pub type ComponentShapeOrId = Spanned<TextOr<IgnoredAny>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTriggerShape {
    #[serde(default)]
    pub id: String,
    pub route: Spanned<TextOr<PrivateRouteShape>>,
    pub component: Option<ComponentShapeOrId>,
    pub static_response: Option<Spanned<StaticResponseShape>>,
    pub executor: Option<Spanned<ExecutorShape>>,
    pub components: Option<Spanned<IgnoredAny>>,
    pub dependencies: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateRouteShape {
    pub private: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticResponseShape {
    pub status_code: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorShape {
    pub r#type: String,
    #[serde(rename = "argv")]
    pub _argv: Option<String>,
    #[serde(rename = "entrypoint")]
    pub _entrypoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronTriggerShape {
    #[serde(default)]
    pub id: String,
    pub component: ComponentShapeOrId,
    pub cron_expression: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTriggerShape {
    #[serde(default)]
    pub id: String,
    pub component: ComponentShapeOrId,
    pub channel: Spanned<String>,
    pub address: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttTriggerShape {
    #[serde(default)]
    pub id: String,
    pub component: ComponentShapeOrId,
    pub topic: Spanned<String>,
    pub qos: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentShape {
    pub source: Spanned<TextOr<IgnoredAny>>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub variables: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub files: Vec<TextOr<PlacementShape>>,
    #[serde(default)]
    pub exclude_files: Vec<Spanned<String>>,
    pub allowed_http_hosts: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub key_value_stores: Vec<Spanned<String>>,
    #[serde(default)]
    pub sqlite_databases: Vec<Spanned<String>>,
    #[serde(default)]
    pub ai_models: Vec<String>,
    #[serde(default, rename = "targets")]
    pub _targets: Vec<TextOr<BTreeMap<String, String>>>,
    pub build: Option<BuildShape>,
    #[serde(default, rename = "tool")]
    pub _tool: BTreeMap<String, toml::Table>,
    pub dependencies: Option<Spanned<BTreeMap<String, IgnoredAny>>>,
    #[serde(rename = "dependencies_inherit_configuration")]
    pub _dependencies_inherit_configuration: Option<bool>,
    #[serde(default, rename = "profile")]
    pub _profile: BTreeMap<String, ProfileShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementShape {
    pub source: String,
    pub destination: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildShape {
    pub command: OneOrMany,
    pub workdir: Option<String>,
    #[serde(default)]
    pub watch: Vec<String>,
}

/// A profile is only used when it is asked for, which the engine doesn't do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileShape {
    #[serde(rename = "source")]
    pub _source: Option<TextOr<IgnoredAny>>,
    #[serde(default, rename = "environment")]
    pub _environment: BTreeMap<String, String>,
    #[serde(default, rename = "dependencies")]
    pub _dependencies: BTreeMap<String, IgnoredAny>,
    #[serde(rename = "build")]
    pub _build: Option<ProfileBuildShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileBuildShape {
    #[serde(rename = "command")]
    pub _command: OneOrMany,
}
