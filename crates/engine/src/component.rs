//! A component: what the manifest says of it, its compiled code, and its running instances.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, Weak};

use wasmtime::component::InstancePre;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::Error;
use crate::application::Inner;
use crate::bindings::spin::variables::variables::Error as GuestVariableError;
use crate::config::{AllowedHosts, ComponentVariables, VariableError};
use crate::host::InstanceState;
use crate::host::call::Caller;
use crate::ports::Ports;
use crate::preflight;
use crate::program::ResolvedComponent;

mod cache;
pub(crate) mod compile;
pub(crate) mod instances;
pub(crate) mod once;

/// What the manifest says of a component, with everything resolved. It stays as it is when the code is swapped.
pub(crate) struct Definition {
    pub id: Arc<str>,
    pub environment: Vec<(String, String)>,
    /// A folder that holds just the component's files.
    pub files: Option<PathBuf>,
    pub variables: ComponentVariables,
    pub key_value_stores: Vec<String>,
    pub sqlite_databases: Vec<String>,
    pub allowed_hosts: AllowedHosts,
    pub ports: Ports,
    pub caller: Caller,
    pub application: Weak<Inner>,
}

impl Definition {
    /// `resolved` on `ports`, called through `caller`.
    pub fn new(caller: Caller, resolved: ResolvedComponent, ports: Ports, application: Weak<Inner>) -> Self {
        let ResolvedComponent {
            environment,
            files,
            variables,
            key_value_stores,
            sqlite_databases,
            allowed_hosts,
        } = resolved;
        let id = caller.component.clone();
        Self {
            id,
            environment,
            files,
            variables,
            key_value_stores,
            sqlite_databases,
            allowed_hosts,
            ports,
            caller,
            application,
        }
    }

    /// The value of a variable, as `spin:variables` answers.
    pub fn variable(&self, name: &str) -> Result<String, GuestVariableError> {
        self.variables
            .get(name)
            .map(str::to_owned)
            .map_err(|error| match error {
                VariableError::InvalidName { problem, .. } => GuestVariableError::InvalidName(problem),
                error => GuestVariableError::Undefined(error.to_string()),
            })
    }

    /// Whether the component may reach `url`; `scheme` is what an address without one means.
    pub fn allows(&self, url: &str, scheme: &str) -> bool {
        self.allowed_hosts.allows_url(url, scheme)
    }

    /// Whether the component may send a request to `uri`.
    pub fn allows_request(&self, uri: &http::Uri) -> bool {
        let scheme = uri.scheme_str().unwrap_or("http");
        uri.host()
            .is_some_and(|host| self.allowed_hosts.allows(scheme, host, uri.port_u16()))
    }
}

/// A component's code, ready to be instantiated, and the instances that run it.
pub(crate) struct Code {
    pub pre: InstancePre<InstanceState>,
    /// Set where the component exports `wasi:http/handler`.
    pub http: Option<ProxyHandler<instances::HttpInstances>>,
}

/// One component of a running application. Its code can be swapped while it runs: requests in work end on the old code,
/// later ones start on the new.
pub struct Component {
    pub(crate) definition: Arc<Definition>,
    code: RwLock<Arc<Code>>,
}

impl Component {
    pub(crate) fn new(definition: Arc<Definition>, pre: InstancePre<InstanceState>) -> Result<Self, Error> {
        let code = RwLock::new(Arc::new(Code::new(definition.clone(), pre)?));
        Ok(Self { definition, code })
    }

    /// The component's id in the manifest.
    pub fn id(&self) -> &str {
        &self.definition.id
    }

    pub(crate) fn code(&self) -> Arc<Code> {
        self.code
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Replaces the code by that of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Component`] where the file can't be read or isn't a component that this engine can run,
    /// [`Error::Platform`] where Spin couldn't run it or the component's triggers couldn't call it; the old code stays in
    /// place then.
    pub fn swap(&self, path: &Path) -> Result<(), Error> {
        let application = self.definition.application.upgrade().ok_or(Error::Stopped)?;
        let program = &application.program;
        preflight::check_code(program.manifest(), &self.definition.id, path)?;
        let pre = program.compiler.load(&self.definition.id, path)?;
        let code = Arc::new(Code::new(self.definition.clone(), pre)?);
        *self.code.write().unwrap_or_else(std::sync::PoisonError::into_inner) = code;
        Ok(())
    }
}

impl Code {
    fn new(definition: Arc<Definition>, pre: InstancePre<InstanceState>) -> Result<Self, Error> {
        let http = instances::HttpInstances::new(definition, pre.clone())?.map(ProxyHandler::new);
        Ok(Self { pre, http })
    }
}
