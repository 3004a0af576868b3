//! Refusals, as Dapr's API words them: a code, and what happened.

use selvedge::dapr::publishing;
use selvedge::http::{Response, StatusCode};
use selvedge::ingest;
use serde_json::json;

/// Why a request, or an entry of it, wasn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message }
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The response to a request that was refused as a whole.
    pub fn response(&self) -> Response {
        Response::json(self.status, &json!({ "errorCode": self.code, "message": self.message }))
    }
}

/// What a sender has to put right is a 4xx, also where Dapr says 500: nobody is to send it again as it is.
impl From<publishing::Refused> for Refusal {
    fn from(refused: publishing::Refused) -> Self {
        let status = match &refused {
            publishing::Refused::Event(error) if error.is_too_large() => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refused.code(), refused.to_string())
    }
}

impl From<ingest::Refused> for Refusal {
    fn from(refused: ingest::Refused) -> Self {
        let code = "ERR_PUBSUB_PUBLISH_MESSAGE";
        match refused {
            ingest::Refused::Different { .. } => Self::new(
                StatusCode::CONFLICT,
                code,
                format!("{refused}: give a new event a new id"),
            ),
            ingest::Refused::Failed(selvedge::Error::EventTooLarge { .. }) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, refused.to_string())
            }
            // The cause is the operator's to know.
            failed => {
                eprintln!("error: {failed}");
                let message = "the journal failed: publish it again in a moment";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
            }
        }
    }
}
