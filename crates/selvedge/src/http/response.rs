//! What a function answers.

use http::{HeaderName, StatusCode, header};
use serde::Serialize;

use super::Problem;

/// An HTTP response. Its `content-length` is added when it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers, without `content-length`.
    pub headers: Vec<(HeaderName, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// 200 with a value as JSON.
    pub fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 201 with a value as JSON, and where the new thing is.
    pub fn created(location: impl Into<String>, value: &impl Serialize) -> Self {
        Self::json(StatusCode::CREATED, value).header(header::LOCATION, location)
    }

    /// 202 with a value as JSON, and where its outcome can be seen.
    pub fn accepted(location: impl Into<String>, value: &impl Serialize) -> Self {
        Self::json(StatusCode::ACCEPTED, value).header(header::LOCATION, location)
    }

    /// A value as JSON. A value that can't be written as JSON becomes a 500.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self {
                status,
                headers: vec![(header::CONTENT_TYPE, "application/json".to_owned())],
                body,
            },
            Err(error) => Problem::internal(error, false).into(),
        }
    }

    /// Says which version of an entity this is, so that the caller can ask to change no other.
    pub fn etag(self, version: i64) -> Self {
        self.header(header::ETAG, format!("\"{version}\""))
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
