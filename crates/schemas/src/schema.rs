//! One schema.

use std::sync::OnceLock;

use jsonschema::Validator;
use selvedge_events::Data;
use serde_json::Value;

use crate::{Error, PUBLISHER};

/// How many mistakes are told at once.
pub const MISTAKES_MAX: usize = 10;
/// How long the reason of a mistake may be, in characters.
const REASON_CHARS_MAX: usize = 300;

/// What the data of one type of event may be.
#[derive(Debug)]
pub struct Schema {
    file: String,
    text: String,
    document: Value,
    publisher: Option<String>,
    validator: OnceLock<Validator>,
}

/// Where an event's data isn't as its schema has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// A JSON pointer into the data; empty for the data as a whole.
    pub path: String,
    /// What is wrong there. It repeats no value of the data.
    pub reason: String,
}

impl Schema {
    pub(crate) fn parse(file: &str, text: String) -> Result<Self, Error> {
        let document: Value = serde_json::from_str(&text).map_err(|cause| Error::Json {
            file: file.to_owned(),
            cause,
        })?;
        let refuse = |reason: &str| Error::Schema {
            file: file.to_owned(),
            reason: reason.to_owned(),
        };
        if !document.is_object() && !document.is_boolean() {
            return Err(refuse("write a JSON object"));
        }
        let publisher = match document.get(PUBLISHER) {
            None => None,
            Some(Value::String(source)) if !source.is_empty() => Some(source.clone()),
            Some(_) => {
                return Err(refuse(
                    "`x-publisher` must be the source of a function, such as \"/todos\"",
                ));
            }
        };
        Ok(Self {
            file: file.to_owned(),
            text,
            document,
            publisher,
            validator: OnceLock::new(),
        })
    }

    /// The schema as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The schema as JSON.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The source of the only function that may append events of this type; `None` for events from outside.
    pub fn publisher(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// Compiles the schema, unless it was before.
    ///
    /// # Errors
    /// [`Error::Schema`] when it isn't one of JSON Schema 2020-12, or refers to one in another file.
    pub fn compile(&self) -> Result<&Validator, Error> {
        if let Some(validator) = self.validator.get() {
            return Ok(validator);
        }
        let compiled = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&self.document)
            .map_err(|error| Error::Schema {
                file: self.file.clone(),
                reason: error.to_string(),
            })?;
        Ok(self.validator.get_or_init(|| compiled))
    }

    /// Checks an event's data.
    ///
    /// # Errors
    /// What is wrong with it, the first [`MISTAKES_MAX`] of all mistakes.
    pub fn check(&self, data: &Data) -> Result<(), Vec<Mistake>> {
        let whole = |reason: String| {
            vec![Mistake {
                path: String::new(),
                reason,
            }]
        };
        let Data::Json(json) = data else {
            return Err(whole(
                "is no JSON: events of this type carry JSON, with `datacontenttype` application/json".to_owned(),
            ));
        };
        let value: Value = serde_json::from_str(json.get())
            .map_err(|_| whole("has a number that can't be read: send a smaller one".to_owned()))?;
        // A schema that doesn't compile is a mistake of the application: nothing can be said to be valid by it.
        let validator = self
            .compile()
            .map_err(|error| whole(format!("can't be checked: {error}")))?;
        let mistakes: Vec<_> = validator.iter_errors(&value).take(MISTAKES_MAX).map(mistake).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

fn mistake(error: jsonschema::ValidationError<'_>) -> Mistake {
    let path = error.instance_path().to_string();
    let reason = error.masked_with("the value").to_string();
    Mistake {
        path,
        reason: reason.chars().take(REASON_CHARS_MAX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse("a.b.c.json", text.to_owned()).expect("JSON")
    }

    fn json(text: &str) -> Data {
        Data::from_json_text(text.to_owned()).expect("JSON")
    }

    #[test]
    fn mistakes_say_where_and_what_and_repeat_no_value() {
        let schema = schema(
            r#"{"type": "object", "additionalProperties": false, "required": ["at"],
                "properties": {"at": {"type": "string", "format": "date-time"}, "n": {"type": "integer", "minimum": 1}}}"#,
        );
        assert_eq!(schema.check(&json(r#"{"at": "2026-01-31T12:00:00Z", "n": 1}"#)), Ok(()));
        let mistakes = schema
            .check(&json(r#"{"at": "secret", "n": 0}"#))
            .expect_err("two mistakes");
        let paths: Vec<_> = mistakes.iter().map(|mistake| &*mistake.path).collect();
        assert_eq!(paths, ["/at", "/n"], "{mistakes:?}");
        assert!(!mistakes[0].reason.contains("secret"), "{mistakes:?}");
        assert_eq!(schema.check(&json("[]")).expect_err("an array")[0].path, "");
    }

    #[test]
    fn data_that_is_no_json_is_a_mistake() {
        let schema = schema("true");
        for data in [Data::None, Data::Text("x".to_owned()), Data::Binary(vec![1])] {
            assert!(
                schema.check(&data).expect_err("no JSON")[0]
                    .reason
                    .starts_with("is no JSON")
            );
        }
    }

    #[test]
    fn mistakes_are_bounded() {
        let schema = schema(r#"{"items": {"type": "string"}}"#);
        let many = schema
            .check(&json(&format!("[{}1]", "1,".repeat(100))))
            .expect_err("numbers");
        assert_eq!(many.len(), MISTAKES_MAX);
    }

    #[test]
    fn what_is_no_schema_or_lies_elsewhere_does_not_compile() {
        for text in [
            r#"{"type": "nonsense"}"#,
            r#"{"required": "title"}"#,
            r#"{"$ref": "https://example.com/other.json"}"#,
        ] {
            let error = schema(text).compile().expect_err(text);
            assert!(
                error.to_string().starts_with("schemas/a.b.c.json is no JSON Schema: "),
                "{error}"
            );
            assert!(schema(text).check(&json("{}")).is_err());
        }
    }
}
