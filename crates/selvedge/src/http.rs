//! HTTP as functions see it: a request, a response, and problems per RFC 9457.

mod client;
mod problem;
mod request;
mod response;
mod route;
mod streaming;
mod upstream;

pub use client::{Answer, Call};
pub use http::{Method, StatusCode, header};
pub use problem::{FieldProblem, Problem};
pub use request::Request;
pub use response::Response;
pub(crate) use route::{Matched, Pattern};
pub use streaming::{Chunks, Reply, Streaming};
pub use upstream::Upstream;
