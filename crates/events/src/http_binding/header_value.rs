//! Attribute values in headers: section 3.1.3.2 of the HTTP binding.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::attribute;
use crate::error::Error;

/// What is percent-encoded, next to everything beyond ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Any text as a header's value.
pub(super) fn encode(text: &str) -> HeaderValue {
    let encoded = Cow::from(utf8_percent_encode(text, ENCODED));
    HeaderValue::try_from(&*encoded).expect("what is left after encoding is printable ASCII")
}

/// The text in a header's value: quotes are taken off, which older versions of the binding put around values, then one
/// round of percent-decoding. A `%` that no two hexadecimal digits follow stands for itself.
pub(super) fn decode<'v>(name: &HeaderName, value: &'v HeaderValue) -> Result<Cow<'v, str>, Error> {
    let not_utf8 = |source| Error::InvalidUtf8 {
        what: name.to_string(),
        source,
    };
    let text = std::str::from_utf8(value.as_bytes()).map_err(not_utf8)?;
    match text.strip_prefix('"') {
        None => percent_decode_str(text).decode_utf8().map_err(not_utf8),
        Some(quoted) => {
            let unquoted = unquote(quoted).ok_or_else(|| {
                attribute::invalid(
                    name.as_str(),
                    text,
                    "end the quoted value with a quote, or send it without quotes",
                )
            })?;
            let decoded = percent_decode_str(&unquoted).decode_utf8().map_err(not_utf8)?;
            Ok(Cow::Owned(decoded.into_owned()))
        }
    }
}

/// The content of a quoted string whose opening quote has been read; `None` when its end isn't the end of the text.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(text),
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: HeaderName = HeaderName::from_static("ce-subject");

    fn decoded(value: &[u8]) -> Result<String, Error> {
        decode(&NAME, &HeaderValue::from_bytes(value).expect("a header value")).map(Cow::into_owned)
    }

    #[test]
    fn values_are_encoded_as_the_binding_has_it() {
        let cases = [
            ("plain!~#'", "plain!~#'"),
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("100% \"sure\"", "100%25%20%22sure%22"),
            ("a\nb\u{7f}", "a%0Ab%7F"),
            ("", ""),
        ];
        for (text, value) in cases {
            assert_eq!(encode(text), value);
            assert_eq!(decoded(value.as_bytes()).expect("the same"), text);
        }
    }

    #[test]
    fn more_is_decoded_than_is_encoded() {
        let cases: [(&[u8], &str); 9] = [
            (b"%e2%82%ac", "€"),
            (b"%41", "A"),
            (b"%2541", "%41"),
            (b"100%", "100%"),
            (b"%zz", "%zz"),
            (b"\"a b \\\"c\\\" %20\"", "a b \"c\"  "),
            (b"\"\"", ""),
            (b"a \"b\"", "a \"b\""),
            ("grüße".as_bytes(), "grüße"),
        ];
        for (value, text) in cases {
            assert_eq!(decoded(value).expect(text), text);
        }
    }

    #[test]
    fn bad_utf8_and_bad_quotes_are_refused() {
        for value in [&b"%C0%A0"[..], b"%ff", b"\xff", b"\"%ff\"", b"%E2%82"] {
            assert!(matches!(decoded(value), Err(Error::InvalidUtf8 { what, .. }) if what == "ce-subject"));
        }
        for value in [&b"\"open"[..], b"\"", b"\"a\" b", b"\"a\\"] {
            assert!(
                matches!(decoded(value), Err(Error::InvalidAttribute { .. })),
                "{value:?}"
            );
        }
    }
}
