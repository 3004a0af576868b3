//! What a function is asked.

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{FieldProblem, Problem};
use crate::limits;

/// An HTTP request, with its whole body.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it was sent, percent-encoded, without the query.
    pub path: String,
    /// The query as it was sent, without the `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// What the route's parameters stand for.
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Request {
    /// A request for a path and, after a `?`, a query.
    pub fn new(method: Method, target: &str, headers: HeaderMap, body: Vec<u8>) -> Self {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let (path, query) = (path.to_owned(), query.map(str::to_owned));
        Self {
            method,
            path,
            query,
            headers,
            body,
            parameters: Vec::new(),
        }
    }

    /// What a parameter of the route stands for, percent-decoded.
    ///
    /// # Panics
    /// When the route has no such parameter: that is a mistake in the function.
    pub fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(parameter, _)| *parameter == name);
        found
            .map(|(_, value)| value.as_str())
            .expect("the route that led here declares this parameter")
    }

    /// What a parameter stands for, where the route has it.
    pub fn optional_parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(parameter, _)| *parameter == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A header's value, when it is there once or more and its first value is a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The first value of a query parameter, percent-decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.query.as_deref()?;
        form_urlencoded::parse(query.as_bytes()).find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The first value of a query parameter that must be there and not be empty.
    ///
    /// # Errors
    /// A 400 that names the parameter.
    pub fn required_query(&self, name: &str) -> Result<Cow<'_, str>, Problem> {
        let value = self.query(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Problem::bad_request(format!("The query parameter `{name}` is missing. Add `?{name}=…`.")))
    }

    /// How many items the caller wants on a page: the query parameter `limit`, or [`limits::PAGE_ITEMS`].
    ///
    /// # Errors
    /// A 400 when it isn't a number from 1 to [`limits::PAGE_ITEMS_MAX`].
    pub fn page_items(&self) -> Result<u32, Problem> {
        let Some(text) = self.query("limit") else {
            return Ok(limits::PAGE_ITEMS);
        };
        let limit = text
            .parse()
            .ok()
            .filter(|limit| (1..=limits::PAGE_ITEMS_MAX).contains(limit));
        limit.ok_or_else(|| {
            let max = limits::PAGE_ITEMS_MAX;
            Problem::bad_request(format!("`limit` must be a whole number from 1 to {max}."))
        })
    }

    /// The version that the caller wants to change, from `If-Match`; `None` when any will do.
    ///
    /// # Errors
    /// A 400 when the header is no ETag as [`super::Response::etag`] writes them.
    pub fn if_match(&self) -> Result<Option<i64>, Problem> {
        let Some(header) = self.headers.get(http::header::IF_MATCH) else {
            return Ok(None);
        };
        let text = header.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(None);
        }
        let version = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .and_then(|text| text.parse().ok());
        version
            .map(Some)
            .ok_or_else(|| Problem::bad_request("`If-Match` must be one ETag as you got it, such as `\"3\"`."))
    }

    /// The body's JSON object as a `T`.
    ///
    /// # Errors
    /// A 400 when the body isn't JSON, a 422 that names the field when it isn't a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let is_object = self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match serde_json::from_slice(&self.body) {
            // serde would take an array for a struct too.
            Ok(value) if is_object => Ok(value),
            _ => Err(self.json_problem::<T>(is_object)),
        }
    }

    /// Reads the body once more, now keeping track of where: only requests with mistakes pay for it.
    fn json_problem<T: DeserializeOwned>(&self, is_object: bool) -> Problem {
        if self.body.is_empty() {
            return Problem::bad_request("The body is empty. Send a JSON object.");
        }
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&self.body) {
            let (line, column) = (error.line(), error.column());
            return Problem::bad_request(format!(
                "The body isn't JSON: it breaks at line {line}, column {column}."
            ));
        }
        let mut json = serde_json::Deserializer::from_slice(&self.body);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) if is_object && error.path().iter().len() > 0 => {
                let field = error.path().to_string();
                Problem::invalid(vec![FieldProblem::new(
                    field,
                    without_position(&error.into_inner().to_string()),
                )])
            }
            Err(error) if is_object => {
                let reason = without_position(&error.into_inner().to_string());
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    format!("The body isn't what is expected here: {reason}."),
                )
            }
            _ => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "The body is JSON, but no object. Send a JSON object.",
            ),
        }
    }
}

/// serde_json's messages end with where they are in the text, which is of no use beside a field's name.
fn without_position(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct NewTask {
        title: String,
    }

    fn request(query: Option<&str>, body: &str) -> Request {
        Request {
            method: Method::POST,
            path: "/todos".to_owned(),
            query: query.map(str::to_owned),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            parameters: vec![("id", "1".to_owned())],
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_a_400() {
        for body in [
            "",
            "{",
            "[",
            "{\"title\": 1",
            "title=x",
            "{\"title\": \"x\"} {}",
            "\u{0}",
        ] {
            let problem = request(None, body).json::<NewTask>().expect_err(body);
            assert_eq!(problem.status(), 400, "{body}");
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_a_422_that_names_it() {
        for body in [r#"{"title": 1}"#, "{}", "[]", r#"["x"]"#, "3", "null"] {
            let problem = request(None, body).json::<NewTask>().expect_err(body);
            assert_eq!(problem.status(), 422, "{body}");
        }
        let problem = request(None, r#"{"title": 1}"#)
            .json::<NewTask>()
            .expect_err("a number");
        assert!(problem.detail().contains("title"), "{}", problem.detail());
        assert_eq!(
            request(None, r#"{"title": "x", "more": 1}"#)
                .json::<NewTask>()
                .expect("more is ignored")
                .title,
            "x"
        );
    }

    #[test]
    fn if_match_takes_one_etag() {
        let mut request = request(None, "");
        assert_eq!(request.if_match().expect("absent"), None);
        for (text, expected) in [
            ("*", Some(None)),
            ("\"3\"", Some(Some(3))),
            ("3", None),
            ("W/\"3\"", None),
            ("", None),
        ] {
            request
                .headers
                .insert("if-match", text.parse().expect("a header's value"));
            assert_eq!(request.if_match().ok(), expected, "{text}");
        }
    }

    #[test]
    fn query_parameters_are_decoded_and_checked() {
        let request_of = |query| request(Some(query), "");
        assert_eq!(
            request_of("a=1&userId=b%20c+d&userId=e").query("userId").as_deref(),
            Some("b c d")
        );
        assert!(request_of("userId=").required_query("userId").is_err());
        assert_eq!(request_of("limit=7").page_items().expect("in range"), 7);
        for query in ["limit=0", "limit=101", "limit=-1", "limit=x", "limit="] {
            assert_eq!(request_of(query).page_items().expect_err(query).status(), 400);
        }
        assert_eq!(request(None, "").page_items().expect("absent"), limits::PAGE_ITEMS);
    }
}
