//! `GET /asyncapi.json`: what there is to hear, and who hears and says it, as AsyncAPI 3.0.
//!
//! The journal is the one channel; every type with a schema is a message of it. A subscription receives those that it
//! hears, and a publisher sends those that only it may append.

use std::collections::BTreeMap;

use selvedge::subscription::Subscriptions;
use selvedge_events::json::MEDIA_TYPE;
use selvedge_schemas::{PUBLISHER, Schemas};
use serde_json::{Map, Value, json};

/// The document for these schemas and subscriptions.
pub fn document(schemas: &Schemas, subscriptions: &Subscriptions) -> Value {
    let each = |make: &dyn Fn(&str, &Value) -> Value| -> Map<String, Value> {
        let all = schemas.iter();
        all.map(|(event_type, schema)| (event_type.to_owned(), make(event_type, schema.document())))
            .collect()
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of this application",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Read them at GET /events or GET /events/stream, and send your own to POST /events."
        },
        "defaultContentType": MEDIA_TYPE,
        "channels": {
            "journal": {
                "address": "/events",
                "title": "The journal",
                "description": "Every event that was accepted, in order. Delivery is at least once, and takes effect once.",
                "messages": each(&|event_type, _| reference(&["components", "messages", event_type]))
            }
        },
        "operations": operations(schemas, subscriptions),
        "components": { "messages": each(&message), "schemas": each(&|event_type, schema| data(event_type, schema)) }
    })
}

/// What subscriptions receive and publishers send, by a name of letters, digits, dots and dashes.
fn operations(schemas: &Schemas, subscriptions: &Subscriptions) -> Map<String, Value> {
    let operation = |action: &str, summary: String, types: Vec<&str>| {
        let messages: Vec<_> = types
            .iter()
            .map(|event_type| reference(&["channels", "journal", "messages", event_type]))
            .collect();
        json!({
            "action": action,
            "channel": reference(&["channels", "journal"]),
            "summary": summary,
            "messages": messages
        })
    };
    let mut operations = Map::new();
    for subscription in subscriptions {
        let heard = schemas.iter().map(|(event_type, _)| event_type);
        let heard = heard.filter(|event_type| subscription.hears(event_type)).collect();
        let summary = format!("What the subscription {} hears.", subscription.name);
        operations.insert(
            format!("receive.{}", subscription.name),
            operation("receive", summary, heard),
        );
    }
    let mut published: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for (event_type, schema) in schemas.iter() {
        published.entry(schema.publisher()).or_default().push(event_type);
    }
    for (publisher, types) in published {
        let (name, summary) = match publisher {
            Some(source) => (
                source.trim_matches('/'),
                format!("What {source} appends, and nobody else."),
            ),
            None => ("outside", "What may come from outside, by POST /events.".to_owned()),
        };
        let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-', ".");
        operations.insert(format!("send.{name}"), operation("send", summary, types));
    }
    operations
}

/// A CloudEvent of this type, in structured mode.
fn message(event_type: &str, schema: &Value) -> Value {
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    json!({
        "name": event_type,
        "title": text("title").unwrap_or(event_type),
        "summary": text("description").unwrap_or_default(),
        "contentType": MEDIA_TYPE,
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "data"],
            "properties": {
                "specversion": { "const": "1.0" },
                "id": { "type": "string", "minLength": 1 },
                "source": publisher(schema),
                "type": { "const": event_type },
                "subject": { "type": "string" },
                "time": { "type": "string", "format": "date-time" },
                "datacontenttype": { "type": "string" },
                "dataschema": { "type": "string", "format": "uri" },
                "data": reference(&["components", "schemas", event_type])
            }
        }
    })
}

fn publisher(schema: &Value) -> Value {
    match schema.get(PUBLISHER) {
        Some(source) => json!({ "const": source }),
        None => json!({ "type": "string", "minLength": 1 }),
    }
}

/// A schema as a part of the document: without what says that it is a document of its own, and with references that
/// begin at its place.
fn data(event_type: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(members) = &mut schema {
        for name in ["$schema", "$id"] {
            members.remove(name);
        }
    }
    rebase(&mut schema, &format!("#/components/schemas/{event_type}"));
    schema
}

fn rebase(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" && target.starts_with('#') => {
                        *target = format!("{place}{}", &target[1..]);
                    }
                    member => rebase(member, place),
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(|member| rebase(member, place)),
        _ => {}
    }
}

/// A reference to a place of the document. The names of types need no escapes.
fn reference(path: &[&str]) -> Value {
    json!({ "$ref": format!("#/{}", path.join("/")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_within_a_schema_follow_it_to_its_place() {
        let text = r##"{"$id": "x:y", "$defs": {"item": {"type": "string"}}, "properties": {"a": [{"$ref": "#/$defs/item"}]}}"##;
        let files = [("a.b.c.json".to_owned(), text.to_owned())];
        let schemas = Schemas::parse(files).expect("valid");
        let document = document(&schemas, &Subscriptions::default());
        let schema = &document["components"]["schemas"]["a.b.c"];
        assert_eq!(
            schema["properties"]["a"][0]["$ref"],
            "#/components/schemas/a.b.c/$defs/item"
        );
        assert_eq!(schema.get("$id"), None);
        let sent = &document["operations"]["send.outside"]["messages"][0]["$ref"];
        assert_eq!(sent, "#/channels/journal/messages/a.b.c");
    }

    #[test]
    fn a_subscription_receives_what_it_hears() {
        let files = ["a.b.c.json", "a.x.y.json"].map(|name| (name.to_owned(), r#"{"x-publisher": "/a"}"#.to_owned()));
        let schemas = Schemas::parse(files).expect("valid");
        let text = "[[subscription]]\nname = \"one\"\ntypes = [\"a.b.*\"]\ntarget = \"function:one\"\n";
        let subscriptions = Subscriptions::parse(text).expect("valid");
        let document = document(&schemas, &subscriptions);
        let messages = document["operations"]["receive.one"]["messages"]
            .as_array()
            .expect("messages");
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(
            document["operations"]["send.a"]["messages"].as_array().map(Vec::len),
            Some(2)
        );
    }
}
