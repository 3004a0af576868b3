//! What an event carries, kept as its producer sent it.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::Error;
use crate::limits;

/// An event's data.
///
/// Which variant it is follows from the event's `datacontenttype`: JSON media types, and none at all, go with
/// [`Data::Json`]; any other with [`Data::Text`] or [`Data::Binary`]; binary data may do without a content type too.
/// [`Event::validate`](crate::Event::validate) checks this.
#[derive(Debug, Clone, Default)]
pub enum Data {
    /// No data. JSON's `null` is data and is not this.
    #[default]
    None,
    /// A JSON document, in the very bytes that its producer sent: it isn't parsed and written again on its way.
    Json(Box<RawValue>),
    /// Text of another format, such as XML.
    Text(String),
    /// Anything else.
    Binary(Vec<u8>),
}

impl Data {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`Error::DataNotSerializable`] when the value's `Serialize` fails or a map has keys that are no strings,
    /// [`Error::DataTooDeep`] beyond [`limits::MAX_JSON_DEPTH`].
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let json = to_raw_value(value).map_err(|source| Error::DataNotSerializable { source })?;
        check_depth(json.get())?;
        Ok(Self::Json(json))
    }

    /// Takes a text that is JSON already, without copying it.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] when it isn't JSON, [`Error::DataTooDeep`] beyond [`limits::MAX_JSON_DEPTH`].
    pub fn from_json_text(text: String) -> Result<Self, Error> {
        let json = RawValue::from_string(text).map_err(|source| Error::InvalidJson { what: "data", source })?;
        check_depth(json.get())?;
        Ok(Self::Json(json))
    }

    /// Takes the raw bytes of a content type, as the body of an HTTP message has them: JSON for JSON media types, text
    /// for textual ones (`text/*`, XML) in UTF-8, binary for any other and for none. No bytes are no data.
    ///
    /// # Errors
    /// [`Error::InvalidUtf8`], [`Error::InvalidJson`] or [`Error::DataTooDeep`] when the bytes are not the JSON that the
    /// content type says they are.
    pub fn from_content(content_type: Option<&str>, bytes: Vec<u8>) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self::None);
        }
        match content_type.map(media_type) {
            Some(media_type) if is_json(media_type) => match String::from_utf8(bytes) {
                Ok(text) => Self::from_json_text(text),
                Err(error) => Err(Error::InvalidUtf8 {
                    what: "data".to_owned(),
                    source: error.utf8_error(),
                }),
            },
            Some(media_type) if is_textual(media_type) => {
                Ok(String::from_utf8(bytes).map_or_else(|error| Self::Binary(error.into_bytes()), Self::Text))
            }
            _ => Ok(Self::Binary(bytes)),
        }
    }

    /// The raw bytes, as the body of an HTTP message has them.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Json(json) => json.get().as_bytes(),
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Whether there is no data at all.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What this is, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "absent",
            Self::Json(_) => "a JSON value",
            Self::Text(_) => "a text",
            Self::Binary(_) => "binary",
        }
    }

    /// Whether this variant can stand beside this content type.
    pub(crate) fn agrees_with(&self, content_type: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Json(_) => content_type.is_none_or(is_json_content),
            Self::Text(_) => content_type.is_some_and(|content_type| !is_json_content(content_type)),
            Self::Binary(_) => !content_type.is_some_and(is_json_content),
        }
    }
}

/// JSON is the same when its text is the same: `1` and `1.0`, or two orders of one object's members, are different.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Json(left), Self::Json(right)) => left.get() == right.get(),
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Binary(left), Self::Binary(right)) => left == right,
            _ => false,
        }
    }
}

