//! A running application: its components, its routes, and the calls that go between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError};

use crate::Error;
use crate::component::{Component, Definition};
use crate::config::{
    CronSchedule, MqttSource, RedisSource, RouteMatch, RouteTarget, Router, StaticResponse, Variables,
    remove_spin_headers, service_chaining_target,
};
use crate::host::call::Caller;
use crate::limits;
use crate::ports::{Body, MqttMessage, Ports};
use crate::program::Program;
use crate::triggers;

/// An application that runs. Clones are the same application; it ends with its last clone.
#[derive(Clone)]
pub struct Application(Arc<Inner>);

/// The state that the triggers and components share.
pub(crate) struct Inner {
    pub program: Arc<Program>,
    pub ports: Ports,
    pub cron_triggers: Vec<CronTrigger>,
    pub redis_triggers: Vec<RedisTrigger>,
    pub mqtt_triggers: Vec<MqttTrigger>,
    router: Router,
    components: BTreeMap<String, Arc<Component>>,
    in_work: Semaphore,
}

/// One `[[trigger.cron]]`.
pub(crate) struct CronTrigger {
    pub component: Arc<Component>,
    pub schedule: CronSchedule,
}

/// One `[[trigger.redis]]`.
pub(crate) struct RedisTrigger {
    pub component: Arc<Component>,
    pub source: RedisSource,
}

/// One `[[trigger.mqtt]]`.
pub(crate) struct MqttTrigger {
    pub component: Arc<Component>,
    pub source: MqttSource,
}

impl Application {
    /// Starts `program` on `ports`. Nothing runs until a request or a tick comes.
    ///
    /// # Errors
    /// [`Error::Config`] where a template can't be expanded; [`Error::Engine`] where a component's exports can't be used.
    pub fn start(program: Arc<Program>, ports: Ports, variables: &Variables) -> Result<Self, Error> {
        let resolved = program.resolve(variables)?;
        let router = program.router()?;
        let mut failure = None;
        let inner = Arc::new_cyclic(|application: &Weak<Inner>| {
            let mut components = BTreeMap::new();
            for (id, component) in resolved {
                let Some(code) = program.code(&id) else { continue };
                let caller = Caller {
                    component: id.as_str().into(),
                    gate: ports.gate.clone(),
                };
                let definition = Definition::new(caller, component, ports.clone(), application.clone());
                match Component::new(Arc::new(definition), code) {
                    Ok(component) => drop(components.insert(id, Arc::new(component))),
                    Err(error) => failure = Some(error),
                }
            }
            let cron_triggers = program.cron_triggers(&components);
            let redis_triggers = program.redis_triggers(&components, variables);
            let redis_triggers = redis_triggers.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Vec::new()
            });
            let mqtt_triggers = program.mqtt_triggers(&components, variables);
            let mqtt_triggers = mqtt_triggers.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Vec::new()
            });
            let in_work = Semaphore::new(limits::REQUESTS_IN_WORK_MAX);
            Inner {
                program,
                ports,
                cron_triggers,
                redis_triggers,
                mqtt_triggers,
                router,
                components,
                in_work,
            }
        });
        failure.map_or(Ok(Self(inner)), Err)
    }

    /// Answers a request from outside, exactly as the HTTP trigger does. The client's `spin-*` headers are dropped.
    pub async fn handle(&self, request: Request<Body>, client: SocketAddr) -> Response<Body> {
        self.0.handle(request, client).await.unwrap_or_else(|refused| refused)
    }

    /// Sends a request to a component as service chaining does, past the public routes.
    ///
    /// # Errors
    /// [`Error::Call`] where the component traps or takes too long; [`Error::NoExport`] where it doesn't serve HTTP.
    pub async fn call(&self, component: &Component, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.0.call(component, request).await
    }

    /// One run of a cron-triggered component, now.
    ///
    /// # Errors
    /// [`Error::Call`] where the component traps, takes too long, or answers an error.
    pub async fn fire_cron(&self, component: &Arc<Component>) -> Result<(), Error> {
        triggers::cron::fire(component, self.0.ports.clock.wall_ns() / 1_000_000_000).await
    }

    /// One message of a Redis channel for a component, now.
    ///
    /// # Errors
    /// [`Error::Call`] where the component traps, takes too long, or answers an error.
    pub async fn redis_message(&self, component: &Component, payload: Vec<u8>) -> Result<(), Error> {
        triggers::redis::deliver(component, payload).await
    }

    /// One message of an MQTT topic for a component, now.
    ///
    /// # Errors
    /// [`Error::Call`] where the component traps, takes too long, or answers an error.
    pub async fn mqtt_message(&self, component: &Component, message: MqttMessage) -> Result<(), Error> {
        triggers::mqtt::deliver(component, message).await
    }

    /// The component of that id.
    pub fn component(&self, id: &str) -> Option<&Arc<Component>> {
        self.0.component(id)
    }

    /// The public routes, as `(route, component)`.
    pub fn routes(&self) -> Vec<(String, String)> {
        self.0.program.public_routes()
    }

    /// Runs all triggers until `stop` resolves, then lets requests in work end.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let http = triggers::http::serve(self.0.clone(), listener, stop);
        let mut others = JoinSet::new();
        others.spawn(triggers::cron::run(self.0.clone()));
        others.spawn(triggers::redis::run(self.0.clone()));
        others.spawn(triggers::mqtt::run(self.0.clone()));
        http.await;
        others.shutdown().await;
    }

    /// Runs the triggers of message brokers alone, for as long as it is polled: for whoever brings the other triggers'
    /// requests and ticks itself.
    pub async fn hear_messages(&self) {
        let redis = triggers::redis::run(self.0.clone());
        futures::future::join(redis, triggers::mqtt::run(self.0.clone())).await;
    }
}

