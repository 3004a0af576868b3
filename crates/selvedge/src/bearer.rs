//! The bearer token: who may use an operator's routes.
//!
//! The token is an application variable. It is compared in constant time, as digests, so that neither its length nor its
//! beginning can be found out by trying; and it stands in no answer, error or log.

use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Host;
use crate::http::{Problem, Request};

/// Lets a request pass whose `Authorization` is the bearer token that the variable of this name holds.
///
/// # Errors
/// A 403 that says what to set when the variable isn't set or is empty: then nobody may pass. A 401 when the request has
/// no bearer token, or another one.
pub async fn check(host: &Host, request: &Request, variable: &str) -> Result<(), Problem> {
    let Some(expected) = host.variable(variable).await? else {
        let detail = format!(
            "No token is set, so nobody may use this. Set the application variable `{variable}`, for example with \
             `--variable {variable}=…` or SPIN_VARIABLE_{}, and start again.",
            variable.to_ascii_uppercase()
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    };
    match presented(request) {
        Some(token) if is_same(token.as_bytes(), expected.as_bytes()) => Ok(()),
        Some(_) => Err(unauthorized(
            "The bearer token isn't the one that is set.",
            "Bearer realm=\"operators\", error=\"invalid_token\"",
        )),
        None => Err(unauthorized(
            "Send the operators' token as `Authorization: Bearer …`.",
            "Bearer realm=\"operators\"",
        )),
    }
}

/// The token that a request brings. A request with several `Authorization` headers brings none.
fn presented(request: &Request) -> Option<&str> {
    let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a request brings this token in a header of its own, as it stands, and only once. Compared in constant time.
pub fn is_in_header(request: &Request, name: &http::HeaderName, expected: &str) -> bool {
    let mut values = request.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(presented), None) => is_same(presented.as_bytes(), expected.as_bytes()),
        _ => false,
    }
}

fn is_same(presented: &[u8], expected: &[u8]) -> bool {
    Sha256::digest(presented).ct_eq(&Sha256::digest(expected)).into()
}

fn unauthorized(detail: &str, challenge: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail).header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    fn token_of(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::AUTHORIZATION,
                HeaderValue::from_bytes(value).expect("a header's value"),
            );
        }
        presented(&Request::new(Method::GET, "/admin", headers, Vec::new())).map(str::to_owned)
    }

    #[test]
    fn only_one_bearer_token_is_one() {
        assert_eq!(token_of(&[b"Bearer secret"]).as_deref(), Some("secret"));
        assert_eq!(token_of(&[b"bearer  secret "]).as_deref(), Some("secret"));
        for none in [
            &[][..],
            &[&b"secret"[..]],
            &[&b"Basic c2VjcmV0"[..]],
            &[&b"Bearer"[..]],
            &[&b"Bearer secr\xe9t"[..]],
            &[&b"Bearer secret"[..], b"Bearer secret"],
        ] {
            assert_eq!(token_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn tokens_are_the_same_when_every_byte_is() {
        assert!(is_same(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!is_same(other, b"secret"));
        }
    }
}
