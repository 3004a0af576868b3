//! Requests that the component makes.

use http::{StatusCode, Uri};
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{self, Fields, Scheme};
use spin_sdk::wasip3::wit_future;

use super::incoming::{read_stream, start_body};
use crate::http::{Answer, Call};
use crate::{Error, limits};

/// Room for an answer's body at first, in bytes.
const EXPECTED_BYTES: usize = 1024;

pub(super) async fn send(call: Call) -> Result<Answer, Error> {
    let target = call.target();
    let unreachable = |detail: String| Error::Unreachable {
        target: target.clone(),
        detail,
    };
    let request = prepare(call).map_err(|reason| unreachable(reason.to_owned()))?;
    let response = client::send(request)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let status = StatusCode::from_u16(response.get_status_code()).map_err(|_| Error::Answer {
        target: target.clone(),
        reason: "with an invalid status".to_owned(),
    })?;
    let retry_after = response
        .get_headers()
        .get(http::header::RETRY_AFTER.as_str())
        .into_iter()
        .next();
    let retry_after = retry_after.and_then(|value| String::from_utf8(value).ok());
    let (_handled, handled) = wit_future::new(|| Ok(()));
    let (stream, trailers) = types::Response::consume_body(response, handled);
    let Some(body) = read_stream(stream, None, EXPECTED_BYTES, limits::ANSWER_BODY_BYTES_MAX).await else {
        let reason = format!("with more than {} bytes", limits::ANSWER_BODY_BYTES_MAX);
        return Err(Error::Answer { target, reason });
    };
    trailers.await.map_err(|error| unreachable(error.to_string()))?;
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

fn prepare(call: Call) -> Result<types::Request, &'static str> {
    let Call {
        method,
        url,
        headers,
        body,
    } = call;
    let uri: Uri = url.parse().map_err(|_| "its URL is invalid")?;
    let mut pairs: Vec<_> = headers
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.into_bytes()))
        .collect();
    pairs.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    let fields = Fields::from_list(&pairs).map_err(|_| "one of its headers is invalid")?;
    let (contents, trailers) = start_body(body);
    let (request, _sent) = types::Request::new(fields, contents, trailers, None);
    let scheme = if uri.scheme_str() == Some("https") {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    request
        .set_method(&method.into())
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(uri.authority().map(|authority| authority.as_str())))
        .and_then(|()| request.set_path_with_query(Some(path)))
        .map_err(|()| "its URL is invalid")?;
    Ok(request)
}