/// Whether a content type declares JSON: `*/json` or `*/*+json`, parameters aside.
pub(crate) fn is_json_content(content_type: &str) -> bool {
    is_json(media_type(content_type))
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(media_type: &str) -> bool {
    media_type.contains('/') && (ends_with(media_type, "/json") || ends_with(media_type, "+json"))
}

fn is_textual(media_type: &str) -> bool {
    media_type
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        || ends_with(media_type, "/xml")
        || ends_with(media_type, "+xml")
}

fn ends_with(media_type: &str, suffix: &str) -> bool {
    let start = media_type.len().checked_sub(suffix.len());
    start
        .and_then(|start| media_type.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// serde_json skips over raw values without recursion, so it accepts what no consumer could then parse: nesting has to
/// be counted here. The text is known to be JSON.
pub(crate) fn check_depth(json: &str) -> Result<(), Error> {
    let mut depth = 0_usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => _ = bytes.next(),
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
        if depth > limits::MAX_JSON_DEPTH {
            return Err(Error::DataTooDeep {
                limit: limits::MAX_JSON_DEPTH,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn the_content_type_decides_the_variant() {
        let cases: [(Option<&str>, &[u8], &str); 12] = [
            (Some("application/json"), b"1", "a JSON value"),
            (Some("Application/JSON; charset=utf-8"), b"{}", "a JSON value"),
            (Some("application/problem+json"), b"null", "a JSON value"),
            (Some("text/json"), b"[]", "a JSON value"),
            (Some("text/plain"), "grüße".as_bytes(), "a text"),
            (Some("TEXT/CSV;charset=utf-8"), b"a;b", "a text"),
            (Some("application/xml"), b"<a/>", "a text"),
            (Some("image/svg+xml"), b"<svg/>", "a text"),
            (Some("text/plain; charset=iso-8859-1"), b"gr\xfc\xdfe", "binary"),
            (Some("application/octet-stream"), b"plain", "binary"),
            (None, b"{}", "binary"),
            (Some("application/json"), b"", "absent"),
        ];
        for (content_type, bytes, kind) in cases {
            let data = Data::from_content(content_type, bytes.to_vec()).expect("agrees");
            assert_eq!(data.kind(), kind, "{content_type:?}");
            assert_eq!(data.as_bytes(), bytes);
            assert!(data.agrees_with(content_type), "{content_type:?}");
        }
    }

    #[test]
    fn what_is_not_the_json_it_says_is_refused() {
        let content = |bytes: &[u8]| Data::from_content(Some("application/json"), bytes.to_vec());
        assert!(matches!(content(b"{"), Err(Error::InvalidJson { what: "data", .. })));
        assert!(matches!(content(b"{} {}"), Err(Error::InvalidJson { .. })));
        assert!(matches!(content(b"\"\xff\""), Err(Error::InvalidUtf8 { .. })));
        let unserializable = BTreeMap::from([(vec![1], 2)]);
        assert!(matches!(
            Data::json(&unserializable),
            Err(Error::DataNotSerializable { .. })
        ));
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        assert!(Data::from_json_text(nested(limits::MAX_JSON_DEPTH)).is_ok());
        let too_deep = Data::from_json_text(nested(limits::MAX_JSON_DEPTH + 1));
        assert!(matches!(too_deep, Err(Error::DataTooDeep { .. })));
        let in_a_string = format!(r#"["\"{}"]"#, "[".repeat(1000));
        assert!(Data::from_json_text(in_a_string).is_ok());
        let side_by_side = format!("[{}[]]", "[],".repeat(1000));
        assert!(Data::from_json_text(side_by_side).is_ok());
    }

    #[test]
    fn json_keeps_its_bytes() {
        let text = "{\"b\" : 1.0,\n \"a\":123456789012345678901234567890}";
        let data = Data::from_json_text(text.to_owned()).expect("JSON");
        assert_eq!(data.as_bytes(), text.as_bytes());
        assert_ne!(data, Data::from_json_text("{}".to_owned()).expect("JSON"));
    }

    #[test]
    fn variants_and_content_types_must_agree() {
        let json = Data::json("text").expect("JSON");
        let text = Data::Text("text".to_owned());
        let binary = Data::Binary(vec![1]);
        let agree = |content_type| [&json, &text, &binary].map(|data| data.agrees_with(content_type));
        assert_eq!(agree(None), [true, false, true]);
        assert_eq!(agree(Some("application/json")), [true, false, false]);
        assert_eq!(agree(Some("text/plain")), [false, true, true]);
    }
}
