//! Path patterns such as `/todos/:id/complete`.

use percent_encoding::percent_decode_str;

/// A path with parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(&'static str);

/// The parameters of a path that matched, percent-decoded.
pub(crate) type Matched = Vec<(&'static str, String)>;

impl Pattern {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The parameters when the path has this shape. A parameter is one whole segment, not empty, and decodes to UTF-8; one
    /// that is written `*name` is all that is left of the path, slashes included. A slash at the end of the path makes no
    /// difference.
    pub(crate) fn matches(&self, path: &str) -> Option<Matched> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut matched = Vec::new();
        let mut segments = path.split('/');
        for expected in self.0.split('/') {
            let segment = segments.next()?;
            if let Some(name) = expected.strip_prefix('*') {
                let rest = segments.fold(segment.to_owned(), |rest, next| rest + "/" + next);
                let rest = percent_decode_str(&rest).decode_utf8().ok()?.into_owned();
                return (!rest.is_empty()).then(|| {
                    matched.push((name, rest));
                    matched
                });
            }
            match expected.strip_prefix(':') {
                None if expected == segment => {}
                Some(name) if !segment.is_empty() => {
                    matched.push((name, percent_decode_str(segment).decode_utf8().ok()?.into_owned()));
                }
                _ => return None,
            }
        }
        segments.next().is_none().then_some(matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_segment_by_segment() {
        let cases = [
            ("/todos", "/todos", Some(vec![])),
            ("/todos", "/todos/", Some(vec![])),
            ("/todos", "/todos//", None),
            ("/todos", "/todo", None),
            ("/todos", "/todos/1", None),
            ("/todos/:id", "/todos/a%20b", Some(vec![("id", "a b".to_owned())])),
            ("/todos/:id", "/todos/%ff", None),
            ("/todos/:id", "/todos", None),
            ("/todos/:id", "/todos//complete", None),
            (
                "/todos/:id/complete",
                "/todos/7/complete",
                Some(vec![("id", "7".to_owned())]),
            ),
            ("/todos/:id/complete", "/todos/7/Complete", None),
            (
                "/topics/*name",
                "/topics/a/b%20c",
                Some(vec![("name", "a/b c".to_owned())]),
            ),
            ("/topics/*name", "/topics/", None),
            ("/topics/*name", "/topics", None),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Pattern::new(pattern).matches(path), expected, "{pattern} on {path}");
        }
    }
}
