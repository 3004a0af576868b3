//! A request's body on its way in: bounded in size, and in how long the client may pause.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

use crate::limits;
use crate::ports::Body;

/// Why a small body isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It ended before its length.
    Ended,
    /// It took longer than [`limits::READ_AHEAD_TIMEOUT`].
    Late,
}

/// The request with its body bounded. A small one is read now: most are there already, and a component that finds its
/// whole body waits for nothing. A larger one goes on to the component as it comes.
pub(super) async fn read(request: Request<Incoming>, length: Option<u64>) -> Result<Request<Body>, Unread> {
    let (parts, incoming) = request.into_parts();
    let body = bounded(incoming);
    if length.is_none_or(|length| length > limits::READ_AHEAD_BYTES_MAX) {
        return Ok(Request::from_parts(parts, body));
    }
    // In all, not from piece to piece: a client that sends a byte now and then is as slow as one that stopped.
    let whole = tokio::time::timeout(limits::READ_AHEAD_TIMEOUT, body.collect())
        .await
        .map_err(|_| Unread::Late)?
        .map_err(|error| match error {
            Error::ConnectionReadTimeout => Unread::Late,
            _ => Unread::Ended,
        })?
        .to_bytes();
    let body = Full::new(whole).map_err(|never| match never {}).boxed_unsync();
    Ok(Request::from_parts(parts, body))
}

/// `incoming` within [`limits::REQUEST_BODY_BYTES_MAX`] and [`limits::REQUEST_BODY_PAUSE_TIMEOUT`].
fn bounded(incoming: Incoming) -> Body {
    Bounded {
        incoming,
        left: limits::REQUEST_BODY_BYTES_MAX,
        pause: None,
    }
    .boxed_unsync()
}

struct Bounded {
    incoming: Incoming,
    left: u64,
    /// Set while the client keeps us waiting; a body that is there already never makes a timer.
    pause: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) else {
            let timeout = || Box::pin(tokio::time::sleep(limits::REQUEST_BODY_PAUSE_TIMEOUT));
            ready!(this.pause.get_or_insert_with(timeout).as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        this.pause = None;
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(Error::from(error))),
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, |data| data.len() as u64);
                match this.left.checked_sub(size) {
                    Some(left) => {
                        this.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(Error::HttpRequestBodySize(Some(limits::REQUEST_BODY_BYTES_MAX)))),
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
