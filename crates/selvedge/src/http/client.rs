//! Requests that functions make, and the answers they get.

use http::{HeaderName, Method, StatusCode};

use crate::{Error, limits, trace};

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
    /// The `Retry-After` header as it came, if there is one.
    pub retry_after: Option<String>,
    /// The body, of at most [`crate::limits::ANSWER_BODY_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// How long its sender asks to be left alone, in milliseconds: the `Retry-After` of a 429 or a 503, as seconds or as a
    /// date. What is longer than [`limits::RETRY_AFTER_MS_MAX`] counts as that; a date that has passed, and what is neither,
    /// ask for nothing.
    ///
    /// ```
    /// use selvedge::http::{Answer, StatusCode};
    ///
    /// let busy = Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Some("120".into()), body: Vec::new() };
    /// assert_eq!(busy.retry_after_ms(0), Some(120_000));
    /// ```
    pub fn retry_after_ms(&self, now_ms: i64) -> Option<i64> {
        if !matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            return None;
        }
        let text = self.retry_after.as_deref()?.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let wait_ms = if is_number {
            // A number that is too large for any type is a long time too.
            text.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(1_000)
        } else {
            let date = httpdate::parse_http_date(text).ok()?;
            let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
            i64::try_from(since_epoch.as_millis()).ok()?.saturating_sub(now_ms)
        };
        (wait_ms > 0).then_some(wait_ms.min(limits::RETRY_AFTER_MS_MAX))
    }

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
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now_ms = 1_767_225_600_000;
        let wait_ms = |status, text: &str| {
            let answer = Answer {
                status,
                retry_after: Some(text.to_owned()),
                body: Vec::new(),
            };
            answer.retry_after_ms(now_ms)
        };
        let busy = |text| wait_ms(StatusCode::TOO_MANY_REQUESTS, text);
        assert_eq!(busy("1"), Some(1_000));
        assert_eq!(busy(" 90 "), Some(90_000));
        assert_eq!(busy("Thu, 01 Jan 2026 00:01:00 GMT"), Some(60_000));
        for long in ["999999999", "99999999999999999999999", "Fri, 01 Jan 2100 00:00:00 GMT"] {
            assert_eq!(busy(long), Some(limits::RETRY_AFTER_MS_MAX), "{long}");
        }
        for nothing in [
            "",
            "0",
            "-5",
            "1.5",
            "soon",
            "Wed, 31 Dec 2025 23:59:00 GMT",
            "Thu, 99 Jan 2026 00:00:00 GMT",
        ] {
            assert_eq!(busy(nothing), None, "{nothing}");
        }
        assert_eq!(wait_ms(StatusCode::INTERNAL_SERVER_ERROR, "60"), None);
    }

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
