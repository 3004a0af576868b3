//! HTTP requests that leave the application: HTTP/1.1, and HTTP/2 where a TLS server offers it, on pooled connections.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, Sleep, sleep, timeout};
use wasmtime_wasi_http::Error;

use super::connector::{CONNECT_TIMEOUT, ConnectError, Connector};
use super::limits::{HTTP_IDLE_CONNECTIONS_MAX, HTTP_IDLE_TIMEOUT, HTTP_TIMEOUT};
use crate::ports::{Body, OutboundRequest};

/// A client whose idle connections are shared by all requests.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client<Connector, Body>,
}

impl Default for HttpClient {
    fn default() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(HTTP_IDLE_TIMEOUT)
            .pool_max_idle_per_host(HTTP_IDLE_CONNECTIONS_MAX)
            .build(Connector);
        Self { client }
    }
}

impl HttpClient {
    /// Sends a request; returns with the response's head. A connection that the server closed while it was idle is replaced
    /// without the caller's notice; a request that may have reached the server is never sent twice.
    pub(super) async fn send(&self, outbound: OutboundRequest) -> Result<Response<Body>, Error> {
        let OutboundRequest {
            request,
            connect_timeout,
            first_byte_timeout,
            between_bytes_timeout,
        } = outbound;
        if request.uri().authority().is_none() {
            return Err(Error::HttpRequestUriInvalid);
        }
        let connect_timeout = connect_timeout.unwrap_or(HTTP_TIMEOUT);
        let sending = CONNECT_TIMEOUT.scope(connect_timeout, self.client.request(request));
        let response = match timeout(first_byte_timeout.unwrap_or(HTTP_TIMEOUT), sending).await {
            Ok(response) => response.map_err(|error| error_of(&error))?,
            Err(_) => return Err(Error::ConnectionReadTimeout),
        };
        let limit = between_bytes_timeout.unwrap_or(HTTP_TIMEOUT);
        Ok(response.map(|body| {
            TimedBody {
                body,
                limit,
                timer: None,
            }
            .boxed_unsync()
        }))
    }
}

/// The error that a component is to see, from wherever in the chain of causes it says it.
fn error_of(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            return connect.into();
        }
        if let Some(body) = error.downcast_ref::<Error>() {
            return of_request_body(body);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && hyper.source().is_none_or(|cause| !cause.is::<Error>())
        {
            return of_hyper(hyper);
        }
        cause = error.source();
    }
    Error::HttpProtocolError
}

fn of_hyper(error: &hyper::Error) -> Error {
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    if error.is_timeout() {
        Error::ConnectionReadTimeout
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io.is_some() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}

/// The error with which the component's own body ended the request: these can't be cloned.
fn of_request_body(error: &Error) -> Error {
    match error {
        Error::HttpRequestBodySize(size) => Error::HttpRequestBodySize(*size),
        error => Error::InternalError(Some(error.to_string())),
    }
}

/// A response's body that fails when the server pauses for too long.
struct TimedBody {
    body: Incoming,
    limit: Duration,
    /// Made when the body keeps its reader waiting for the first time: most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for TimedBody {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| of_hyper(&error))));
        }
        let limit = this.limit;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(context));
        timer.as_mut().reset(Instant::now() + limit);
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
