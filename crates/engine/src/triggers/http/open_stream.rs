//! Streams of server-sent events: they would hold up a stop for as long as they last.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Response, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::watch;
use wasmtime_wasi_http::Error;

use crate::ports::Body;

/// The response; one with a stream of events ends, as if by itself, when the sender of `stopped` is dropped.
pub(super) fn until(mut stopped: watch::Receiver<()>, response: Response<Body>) -> Response<Body> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_stream = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    response.map(|body| {
        let stop = Box::pin(async move { while stopped.changed().await.is_ok() {} });
        UntilStop { body, stop }.boxed_unsync()
    })
}

struct UntilStop {
    body: Body,
    stop: BoxFuture<'static, ()>,
}

impl HttpBody for UntilStop {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut this.body).poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn response(content_type: &str, body: Body) -> Response<Body> {
        let response = Response::builder().header(header::CONTENT_TYPE, content_type);
        response.body(body).expect("well formed")
    }

    fn endless() -> Body {
        let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"first")))]);
        StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())).boxed_unsync()
    }

    #[tokio::test]
    async fn a_stream_of_events_ends_with_the_engine() {
        let (stopping, stopped) = watch::channel(());
        let mut body = until(stopped, response("text/event-stream", endless())).into_body();
        let first = body.frame().await.expect("a part").expect("good");
        assert_eq!(first.into_data().expect("data"), "first");
        drop(stopping);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn other_responses_are_sent_to_their_end() {
        let (stopping, stopped) = watch::channel(());
        drop(stopping);
        let whole = Full::new(Bytes::from_static(b"whole")).map_err(|never| match never {});
        let body = until(stopped, response("application/json", whole.boxed_unsync())).into_body();
        assert_eq!(body.collect().await.expect("good").to_bytes(), "whole");
    }
}
