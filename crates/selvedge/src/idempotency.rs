//! `Idempotency-Key`: the same request, sent again, gives the first answer again.
//!
//! Nothing is stored for a command. The ids of what a keyed request makes are derived from its key, so the journal's unique
//! keys are the lock, and the first answer is found again by looking at what those ids stand for. Requests that make no ids
//! have their answers [`kept`]. A request without a key pays nothing.

pub(crate) mod kept;

use sha2::{Digest, Sha256};

use crate::http::{Problem, Request};
use crate::{limits, mutant};

/// The extension attribute of events that a keyed request made: what its body was.
pub const DIGEST_EXTENSION: &str = "requestdigest";

/// The key of one request, bound to the route that it was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    source: String,
    key: String,
    scope: String,
    digest: String,
}

impl Key {
    /// The request's key, if it has one. `source` is the event source of the function that answers it.
    ///
    /// # Errors
    /// A 400 when the header isn't 1 to [`limits::IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII characters.
    pub fn of(request: &Request, source: &str) -> Result<Option<Self>, Problem> {
        let Some(header) = request
            .headers
            .get("idempotency-key")
            .filter(|_| !mutant::is("idempotency_key_ignored"))
        else {
            return Ok(None);
        };
        let bytes = header.as_bytes();
        let valid = (1..=limits::IDEMPOTENCY_KEY_BYTES_MAX).contains(&bytes.len());
        if !valid || !bytes.iter().all(u8::is_ascii_graphic) {
            let max = limits::IDEMPOTENCY_KEY_BYTES_MAX;
            let detail = format!("`Idempotency-Key` must have 1 to {max} visible ASCII characters, such as a UUID.");
            return Err(Problem::bad_request(detail));
        }
        let digest = Sha256::digest(&request.body);
        Ok(Some(Self {
            source: source.to_owned(),
            key: String::from_utf8_lossy(bytes).into_owned(),
            scope: format!("{} {}", request.method, request.path.trim_end_matches('/')),
            digest: digest[..16].iter().map(|byte| format!("{byte:02x}")).collect(),
        }))
    }

    /// The id of the entity that the request creates.
    pub fn entity_id(&self) -> String {
        selvedge_events::derived_id(&self.source, &self.key, &format!("{} entity", self.scope), 0)
    }

    /// The id of the request's `index`-th event.
    pub fn event_id(&self, index: u32) -> String {
        selvedge_events::derived_id(&self.source, &self.key, &self.scope, index)
    }

    /// What the request's body was, in 32 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    fn request(path: &str, key: Option<&[u8]>, body: &str) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert(
                "idempotency-key",
                HeaderValue::from_bytes(key).expect("a header's value"),
            );
        }
        Request {
            method: Method::POST,
            path: path.to_owned(),
            query: None,
            headers,
            body: body.as_bytes().to_vec(),
            parameters: Vec::new(),
        }
    }

    fn key(path: &str, key: &[u8], body: &str) -> Key {
        Key::of(&request(path, Some(key), body), "/todos")
            .expect("valid")
            .expect("there")
    }

    #[test]
    fn the_same_key_on_the_same_route_gives_the_same_ids_whatever_the_body() {
        let first = key("/todos", b"k1", "{}");
        let again = key("/todos/", b"k1", "{\"a\":1}");
        assert_eq!(first.entity_id(), again.entity_id());
        assert_eq!(first.event_id(0), again.event_id(0));
        assert_ne!(first.digest(), again.digest());
        assert_ne!(first.event_id(0), first.event_id(1));
        assert_ne!(first.event_id(0), first.entity_id());
        assert_ne!(first.event_id(0), key("/todos/1/complete", b"k1", "{}").event_id(0));
        assert_ne!(first.event_id(0), key("/todos", b"k2", "{}").event_id(0));
    }

    #[test]
    fn keys_are_checked() {
        assert_eq!(
            Key::of(&request("/todos", None, ""), "/todos").expect("none is fine"),
            None
        );
        for bad in [&b""[..], b"two words", b"\xfc", &[b'k'; 256]] {
            let problem = Key::of(&request("/todos", Some(bad), ""), "/todos").expect_err("is refused");
            assert_eq!(problem.status(), 400);
        }
    }
}
