//! Problems: what a caller is told when a request can't be answered as asked, per RFC 9457.

use http::StatusCode;
use serde::Serialize;

use super::Response;
use crate::Error;

/// A response that says what went wrong and what to do, as `application/problem+json`.
///
/// Every [`Error`] becomes one by `?`: what the caller can do something about is told, everything else goes to the
/// component's log and the caller learns only whether to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    fields: Vec<FieldProblem>,
    headers: Vec<(http::HeaderName, String)>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// The field's name, as the request has or lacks it.
    pub field: String,
    /// What is wrong and what to send instead.
    pub detail: String,
}

impl FieldProblem {
    /// What is wrong with this field.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

impl Problem {
    /// A problem with this status. The detail says what happened and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            fields: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// 400: the request can't be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: the request doesn't fit the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: the request can be read, and some of its fields are wrong.
    pub fn invalid(fields: Vec<FieldProblem>) -> Self {
        let names: Vec<_> = fields.iter().map(|problem| problem.field.as_str()).collect();
        let detail = format!(
            "Some fields are not as they should be: {}. Correct them and send it again.",
            names.join(", ")
        );
        Self {
            fields,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
    }

    /// Refuses a request whose fields have problems: all of them are told at once.
    ///
    /// # Errors
    /// [`Problem::invalid`] when there are any.
    pub fn refuse_any(fields: Vec<FieldProblem>) -> Result<(), Self> {
        if fields.is_empty() {
            Ok(())
        } else {
            Err(Self::invalid(fields))
        }
    }

    /// 422: the request's `Idempotency-Key` stands for another request.
    pub fn key_reused() -> Self {
        let detail = "This `Idempotency-Key` came with another body before. Use a new key for a new request.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 503: not now; the same request may succeed in a moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::unavailable_for(1_000, detail)
    }

    /// 503: not now; the same request may succeed after this time. The caller is told whole seconds, at least one.
    pub fn unavailable_for(retry_after_ms: u64, detail: impl Into<String>) -> Self {
        let seconds = retry_after_ms.div_ceil(1_000).max(1);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).header(http::header::RETRY_AFTER, seconds.to_string())
    }

    /// Adds a header to the response.
    pub fn header(mut self, name: http::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem with a failure that isn't the caller's. The cause goes to the log.
    pub fn internal(cause: impl std::fmt::Display, retryable: bool) -> Self {
        eprintln!("error: {cause}");
        if retryable {
            Self::unavailable("The service can't do this at the moment. Send the same request again.")
        } else {
            let detail = "The service failed. The request was not at fault; its operator finds the cause in the log.";
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let document = Document {
            r#type: "about:blank",
            title: problem.status.canonical_reason().unwrap_or("Problem"),
            status: problem.status.as_u16(),
            detail: &problem.detail,
            errors: &problem.fields,
        };
        let mut response = Self::json(problem.status, &document);
        response.headers = vec![(http::header::CONTENT_TYPE, "application/problem+json".to_owned())];
        response.headers.extend(problem.headers);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::VersionConflict { .. } => {
                Self::conflict("Others changed this at the same time. Read it again and send the change anew.")
            }
            Error::EventTooLarge { limit_bytes, .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("This makes an event of more than {limit_bytes} bytes. Send less."),
            ),
            Error::CircuitOpen { retry_after_ms, .. } => {
                eprintln!("error: {error}");
                let detail = "The service can't do this for the moment: something that it needs is down. Send the same \
                    request again later.";
                Self::unavailable_for(*retry_after_ms, detail)
            }
            _ => Self::internal(&error, error.is_retryable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_document_per_rfc_9457() {
        let response = Response::from(Problem::invalid(vec![FieldProblem::new("title", "is missing")]));
        assert_eq!(response.status, 422);
        assert_eq!(response.headers[0].1, "application/problem+json");
        let document: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["status"], 422);
        assert_eq!(document["errors"][0]["field"], "title");
    }

    #[test]
    fn what_is_not_the_callers_fault_is_not_told() {
        let secret = Error::Database {
            detail: "at /home/someone/secret.db".to_owned(),
        };
        let response = Response::from(Problem::from(secret));
        assert_eq!(response.status, 500);
        assert!(!String::from_utf8_lossy(&response.body).contains("secret"));
        let busy = Response::from(Problem::from(Error::DatabaseBusy {
            detail: "locked".to_owned(),
        }));
        assert_eq!(busy.status, 503);
        let retry_after = |response: &Response| {
            response
                .headers
                .iter()
                .find(|(name, _)| name == "retry-after")
                .map(|(_, value)| value.clone())
        };
        assert_eq!(retry_after(&busy).as_deref(), Some("1"));
        let open = Response::from(Problem::from(Error::CircuitOpen {
            target: "users".to_owned(),
            retry_after_ms: 4_001,
        }));
        assert_eq!((open.status.as_u16(), retry_after(&open).as_deref()), (503, Some("5")));
    }
}
