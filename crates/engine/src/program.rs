//! A program: a manifest, and the compiled code of its components. It can be started any number of times.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use wasmtime::component::InstancePre;

use crate::Error;
use crate::application::{CronTrigger, MqttTrigger, RedisTrigger};
use crate::component::{Component, compile::Compiler};
use crate::config::{
    AllowedHosts, ComponentVariables, HttpHandler, HttpRoute, Manifest, MqttSource, RedisSource, Router, RuntimeConfig,
    Variables, mqtt_sources, redis_sources,
};
use crate::host::InstanceState;
use crate::limits;

mod files;

/// A manifest with its components compiled.
pub struct Program {
    pub(crate) compiler: Compiler,
    manifest: Manifest,
    code: BTreeMap<String, InstancePre<InstanceState>>,
    /// Each component's files in a folder of its own, for as long as the program lives.
    files: BTreeMap<String, TempDir>,
}

/// What a component gets when an application starts.
pub(crate) struct ResolvedComponent {
    pub environment: Vec<(String, String)>,
    pub files: Option<PathBuf>,
    pub variables: ComponentVariables,
    pub key_value_stores: Vec<String>,
    pub sqlite_databases: Vec<String>,
    pub allowed_hosts: AllowedHosts,
}

impl Program {
    /// Compiles the manifest's components, with compiled code kept in the folder `cache`; `progress` is told of each.
    ///
    /// # Errors
    /// [`Error::Component`] where a file isn't a component that this engine can run; [`Error::File`] where a component's
    /// files can't be read.
    pub fn compile(manifest: Manifest, cache: Option<PathBuf>, progress: &dyn Fn(&str)) -> Result<Self, Error> {
        let compiler = Compiler::new(cache)?;
        let mut code = BTreeMap::new();
        let mut mounted = BTreeMap::new();
        for (id, component) in &manifest.components {
            let start = std::time::Instant::now();
            code.insert(id.clone(), compiler.load(id, &component.source)?);
            if start.elapsed() > limits::SLOW_COMPILATION {
                progress(&format!("Compiled {id} in {:.1} s", start.elapsed().as_secs_f64()));
            }
            if let Some(folder) = files::mount(&manifest, component)? {
                mounted.insert(id.clone(), folder);
            }
        }
        Ok(Self {
            compiler,
            manifest,
            code,
            files: mounted,
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Has running instances give way to other tasks from time to time, so that one that never awaits can't hold a
    /// thread, and can be ended. (A simulated world leaves it out: it would make two runs differ.)
    pub fn start_epoch(&self) {
        let engine = self.compiler.engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(limits::EPOCH_TICK);
            }
        });
    }

    pub(crate) fn code(&self, id: &str) -> Option<InstancePre<InstanceState>> {
        self.code.get(id).cloned()
    }

    /// Every component with the variables' values in it.
    pub(crate) fn resolve(&self, variables: &Variables) -> Result<BTreeMap<String, ResolvedComponent>, Error> {
        let resolve = |component: &crate::config::Component| -> Result<ResolvedComponent, Error> {
            Ok(ResolvedComponent {
                environment: component.environment.clone().into_iter().collect(),
                files: self.files.get(&component.id).map(|folder| folder.path().to_owned()),
                variables: variables.of_component(&self.manifest, component)?,
                key_value_stores: component.key_value_stores.clone(),
                sqlite_databases: component.sqlite_databases.clone(),
                allowed_hosts: AllowedHosts::resolve(&self.manifest, component, variables)?,
            })
        };
        let components = self.manifest.components.values();
        components
            .map(|component| Ok((component.id.clone(), resolve(component)?)))
            .collect()
    }

    pub(crate) fn router(&self) -> Result<Router, Error> {
        Ok(Router::build(&self.manifest)?)
    }

    pub(crate) fn cron_triggers(&self, components: &BTreeMap<String, Arc<Component>>) -> Vec<CronTrigger> {
        let triggers = self.manifest.triggers.cron.iter();
        let bind = |trigger: &crate::config::CronTrigger| {
            let component = components.get(&trigger.component)?.clone();
            Some(CronTrigger {
                component,
                schedule: trigger.schedule.clone(),
            })
        };
        triggers.filter_map(bind).collect()
    }

    pub(crate) fn redis_triggers(
        &self,
        components: &BTreeMap<String, Arc<Component>>,
        variables: &Variables,
    ) -> Result<Vec<RedisTrigger>, Error> {
        let bind = |source: RedisSource| {
            let component = components.get(&source.component)?.clone();
            Some(RedisTrigger { component, source })
        };
        let sources = redis_sources(&self.manifest, variables)?;
        Ok(sources.into_iter().filter_map(bind).collect())
    }

    pub(crate) fn mqtt_triggers(
        &self,
        components: &BTreeMap<String, Arc<Component>>,
        variables: &Variables,
    ) -> Result<Vec<MqttTrigger>, Error> {
        let bind = |source: MqttSource| {
            let component = components.get(&source.component)?.clone();
            Some(MqttTrigger { component, source })
        };
        let sources = mqtt_sources(&self.manifest, variables)?;
        Ok(sources.into_iter().filter_map(bind).collect())
    }

    /// The public routes, as `(route, component)`, in the manifest's order.
    pub fn public_routes(&self) -> Vec<(String, String)> {
        let route = |trigger: &crate::config::HttpTrigger| match (&trigger.route, &trigger.handler) {
            (HttpRoute::Path(path), HttpHandler::Component(component)) => Some((path.clone(), component.clone())),
            (HttpRoute::Path(path), HttpHandler::Static(_)) => Some((path.clone(), "(a static response)".to_owned())),
            (HttpRoute::Private, _) => None,
        };
        self.manifest.triggers.http.iter().filter_map(route).collect()
    }
}

/// The values of an application's variables: the command line's, the providers', the defaults; `app_url` is where the
/// application listens unless somebody says otherwise.
///
/// # Errors
/// [`Error::Config`] where a variable isn't declared, or has no value.
pub fn variables(
    manifest: &Manifest,
    runtime: &RuntimeConfig,
    mut overrides: BTreeMap<String, String>,
    listening: SocketAddr,
) -> Result<Variables, Error> {
    const APP_URL: &str = "app_url";
    let environment = |name: &str| std::env::var(name).ok();
    let resolve = |overrides: &BTreeMap<String, String>| {
        Variables::resolve(manifest, &runtime.variables_providers, overrides, &environment)
    };
    let variables = resolve(&overrides)?;
    let default = manifest
        .variables
        .get(APP_URL)
        .map(|declaration| declaration.default.as_deref());
    if overrides.contains_key(APP_URL) || default.is_none_or(|default| variables.get(APP_URL) != default) {
        return Ok(variables);
    }
    overrides.insert(APP_URL.to_owned(), format!("http://{listening}"));
    Ok(resolve(&overrides)?)
}
