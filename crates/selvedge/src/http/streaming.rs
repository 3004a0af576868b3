//! A response whose body is made while it is sent.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use http::HeaderName;

use super::Response;

/// The parts of a body, in order.
pub type Chunks = Pin<Box<dyn Stream<Item = Vec<u8>>>>;

/// A response with a body of unknown length. The next part is asked for only when the last one was taken by the client:
/// a slow client costs no memory. It is dropped when the client goes away.
pub struct Streaming {
    /// Status and headers; its own body stays empty.
    pub head: Response,
    /// The body.
    pub chunks: Chunks,
}

impl Streaming {
    /// A 200 with a body of this content type.
    pub fn new(content_type: &str, chunks: impl Stream<Item = Vec<u8>> + 'static) -> Self {
        let head = Response::empty(http::StatusCode::OK).header(http::header::CONTENT_TYPE, content_type);
        Self {
            head,
            chunks: Box::pin(chunks),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.head = self.head.header(name, value);
        self
    }

    /// The response with its whole body, once that has come to its end.
    pub async fn collect(self) -> Response {
        let body = self.chunks.concat().await;
        Response { body, ..self.head }
    }
}

/// What a request is answered with.
pub enum Reply {
    /// A response that is there as a whole.
    Whole(Response),
    /// One whose body is made while it is sent.
    Streaming(Streaming),
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Whole(response)
    }
}
