//! The HTTP trigger: HTTP/1.1 and HTTP/2 on one port, bounded, stopped gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::application::Inner;
use crate::limits;
use crate::ports::Body;

mod body;
mod open_stream;

use body::Unread;

/// Serves until `stop` resolves, then lets requests in work end (at most [`limits::SHUTDOWN_TIMEOUT`]). Streams of events
/// are ended at once: their clients come back to whoever serves then.
pub(crate) async fn serve(application: Arc<Inner>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder());
    let mut stop = std::pin::pin!(stop);
    let (stopping, stopped) = watch::channel(());
    loop {
        let accepted = async {
            let permit = connections.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        // An accept that failed is that client's loss only (it is gone, or file descriptors are short for a moment).
        let Ok((stream, client)) = stream else {
            tokio::time::sleep(limits::ACCEPT_RETRY_DELAY).await;
            continue;
        };
        let watcher = graceful.watcher();
        let application = application.clone();
        let builder = builder.clone();
        let stopped = stopped.clone();
        tokio::spawn(async move {
            connection(application, &builder, stream, client, watcher, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    drop(stopping);
    let _ = tokio::time::timeout(limits::SHUTDOWN_TIMEOUT, graceful.shutdown()).await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::REQUEST_HEAD_TIMEOUT)
        .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits::REQUEST_HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

async fn connection(
    application: Arc<Inner>,
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    client: SocketAddr,
    watcher: hyper_util::server::graceful::Watcher,
    stopped: watch::Receiver<()>,
) {
    // Without it, a response whose head and body leave in two segments waits for the client's delayed ACK: 40 ms.
    let _ = stream.set_nodelay(true);
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = has_asked.clone();
    let service = service_fn(move |request| {
        asked.store(true, Relaxed);
        let (application, stopped) = (application.clone(), stopped.clone());
        async move {
            let response = answer(&application, request, client).await;
            Ok::<_, Infallible>(open_stream::until(stopped, response))
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(watcher.watch(connection));
    // hyper's own limit begins when it is known which HTTP is spoken: a client that says nothing is held to it here, or a
    // few thousand of them would keep everybody else out.
    // What a connection that broke, broke of is its client's to notice.
    let first = tokio::time::timeout(limits::REQUEST_HEAD_TIMEOUT, &mut connection).await;
    if first.is_err() && has_asked.load(Relaxed) {
        let _ = connection.await;
    }
}

/// Answers one request from outside.
async fn answer(application: &Arc<Inner>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits::REQUEST_BODY_BYTES_MAX) {
        let detail = format!(
            "the body is larger than {} bytes; send less",
            limits::REQUEST_BODY_BYTES_MAX
        );
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large", &detail);
    }
    let request = match body::read(request, length).await {
        Ok(request) => request,
        Err(Unread::Ended) => {
            let detail = "the body ended before its length; send it again";
            return problem(StatusCode::BAD_REQUEST, "Bad Request", detail);
        }
        Err(Unread::Late) => {
            let detail = format!(
                "the body didn't come within {} s; send it again",
                limits::READ_AHEAD_TIMEOUT.as_secs()
            );
            let mut late = problem(StatusCode::REQUEST_TIMEOUT, "Request Timeout", &detail);
            // What the client still sends would be read as its next request.
            let close = header::HeaderValue::from_static("close");
            late.headers_mut().insert(header::CONNECTION, close);
            return late;
        }
    };
    match application.handle(request, client).await {
        Ok(response) => response,
        Err(refused) => refused,
    }
}

/// An RFC 9457 problem, for what the engine itself refuses.
pub(crate) fn problem(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let json = format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{}"}}"#,
        quote(title),
        status.as_u16(),
        quote(detail)
    );
    let body = Full::new(Bytes::from(json))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
