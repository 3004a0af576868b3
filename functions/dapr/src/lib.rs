//! Dapr: this application as others know it who speak Dapr's pub/sub API.
//!
//! As the sidecar, it takes what they publish ([`publish`]) and says that it is there ([`sidecar`]). As an application
//! under a sidecar, it says what it subscribes to, and hears what the sidecar brings ([`app`]).

mod app;
mod publish;
mod refusal;
mod sidecar;

use std::path::Path;
use std::rc::Rc;

use selvedge::{Function, dapr, limits};
use selvedge_schemas::Schemas;

selvedge::export!(function);

/// Where one payload is published, and many. The SDK for JavaScript knows bulk publishing under its older version only.
const PUBLISH: &str = "/v1.0/publish/:pubsub/*topic";
const BULK: [&str; 2] = [
    "/v1.0/publish/bulk/:pubsub/*topic",
    "/v1.0-alpha1/publish/bulk/:pubsub/*topic",
];
/// A request that names no topic.
const NO_TOPIC: &str = "/v1.0/publish/:pubsub";
/// Where a sidecar brings the events of a subscription.
const DELIVER: &str = "/dapr/deliver/:subscription";

fn function() -> Function {
    let schemas = Rc::new(Schemas::read(Path::new(selvedge_schemas::FOLDER)));
    let mut function = Function::new("dapr");
    for path in BULK {
        let (posted, put) = (schemas.clone(), schemas.clone());
        function = function
            .body_bytes_max_on(path, limits::DAPR_BODY_BYTES_MAX)
            .post(path, move |host, request| publish::many(posted.clone(), host, request))
            .put(path, move |host, request| publish::many(put.clone(), host, request));
    }
    let (posted, put) = (schemas.clone(), schemas);
    function
        .body_bytes_max_on(PUBLISH, limits::DAPR_BODY_BYTES_MAX)
        .post(PUBLISH, move |host, request| {
            publish::one(posted.clone(), host, request)
        })
        .put(PUBLISH, move |host, request| publish::one(put.clone(), host, request))
        .post(NO_TOPIC, publish::nowhere)
        .put(NO_TOPIC, publish::nowhere)
        .get("/v1.0/healthz", sidecar::health)
        .get("/v1.0/healthz/outbound", sidecar::health)
        .get("/v1.0/metadata", sidecar::metadata)
        .get(dapr::SUBSCRIBE_PATH, app::topics)
        .body_bytes_max_on(DELIVER, limits::DELIVERY_BODY_BYTES_MAX)
        .post(DELIVER, app::deliver)
}
