//! What values attributes may have.
//!
//! The checks of URIs and media types are light: they refuse what would break a header, a log line or a consumer's
//! parser, and leave the fine print of the RFCs to whoever dereferences them.

use crate::error::{Error, excerpt};
use crate::limits;

/// Attributes that CloudEvents defines, with the JSON members for data: none of them can be an extension.
const RESERVED: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

/// Checks an attribute that must be there.
pub(crate) fn check_required(name: &'static str, value: &str, limit_bytes: usize) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::MissingAttribute { name });
    }
    check_text(name, value, limit_bytes)
}

/// Checks an attribute that may be absent, but not empty.
pub(crate) fn check_not_empty(name: &str, value: &str) -> Result<(), Error> {
    if value.is_empty() {
        return Err(invalid(name, value, "leave it out instead of sending it empty"));
    }
    check_text(name, value, limits::MAX_ATTRIBUTE_BYTES)
}

/// Checks a value of CloudEvents' type String: its length and its characters.
pub(crate) fn check_text(name: &str, value: &str, limit_bytes: usize) -> Result<(), Error> {
    if value.len() > limit_bytes {
        return Err(Error::AttributeTooLong {
            name: name.to_owned(),
            length_bytes: value.len(),
            limit_bytes,
        });
    }
    // Almost all values are plain ASCII: one pass over bytes settles those.
    let plain = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if !plain && value.chars().any(is_forbidden) {
        return Err(invalid(
            name,
            value,
            "send it without control characters and Unicode noncharacters",
        ));
    }
    Ok(())
}

/// Control characters and noncharacters. Surrogates, which CloudEvents forbids too, can't be in a Rust string.
fn is_forbidden(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// Checks for a URI-reference: none of the characters that RFC 3986 keeps out. Letters beyond ASCII pass.
pub(crate) fn check_uri_reference(name: &str, value: &str) -> Result<(), Error> {
    let forbidden = |character: char| character.is_whitespace() || "<>\"\\^`{|}".contains(character);
    // Most are letters, digits and a little punctuation: one pass over bytes settles those.
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-'..=b'/' | b':' | b'_'));
    if !plain && value.contains(forbidden) {
        return Err(invalid(
            name,
            value,
            "send a URI-reference such as /todos, with spaces and quotes percent-encoded",
        ));
    }
    Ok(())
}

/// Checks for a URI with a scheme.
pub(crate) fn check_absolute_uri(name: &str, value: &str) -> Result<(), Error> {
    let scheme = value
        .split_once(':')
        .filter(|(_, rest)| !rest.is_empty())
        .map(|(scheme, _)| scheme.as_bytes());
    let is_scheme = scheme.is_some_and(|scheme| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    });
    if !is_scheme {
        return Err(invalid(
            name,
            value,
            "send an absolute URI such as https://example.com/schemas/task",
        ));
    }
    check_uri_reference(name, value)
}

/// Checks for a media type that a header can carry: `type/subtype`, with or without parameters.
pub(crate) fn check_media_type(name: &str, value: &str) -> Result<(), Error> {
    let is_token = |part: &str| {
        let part = part.trim();
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*'`|~%".contains(&byte))
    };
    let media_type = value.split(';').next().unwrap_or_default();
    let is_media_type = media_type
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if !is_media_type || !value.is_ascii() || value.trim() != value {
        return Err(invalid(name, value, "send a media type such as application/json"));
    }
    Ok(())
}

/// Checks the name of an extension attribute.
pub(crate) fn check_extension_name(name: &str) -> Result<(), Error> {
    let length_is_good = (1..=limits::MAX_EXTENSION_NAME_BYTES).contains(&name.len());
    let letters_are_good = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    if !length_is_good || !letters_are_good || RESERVED.contains(&name) {
        return Err(Error::InvalidExtensionName { name: excerpt(name) });
    }
    Ok(())
}

pub(crate) fn invalid(name: &str, value: &str, reason: &'static str) -> Error {
    Error::InvalidAttribute {
        name: name.to_owned(),
        value: excerpt(value),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_no_control_characters_and_no_noncharacters() {
        for good in ["", "plain ~", "grüße", "€ 😀", "a%20b", "\u{a0}"] {
            check_text("subject", good, 100).expect(good);
        }
        for bad in [
            "a\nb",
            "\0",
            "\u{1f}",
            "\u{7f}",
            "\u{85}",
            "\u{9f}",
            "\u{fdd0}",
            "\u{fffe}",
            "\u{10ffff}",
        ] {
            let error = check_text("subject", bad, 100).expect_err("is refused");
            assert!(!error.to_string().contains(bad), "the message escapes it: {error}");
        }
    }

    #[test]
    fn uri_references_have_no_spaces_or_quotes() {
        for good in [
            "/todos",
            "https://example.com/a?b=c#d",
            "urn:uuid:1",
            "todos",
            "/grüße",
            "//host",
            "a%20b",
        ] {
            check_uri_reference("source", good).expect(good);
        }
        for bad in ["/a b", "<a>", "/\"a\"", "a\\b", "/{id}", "a|b", "a\u{a0}b"] {
            check_uri_reference("source", bad).expect_err(bad);
        }
    }

    #[test]
    fn absolute_uris_have_a_scheme() {
        for good in ["https://example.com/schema", "urn:x", "a+b-c.1:x"] {
            check_absolute_uri("dataschema", good).expect(good);
        }
        for bad in ["/schema", "schema", ":x", "1a:x", "ä:x", "https:", "https://a b"] {
            check_absolute_uri("dataschema", bad).expect_err(bad);
        }
    }

    #[test]
    fn media_types_fit_into_a_header() {
        for good in [
            "application/json",
            "text/plain; charset=utf-8",
            "application/vnd.x+json;v=\"1 2\"",
            "a/b",
        ] {
            check_media_type("datacontenttype", good).expect(good);
        }
        for bad in [
            "json",
            "/json",
            "application/",
            "a/b/c",
            "text/plain; n=ä",
            " a/b",
            "a b/c",
            ";a/b",
        ] {
            check_media_type("datacontenttype", bad).expect_err(bad);
        }
    }

    #[test]
    fn extension_names_are_lower_case_letters_and_digits() {
        for good in ["a", "partitionkey", "x509", "1a"] {
            check_extension_name(good).expect(good);
        }
        let long = "x".repeat(limits::MAX_EXTENSION_NAME_BYTES + 1);
        for bad in [
            "",
            "Trace",
            "trace-parent",
            "trace_parent",
            "ä",
            "a b",
            "data",
            "data_base64",
            "type",
            &long,
        ] {
            let error = check_extension_name(bad).expect_err(bad);
            assert!(error.to_string().contains("lower-case letters"), "{error}");
        }
    }
}