impl Inner {
    pub fn component(&self, id: &str) -> Option<&Arc<Component>> {
        self.components.get(id)
    }

    /// Writes a line to a component's log.
    pub fn log(&self, component: &str, line: &str) {
        self.ports.output.write(component, 2, format!("{line}\n").as_bytes());
    }

    /// Routes and answers a request from outside; `Err` is the engine's own refusal.
    pub async fn handle(
        &self,
        mut request: Request<Body>,
        client: SocketAddr,
    ) -> Result<Response<Body>, Response<Body>> {
        let refuse = |status, title, detail: &str| triggers::http::problem(status, title, detail);
        let Some(route) = self.router.route(request.uri().path()) else {
            return Err(refuse(
                StatusCode::NOT_FOUND,
                "Not Found",
                "no route of this application has that path",
            ));
        };
        let component = match route.target {
            RouteTarget::Component(id) => self.component(id),
            RouteTarget::Static(response) => return Ok(fixed(response)),
        };
        let Some(component) = component else {
            return Err(refuse(
                StatusCode::NOT_FOUND,
                "Not Found",
                "no component answers that path",
            ));
        };
        if let Err(detail) = prepare(&mut request, &route, client) {
            return Err(refuse(StatusCode::BAD_REQUEST, "Bad Request", detail));
        }
        let _permit = self.in_work.acquire().await;
        self.call(component, request).await.map_err(|error| {
            self.log(component.id(), &error.to_string());
            let detail = "the function failed while it answered; its log says why";
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", detail)
        })
    }

    /// Sends a request to a component.
    pub async fn call(&self, component: &Component, request: Request<Body>) -> Result<Response<Body>, Error> {
        let code = component.code();
        let Some(http) = &code.http else {
            return Err(Error::NoExport {
                id: component.id().to_owned(),
                export: "wasi:http/handler@0.3.0",
            });
        };
        http.handle((), request).await.map_err(|cause| {
            let cause = match cause.downcast::<InstantiationError<()>>() {
                Ok(error) => wasmtime::format_err!("no instance could be made: {}", error.error),
                Err(cause) if cause.is::<ExpirationError>() => {
                    wasmtime::format_err!("no answer within {} s", limits::REQUEST_TIMEOUT.as_secs())
                }
                Err(cause) => cause,
            };
            Error::Call {
                id: component.id().to_owned(),
                cause,
            }
        })
    }
}

/// A response that the manifest fixes.
fn fixed(response: &StaticResponse) -> Response<Body> {
    let body = Full::new(Bytes::from(response.body.clone()))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers.clone();
    answer
}

/// Makes a client's request what a component gets: an absolute URI, no header that only the engine may set.
fn prepare(request: &mut Request<Body>, route: &RouteMatch<'_>, client: SocketAddr) -> Result<(), &'static str> {
    let headers = request.headers_mut();
    headers.remove(header::CONNECTION);
    remove_spin_headers(headers);
    let host = match headers.get(header::HOST) {
        Some(host) => host.to_str().map_err(|_| "the Host header is not text")?.to_owned(),
        None => request.uri().authority().ok_or("there is no Host header")?.to_string(),
    };
    if service_chaining_target(&host).is_some() {
        return Err("the Host header names a host inside the application");
    }
    let path_and_query = request
        .uri()
        .path_and_query()
        .cloned()
        .ok_or("the request has no path")?;
    for (name, value) in route.spin_headers("http", &host, path_and_query.as_str(), client) {
        request.headers_mut().insert(name, value);
    }
    let uri = Uri::builder()
        .scheme("http")
        .authority(host)
        .path_and_query(path_and_query);
    *request.uri_mut() = uri.build().map_err(|_| "the Host header is not a host and port")?;
    Ok(())
}
