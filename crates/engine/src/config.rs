//! The pure side of the configuration: what `spin.toml` and `runtime-config.toml` say, and whether an application may
//! start with it.
//!
//! The rules are Spin 4.1's. Where this side is stricter, it refuses something that Spin would accept and then do wrong:
//! two routes that collide, a store that would live in memory only, a cron expression that never fires.
//!
//! In the order in which a start meets them: [`manifest`] reads the manifest · [`runtime`] reads the runtime
//! configuration · [`variables`] resolves the application's variables and expands [`template`]s · [`allowed_hosts`]
//! says where a component may connect to · [`files`] finds a component's files · [`routes`] brings a path to its
//! component and [`headers`] tells the component about it · [`schedule`] says when a cron trigger fires ·
//! [`message_triggers`] says where the others listen · [`validate`](mod@validate) checks all of it together · [`platform`]
//! checks a built component against Spin's interfaces.

pub mod allowed_hosts;
pub mod error;
pub mod files;
pub mod headers;
pub mod identifier;
pub mod manifest;
pub mod message_triggers;
pub mod platform;
pub mod routes;
pub mod runtime;
pub mod schedule;
pub mod template;
mod toml_source;
pub mod validate;
pub mod variables;

pub use allowed_hosts::{AllowedHost, AllowedHosts, service_chaining_target};
pub use error::{ConfigError, Location};
pub use files::{MountedFile, mounted_files};
pub use headers::remove_spin_headers;
pub use manifest::{
    Application, BuildCommands, Component, CronTrigger, FileMount, HttpHandler, HttpRoute, HttpTrigger, Manifest,
    MqttBroker, MqttTrigger, RedisTrigger, StaticResponse, TriggerType, Triggers, VariableDeclaration,
};
pub use message_triggers::{MqttSource, RedisSource, mqtt_sources, redis_sources};
pub use platform::{PlatformProblem, check_component};
pub use routes::{RouteCollision, RouteMatch, RouteParameter, RouteTarget, Router};
pub use runtime::{KeyValueStoreConfig, RuntimeConfig, RuntimeFolders, SqliteDatabaseConfig, VariablesProvider};
pub use schedule::CronSchedule;
pub use template::Template;
pub use validate::{validate, validate_files, validate_manifest, validate_runtime};
pub use variables::{ComponentVariables, VariableError, Variables};
