//! Requests that functions make, and the answers they get.

use http::{HeaderName, Method, StatusCode};

use crate::{Error, trace};

/// An HTTP request to someone else.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// The headers, without `host` and `content-length`.
    pub headers: Vec<(HeaderName, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl Call {
    /// The header by which the other side recognises a call that is made again.
    pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

    /// A GET without a body.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A POST with a body of this content type.
    pub fn post(url: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![(http::header::CONTENT_TYPE, content_type.to_owned())];
        Self {
            method: Method::POST,
            url: url.into(),
            headers,
            body: body.into(),
        }
    }

    /// A request to another component of the application, by service chaining.
    pub fn chained(method: Method, component: &str, path: &str) -> Self {
        Self {
            method,
            url: format!("http://{component}.spin.internal{path}"),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Carries this `traceparent`, if there is one.
    pub fn traced(self, trace: Option<&str>) -> Self {
        match trace {
            Some(trace) => self.header(HeaderName::from_static(trace::HEADER), trace),
            None => self,
        }
    }

    /// Whom the request is for: scheme and authority, never the path, which may hold secrets.
    pub fn target(&self) -> String {
        let authority_start = self.url.find("://").map_or(0, |scheme_end| scheme_end + "://".len());
        let end = self.url[authority_start..]
            .find(['/', '?', '#'])
            .map_or(self.url.len(), |end| authority_start + end);
        self.url[..end].to_owned()
    }
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body, of at most [`crate::limits::ANSWER_BODY_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// The answer itself when its status is a success.
    ///
    /// # Errors
    /// [`Error::Answer`] names the status.
    pub fn successful(self, target: &str) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(Error::Answer {
            target: target.to_owned(),
            reason: format!("with status {}", self.status.as_u16()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_has_no_path_and_no_query() {
        for (url, target) in [
            (
                "http://relay.spin.internal/_selvedge/bell",
                "http://relay.spin.internal",
            ),
            ("https://example.org?key=secret", "https://example.org"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(Call::get(url).target(), target);
        }
    }
}
