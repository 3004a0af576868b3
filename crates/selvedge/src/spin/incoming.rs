//! Requests and messages to the component: read, answered, and written back.
//!
//! The body's writer runs before the handler returns, so that host and client get head and body in one write. Where
//! they go out separately, Nagle's algorithm and delayed acknowledgements make each response take 40 ms.

use std::cell::OnceCell;
use std::rc::Rc;

use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields};
use spin_sdk::wasip3::{wit_future, wit_stream};
use spin_sdk::wit_bindgen::{self, StreamReader, StreamResult};

use super::platform;
use crate::http::{Problem, Reply, Request, Response, Streaming};
use crate::{Function, Host, function};

/// Room for a body of unknown length, in bytes.
const READ_BYTES: usize = 4 * 1024;

/// Answers a request to the component with the function that `build` makes. Function and host are kept for as long as
/// the instance lives.
///
/// # Errors
/// None: whatever goes wrong becomes a response. The type is the interface's.
pub async fn serve(request: types::Request, build: fn() -> Function) -> Result<types::Response, ErrorCode> {
    let (function, host) = instance(build);
    let method = request.get_method();
    let sends_body = !matches!(method, types::Method::Head);
    let reply = match read(request, method, &function).await {
        Ok(request) => function.reply(&host, request).await,
        Err(refusal) => refusal.into(),
    };
    Ok(match reply {
        Reply::Whole(response) => write(response, sends_body).await,
        Reply::Streaming(streaming) if sends_body => stream(streaming).await,
        Reply::Streaming(streaming) => write(streaming.head, false).await,
    })
}

/// Has the events of a message to the component take effect. The error is the text that the host logs.
///
/// # Errors
/// Those of [`Function::hear`].
pub async fn hear(payload: Vec<u8>, build: fn() -> Function) -> Result<(), String> {
    let (function, host) = instance(build);
    function.hear(&host, &payload).await.map_err(|error| error.to_string())
}

/// The instance's function and host, built at the first use.
fn instance(build: fn() -> Function) -> (Rc<Function>, Host) {
    thread_local! {
        static INSTANCE: OnceCell<(Rc<Function>, Host)> = const { OnceCell::new() };
    }
    INSTANCE.with(|instance| {
        let start = || {
            let function = build();
            let host = platform::host(function.declared_tables());
            (Rc::new(function), host)
        };
        instance.get_or_init(start).clone()
    })
}

/// The whole request, or the response that refuses it.
async fn read(request: types::Request, method: types::Method, function: &Function) -> Result<Request, Response> {
    let method = Method::try_from(method)
        .map_err(|_| Problem::bad_request("The method isn't one of HTTP. Use GET, POST, PATCH or DELETE."))?;
    let target = request.get_path_with_query().unwrap_or_default();
    let headers = headers(&request.get_headers());
    let body = if matches!(method, Method::GET | Method::HEAD) {
        Vec::new()
    } else {
        let path = target.split_once('?').map_or(&*target, |(path, _)| path);
        let limit_bytes = function.body_bytes_max(path);
        read_body(request, &headers, limit_bytes).await?
    };
    Ok(Request::new(method, &target, headers, body))
}

/// Headers that the `http` crate can't hold are no headers to this program, nor are those that Spin adds about the route:
/// there are more of them than of the client's, and no function asks for one.
fn headers(fields: &Fields) -> HeaderMap {
    let sent = fields
        .copy_all()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("spin-"));
    let pairs = sent.filter_map(|(name, value)| {
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()?,
        ))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

