//! One node of a world, and the requests that are made of it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use selvedge_engine::ports::Body;
use selvedge_engine::{Application, Error};
use serde_json::Value;

use super::gate::Faults;

/// Where the application is reached by its public address.
pub(super) const APP_ADDRESS: &str = "127.0.0.1:3000";

/// One node: an application on the shared stores, with faults of its own.
pub struct Node {
    /// The running application.
    pub application: Application,
    /// What goes wrong on this node.
    pub faults: Arc<Faults>,
}

impl Node {
    /// Sends a request from outside to this node.
    ///
    /// # Panics
    /// Where the request isn't well formed.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let headers = [&[("host", APP_ADDRESS)], headers].concat();
        self.handle(build(method, path, &headers, body.into())).await
    }

    /// Sends a request to one of its components, as service chaining does.
    ///
    /// # Errors
    /// [`Error::Call`] where the component traps or takes too long.
    ///
    /// # Panics
    /// Where there is no such component, or the request isn't well formed.
    pub async fn call(
        &self,
        component: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Error> {
        let url = format!("http://{component}.spin.internal{path}");
        let component = self
            .application
            .component(component)
            .expect("the application has the component");
        let request = build(method, &url, headers, body.into()).map(whole);
        Ok(Answer::read(self.application.call(component, request).await?).await)
    }

    /// One run of a cron-triggered component, now. What it fails with is the next run's to make good.
    pub(super) async fn fire_cron(&self, component: &str) {
        if let Some(component) = self.application.component(component) {
            let _ = self.application.fire_cron(component).await;
        }
    }

    /// Answers a request as the HTTP trigger does.
    pub(super) async fn handle(&self, request: Request<Bytes>) -> Answer {
        let client = SocketAddr::from(([127, 0, 0, 1], 50_000));
        Answer::read(self.application.handle(request.map(whole), client).await).await
    }
}

/// The answer to a request, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` where it isn't.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty where it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

fn build(method: Method, uri: &str, headers: &[(&str, &str)], body: Bytes) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("the test's request is well formed")
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}
