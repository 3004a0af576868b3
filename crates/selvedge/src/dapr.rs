//! Dapr's pub/sub over HTTP, both ends of it: as the sidecar that others publish to and are delivered by, and as an
//! application under a sidecar.
//!
//! What others publish is read by [`publishing`] and [`bulk`], and becomes an [`envelope`]. Who of an application's
//! subscriptions hears it is said by [`routes`], and what the application says of it is read by [`answers`]. What a
//! sidecar brings to this application is read by [`deliveries`]. All of it is pure.

pub mod publishing;

pub mod bulk;

pub mod envelope;

pub mod routes;

pub mod answers;

pub mod deliveries;

use http::HeaderName;

/// The header that brings the token of whoever calls: a client's to its sidecar, and a sidecar's to its application.
pub const TOKEN: HeaderName = HeaderName::from_static("dapr-api-token");
/// Where an application is asked which topics it subscribes to.
pub const SUBSCRIBE_PATH: &str = "/dapr/subscribe";
/// The name of the pub/sub component that Selvedge is to those who publish into it, unless a variable says otherwise.
pub const PUBSUB: &str = "pubsub";
