//! What a client asks its sidecar before it uses it: who it is, and whether it is well.

use selvedge::dapr::{PUBSUB, TOKEN};
use selvedge::http::{Problem, Request, Response, StatusCode};
use selvedge::{Host, bearer, feed};
use serde_json::json;

use crate::refusal::Refusal;

/// The variable that names the pub/sub component. Empty: there is none.
const PUBSUB_VARIABLE: &str = "dapr_pubsub_name";
/// The variable that holds the token which clients must bring. Empty: they need none.
const TOKEN_VARIABLE: &str = "dapr_api_token";

/// The name of the pub/sub component, when there is one.
pub async fn pubsub(host: &Host) -> Result<Option<String>, Problem> {
    Ok(host.variable(PUBSUB_VARIABLE).await?)
}

/// Lets a client pass that brings the token which is asked for, if one is.
pub async fn check_token(host: &Host, request: &Request) -> Result<Result<(), Refusal>, Problem> {
    let Some(expected) = host.variable(TOKEN_VARIABLE).await? else {
        return Ok(Ok(()));
    };
    if bearer::is_in_header(request, &TOKEN, &expected) {
        return Ok(Ok(()));
    }
    let message = "invalid api token: send the right one as `dapr-api-token`";
    Ok(Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        "ERR_UNAUTHENTICATED",
        message,
    )))
}

/// 204 when the journal can be read.
pub async fn health(host: Host, _request: Request) -> Result<Response, Problem> {
    if let Err(error) = feed::head(&host) {
        eprintln!("error: the journal can't be read: {error}");
        let refusal = Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ERR_HEALTH_NOT_READY",
            "dapr is not ready: the journal can't be read",
        );
        return Ok(refusal.response());
    }
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

/// Who this is, and which components it has.
pub async fn metadata(host: Host, request: Request) -> Result<Response, Problem> {
    if let Err(refusal) = check_token(&host, &request).await? {
        return Ok(refusal.response());
    }
    let name = pubsub(&host).await?;
    let component =
        |name: String| json!({ "name": name, "type": "pubsub.selvedge", "version": "v1", "capabilities": [] });
    Ok(Response::ok(&json!({
        "id": "selvedge",
        "runtimeVersion": concat!("selvedge/", env!("CARGO_PKG_VERSION")),
        "enabledFeatures": [],
        "actors": [],
        "components": name.map(component).into_iter().collect::<Vec<_>>(),
        "extended": { "defaultPubsub": PUBSUB },
    })))
}
