//! A text with `{{ variable }}` in it, as Spin's manifests hold them.

use std::fmt;

/// A parsed template. [`Display`](fmt::Display) and `Debug` show the source, never a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

impl Template {
    /// Parses a template. The only malformed one has a `{{` without its `}}`; the error says so.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((literal, after)) = rest.split_once("{{") {
            let Some((name, behind)) = after.split_once("}}") else {
                return Err(format!("the template {source:?} has a `{{{{` without its `}}}}`"));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Variable(name.trim().to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it names no variable, so that it is its own value.
    pub fn is_literal(&self) -> bool {
        self.variables().next().is_none()
    }

    /// The names of the variables in it, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text with every variable replaced by what `value` gives for it; the first error of `value` otherwise.
    pub fn expand<'v, E>(&self, mut value: impl FnMut(&str) -> Result<&'v str, E>) -> Result<String, E> {
        let mut text = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => text.push_str(value(name)?),
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(source: &str) -> Result<String, String> {
        Template::parse(source)?.expand(|name| match name {
            "a" => Ok("1"),
            "b" => Ok(""),
            other => Err(format!("no {other}")),
        })
    }

    #[test]
    fn variables_are_replaced() {
        for (source, expected) in [
            ("", ""),
            ("text", "text"),
            ("{{a}}", "1"),
            ("x{{ a }}y{{b}}z", "x1yz"),
            ("{{a}}{{ a }}", "11"),
            ("}} {{a}} }", "}} 1 }"),
            ("{ {a} }", "{ {a} }"),
        ] {
            assert_eq!(expand(source), Ok(expected.to_owned()), "{source}");
        }
    }

    #[test]
    fn a_brace_without_its_end_is_refused() {
        for source in ["{{", "{{ a", "{{ a }} {{ b", "{{ a }"] {
            let error = Template::parse(source).unwrap_err();
            assert!(error.contains("without its"), "{error}");
        }
    }

    #[test]
    fn names_are_listed_in_order() {
        let template = Template::parse("{{ z }}-{{a}}-{{ z }}").unwrap();
        assert_eq!(template.variables().collect::<Vec<_>>(), ["z", "a", "z"]);
        assert!(!template.is_literal());
        assert!(Template::parse("a-{b}").unwrap().is_literal());
        assert_eq!(expand("{{ c }}"), Err("no c".to_owned()));
    }
}
