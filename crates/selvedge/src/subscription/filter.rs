//! `match`: a condition over an event and its data, in the Common Expression Language.

use std::fmt;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value};
use serde_json::Value as Json;

use crate::limits;

/// A condition that an event must meet to be heard.
///
/// It sees `event`, the CloudEvent as its JSON format has it (`event.source`, `event.subject`, every extension), and
/// `data`, the event's data; `null` when it has none. Whole numbers are `int`, others `double`, and times are texts.
///
/// ```
/// use selvedge::subscription::Filter;
///
/// let filter = Filter::parse("data.priceCents > 1000 && event.source == '/orders'")?;
/// let event = r#"{"specversion":"1.0","id":"1","source":"/orders","type":"orders.order.placed","data":{"priceCents":1200}}"#;
/// assert_eq!(filter.matches(event), Ok(true));
/// assert!(Filter::parse("data.priceCents >").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone)]
pub struct Filter {
    text: String,
    program: Arc<Program>,
    environment: Arc<Env>,
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, as one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > limits::MATCH_BYTES_MAX {
            let (length, max) = (text.len(), limits::MATCH_BYTES_MAX);
            return Err(format!(
                "`match` has {length} bytes, {max} are allowed: filter in the function"
            ));
        }
        if nesting(text) > limits::MATCH_NESTING_MAX {
            let max = limits::MATCH_NESTING_MAX;
            return Err(format!(
                "`match` has more than {max} brackets within each other: filter in the function"
            ));
        }
        let environment = Arc::new(Env::stdlib());
        let program = environment.compile(text).map_err(|error| {
            let first = error
                .errors
                .first()
                .map_or_else(|| error.to_string(), |error| error.msg.clone());
            format!("`match` is no valid CEL expression: {first}")
        })?;
        Ok(Self {
            text: text.to_owned(),
            program: Arc::new(program),
            environment,
        })
    }

    /// Whether an event in CloudEvents' JSON format meets the condition.
    ///
    /// # Errors
    /// Why that can't be said: a key that isn't there, types that don't go together, or a result that is no truth value.
    pub fn matches(&self, event: &str) -> Result<bool, String> {
        let event: Json = serde_json::from_str(event).map_err(|error| format!("the event is no JSON: {error}"))?;
        let event = value(event);
        let data = match &event {
            Value::Map(attributes) => attributes.map.get(&Key::from("data")).cloned().unwrap_or(Value::Null),
            _ => Value::Null,
        };
        let mut context = Context::with_env(self.environment.clone());
        context.add_variable_from_value("event", event);
        context.add_variable_from_value("data", data);
        match self.program.execute(&context) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(_) => Err("its result is neither true nor false".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Filter").field(&self.text).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// How deep the brackets of a text lie within each other: the parser goes as deep.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for character in text.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text)),
        Json::Array(items) => Value::List(Arc::new(items.into_iter().map(value).collect())),
        Json::Object(members) => {
            let members = members.into_iter().map(|(key, member)| (key.into(), value(member)));
            let map = Arc::new(members.collect());
            Value::Map(Map { map })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/orders","type":"orders.order.placed","subject":"o1",
        "tenant":"acme","data":{"priceCents":1200,"share":0.5,"huge":18446744073709551615,"gift":true,"note":null,
        "items":[{"sku":"tea","quantity":2},{"sku":"cup","quantity":1}]}}"#;

    fn matches(text: &str) -> Result<bool, String> {
        Filter::parse(text).expect(text).matches(EVENT)
    }

    #[test]
    fn attributes_extensions_and_data_can_be_asked_for() {
        for text in [
            "event.type == 'orders.order.placed'",
            "event.subject.startsWith('o') && event.tenant == \"acme\"",
            "data.priceCents > 1000 && data.priceCents <= 1200",
            "data.share < 1.0",
            "data.gift",
            "data.note == null",
            "data.items.exists(item, item.sku == 'tea' && item.quantity >= 2)",
            "data.items.all(item, item.quantity > 0) && size(data.items) == 2",
            "has(data.priceCents) && !has(data.discount)",
            "event.data.priceCents == data.priceCents",
            "event.source in ['/orders', '/users']",
        ] {
            assert_eq!(matches(text), Ok(true), "{text}");
            assert_eq!(matches(&format!("!({text})")), Ok(false), "{text}");
        }
    }

    #[test]
    fn what_cant_be_evaluated_says_why() {
        for text in [
            "data.discount > 5",
            "data.priceCents > 'a'",
            "data.priceCents",
            "other == 1",
            "'yes'",
            "data.items[7].sku == ''",
        ] {
            let reason = matches(text).expect_err(text);
            assert!(!reason.is_empty(), "{text}");
        }
        let without_data = r#"{"specversion":"1.0","id":"1","source":"/o","type":"a.b.c"}"#;
        assert_eq!(
            Filter::parse("data == null").expect("valid").matches(without_data),
            Ok(true)
        );
        assert!(
            Filter::parse("data.x == 1")
                .expect("valid")
                .matches(without_data)
                .is_err()
        );
    }

    #[test]
    fn a_wrong_expression_is_refused() {
        for text in ["", "data.", "a b", "1 +", "data.x == 'open", "))", "data.x = 1"] {
            assert!(Filter::parse(text).expect_err(text).contains("no valid CEL"), "{text}");
        }
        let long = format!("'{}' == ''", "x".repeat(limits::MATCH_BYTES_MAX));
        assert!(Filter::parse(&long).expect_err("too long").contains("bytes"));
        let deep = format!("{}1{} == 1", "(".repeat(400), ")".repeat(400));
        assert!(Filter::parse(&deep).expect_err("too deep").contains("brackets"));
        let deepest = format!(
            "{}1{} == 1",
            "(".repeat(limits::MATCH_NESTING_MAX),
            ")".repeat(limits::MATCH_NESTING_MAX)
        );
        assert_eq!(matches(&deepest), Ok(true));
        let not = format!("{}true", "!".repeat(900));
        assert!(Filter::parse(&not).is_ok_and(|filter| filter.matches(EVENT) == Ok(true)));
    }
}
