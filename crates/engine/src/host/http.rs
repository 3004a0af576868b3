//! `wasi:http@0.3.0`, outbound: service chaining, and the network.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::call::TrapSignal;
use crate::component::{Component, Definition};
use crate::config::{RouteMatch, remove_spin_headers, service_chaining_target};
use crate::ports::OutboundRequest;

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// The outbound side of one instance.
pub(crate) struct Outbound {
    component: Arc<Definition>,
    pub trap: Arc<TrapSignal>,
}

impl Outbound {
    pub fn new(component: Arc<Definition>) -> Self {
        Self {
            component,
            trap: Arc::default(),
        }
    }
}

impl WasiHttpHooks for Outbound {
    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let component = self.component.clone();
        let trap = self.trap.clone();
        Box::new(async move {
            let detail = match component.caller.gate {
                Some(_) => format!("{} {}", request.method(), request.uri()),
                None => String::new(),
            };
            let fail = |text| Error::InternalError(Some(text));
            let work = |copy_after| component.clone().send_copied(request, options, copy_after);
            match component.caller.call_with("http.send", || detail, fail, work).await {
                Ok(answer) => answer.map(|response| (response, done())),
                Err(_) => {
                    trap.trap();
                    std::future::pending().await
                }
            }
        })
    }
}

fn done() -> Box<dyn Future<Output = Result<(), Error>> + Send> {
    Box::new(std::future::ready(Ok(())))
}

impl Definition {
    /// Sends a request, and where the gate wants it a copy as well, after a time.
    async fn send_copied(
        self: Arc<Self>,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        copy_after: Option<Duration>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let Some(after) = copy_after else {
            return self.send(request, options).await;
        };
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let build = |parts| {
            let body = Full::new(body.clone()).map_err(|never| match never {});
            http::Request::from_parts(parts, body.boxed_unsync())
        };
        let copy = build(parts.clone());
        let sender = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Ok(answer) = sender.send(copy, options).await {
                // Nobody hears it, but it is sent to its end.
                let _ = answer.into_body().collect().await;
            }
        });
        self.send(build(parts), options).await
    }

    async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<http::Response<WasiBody>, Error> {
        if !self.allows_request(request.uri()) {
            return Err(Error::HttpRequestDenied);
        }
        if let Some(target) = request.uri().host().and_then(service_chaining_target) {
            let application = self.application.upgrade().ok_or(Error::DestinationUnavailable)?;
            let target = application.component(target).ok_or(Error::DestinationNotFound)?.clone();
            let request = chained(request, &target);
            return application
                .call(&target, request)
                .await
                .map_err(|error| Error::InternalError(Some(error.to_string())));
        }
        let options = options.unwrap_or_default();
        let request = OutboundRequest {
            request,
            connect_timeout: options.connect_timeout,
            first_byte_timeout: options.first_byte_timeout,
            between_bytes_timeout: options.between_bytes_timeout,
        };
        self.ports.network.send(request).await
    }
}

/// A request by service chaining as its target gets it: with the headers that only the host may set.
fn chained(mut request: http::Request<WasiBody>, target: &Component) -> http::Request<WasiBody> {
    const NO_CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let uri = request.uri();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
    let route = RouteMatch::chained(target.id(), uri.path());
    let set = route.spin_headers("http", host, path_and_query, NO_CLIENT);
    let headers = request.headers_mut();
    remove_spin_headers(headers);
    headers.extend(set);
    request
}