async fn read_body(request: types::Request, headers: &HeaderMap, limit_bytes: usize) -> Result<Vec<u8>, Response> {
    let declared = headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    // A length that this program can't even count is over the limit too.
    let declared = declared.map(|length: u64| usize::try_from(length).unwrap_or(usize::MAX));
    if declared.is_some_and(|length| length > limit_bytes) {
        return Err(function::body_too_large(limit_bytes));
    }
    let (_handled, handled) = wit_future::new(|| Ok(()));
    let (stream, trailers) = types::Request::consume_body(request, handled);
    match read_stream(stream, declared, READ_BYTES, limit_bytes).await {
        None => Err(function::body_too_large(limit_bytes)),
        // All that was declared is there: to wait for the end would only cost time.
        Some(body) if declared == Some(body.len()) => Ok(body),
        // Without this a body that was cut off would look like a whole one.
        Some(body) => match trailers.await {
            Ok(_) => Ok(body),
            Err(_) => Err(Problem::bad_request("The body broke off before its end. Send it again.").into()),
        },
    }
}

/// Everything that a stream has, or nothing when that is more than the limit. Where its length was declared, nothing
/// after that is read.
pub(super) async fn read_stream(
    mut stream: StreamReader<u8>,
    declared: Option<usize>,
    expected: usize,
    limit_bytes: usize,
) -> Option<Vec<u8>> {
    // One byte more than expected: the read that finds the end needs room.
    let room = declared.unwrap_or(expected.saturating_add(1));
    let mut body = Vec::with_capacity(room.min(limit_bytes + 1));
    loop {
        if declared == Some(body.len()) {
            return Some(body);
        }
        if body.len() == body.capacity() {
            body.reserve(body.len().max(READ_BYTES));
        }
        let result;
        (result, body) = stream.read(body).await;
        if body.len() > limit_bytes {
            return None;
        }
        if !matches!(result, StreamResult::Complete(_)) {
            return Some(body);
        }
    }
}

async fn write(response: Response, sends_body: bool) -> types::Response {
    let Response { status, headers, body } = response;
    let mut pairs: Vec<_> = headers
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.into_bytes()))
        .collect();
    let body = if sends_body { body } else { Vec::new() };
    if sends_body && status != StatusCode::NO_CONTENT {
        pairs.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    }
    // Only a value with a line break in it is refused; a response without its headers is still an answer.
    let fields = Fields::from_list(&pairs).unwrap_or_else(|_| Fields::new());
    let (contents, trailers) = start_body(body);
    let (response, _sent) = types::Response::new(fields, contents, trailers);
    response
        .set_status_code(status.as_u16())
        .expect("the http crate has valid status codes only");
    wit_bindgen::yield_async().await;
    response
}

/// A response whose body is written part by part, each when the host took the one before.
async fn stream(streaming: Streaming) -> types::Response {
    let Streaming { head, mut chunks } = streaming;
    let pairs = head.headers.into_iter();
    let pairs: Vec<_> = pairs
        .map(|(name, value)| (name.as_str().to_owned(), value.into_bytes()))
        .collect();
    let fields = Fields::from_list(&pairs).unwrap_or_else(|_| Fields::new());
    let (trailers_writer, trailers) = wit_future::new(|| Ok(None));
    let (mut writer, contents) = wit_stream::new();
    wit_bindgen::spawn(async move {
        while let Some(chunk) = chunks.next().await {
            // What comes back wasn't taken: the client is gone.
            if !writer.write_all(chunk).await.is_empty() {
                break;
            }
        }
        drop(writer);
        drop(trailers_writer);
    });
    let (response, _sent) = types::Response::new(fields, Some(contents), trailers);
    response
        .set_status_code(head.status.as_u16())
        .expect("the http crate has valid status codes only");
    wit_bindgen::yield_async().await;
    response
}

/// A body that is being written, and its trailers, which are none.
#[expect(clippy::type_complexity, reason = "the interface's types")]
pub(super) fn start_body(
    body: Vec<u8>,
) -> (
    Option<StreamReader<u8>>,
    wit_bindgen::FutureReader<Result<Option<types::Trailers>, ErrorCode>>,
) {
    // Dropping the writing end writes this.
    let (trailers_writer, trailers) = wit_future::new(|| Ok(None));
    if body.is_empty() {
        return (None, trailers);
    }
    let (mut writer, contents) = wit_stream::new();
    wit_bindgen::spawn(async move {
        writer.write_all(body).await;
        drop(writer);
        drop(trailers_writer);
    });
    (Some(contents), trailers)
}
