//! The headers by which a component learns how it was reached: `spin-path-info` and its siblings.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::routes::RouteMatch;

/// What all of these headers' names begin with.
pub const SPIN_HEADER_PREFIX: &str = "spin-";

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("spin-client-addr");

impl RouteMatch<'_> {
    /// The headers of one request.
    ///
    /// `host` is the request's `Host`, or `localhost` where it has none. `client_address` is 0.0.0.0:0 for a request by
    /// service chaining. A value that no header may hold is left out with its header.
    pub fn spin_headers(
        &self,
        scheme: &str,
        host: &str,
        path_and_query: &str,
        client_address: SocketAddr,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let full_url = format!("{scheme}://{host}{path_and_query}");
        let mut headers = Vec::with_capacity(7 + self.parameters.len());
        let mut push = |name: &HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.push((name.clone(), value));
            }
        };
        push(&PATH_INFO, &self.trailing_wildcard);
        push(&FULL_URL, &full_url);
        push(&CLIENT_ADDRESS, &client_address.to_string());
        for parameter in &self.parameters {
            if let Some(name) = parameter.header {
                push(name, &parameter.value);
            }
        }
        headers.push((MATCHED_ROUTE, self.headers.matched_route.clone()));
        headers.push((BASE_PATH, HeaderValue::from_static("/")));
        headers.push((RAW_COMPONENT_ROUTE, self.headers.raw_component_route.clone()));
        headers.push((COMPONENT_ROUTE, self.headers.component_route.clone()));
        headers
    }
}

/// Removes every header that a client may have sent to pass for the host's.
pub fn remove_spin_headers(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name.as_str().starts_with(SPIN_HEADER_PREFIX)) {
        return;
    }
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(SPIN_HEADER_PREFIX))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::manifest::Manifest;
    use crate::config::routes::Router;

    fn headers_of(route: &str, path: &str) -> HeaderMap {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"{route}\"\n\
             component = \"a\"\n[component.a]\nsource = \"a.wasm\"\n"
        );
        let manifest = Manifest::parse(&text, "spin.toml".as_ref(), "/app".as_ref()).unwrap();
        let router = Router::build(&manifest).unwrap();
        let found = router.route(path).unwrap();
        let query = format!("{path}?key=1");
        found
            .spin_headers("https", "example.com", &query, "127.0.0.1:8777".parse().unwrap())
            .into_iter()
            .collect()
    }

    #[test]
    fn a_component_learns_its_route() {
        let headers = headers_of("/foo/:user_Id/...", "/foo/42/bar/");
        for (name, value) in [
            ("spin-path-info", "/bar/"),
            ("spin-full-url", "https://example.com/foo/42/bar/?key=1"),
            ("spin-matched-route", "/foo/:user_Id/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/foo/:user_Id/..."),
            ("spin-component-route", "/foo/:user_Id"),
            ("spin-client-addr", "127.0.0.1:8777"),
            ("spin-path-match-user-id", "42"),
        ] {
            assert_eq!(headers.get(name).unwrap(), value, "{name}");
        }
        assert_eq!(headers.len(), 8);
    }

    #[test]
    fn of_a_repeated_parameter_the_last_counts() {
        let headers = headers_of("/:a/:a", "/1/2");
        assert_eq!(headers.get("spin-path-match-a").unwrap(), "2");
        assert_eq!(headers.get("spin-path-info").unwrap(), "");
    }

    #[test]
    fn a_chained_request_looks_like_one_to_the_root() {
        let found = RouteMatch::chained("todos", "/a/b");
        let headers: HeaderMap = found
            .spin_headers("http", "localhost", "/a/b", "0.0.0.0:0".parse().unwrap())
            .into_iter()
            .collect();
        assert_eq!(headers.get("spin-path-info").unwrap(), "/a/b");
        assert_eq!(headers.get("spin-matched-route").unwrap(), "/...");
        assert_eq!(headers.get("spin-component-route").unwrap(), "");
    }

    #[test]
    fn a_client_cannot_spoof() {
        let mut headers = HeaderMap::new();
        for name in ["spin-path-info", "spin-path-match-id", "accept", "spinning"] {
            headers.append(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
        }
        remove_spin_headers(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "spinning"]);
    }
}
