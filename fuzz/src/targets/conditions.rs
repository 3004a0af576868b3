//! `match`: a CEL condition that an operator writes, over an event that somebody else wrote.

use selvedge::subscription::Filter;

use crate::target::{Execute, Target};

/// What is true of these events is beside the point: that it can be said, or why not.
const EVENTS: [&str; 3] = [
    r#"{"specversion":"1.0","id":"1","source":"/t","type":"a.b.c"}"#,
    r#"{"specversion":"1.0","id":"1","source":"/orders","type":"orders.order.placed","subject":"o1","time":"2026-01-01T00:00:00Z","xcount":7,"data":{"priceCents":1200,"items":[{"sku":"a","quantity":2}],"note":"\u20ac","ratio":0.5,"none":null,"flag":true}}"#,
    r#"{"specversion":"1.0","id":"1","source":"/t","type":"a.b.c","data":[1,-9223372036854775808,18446744073709551615,1e308,[],{}]}"#,
];

/// The expression.
pub const TARGET: Target = Target {
    name: "match",
    words: &[
        "data",
        "event",
        ".",
        "data.priceCents",
        "event.source",
        "event.type",
        "data.items",
        "[0]",
        "== ",
        "!= ",
        " && ",
        " || ",
        " ? ",
        " : ",
        " in ",
        "!",
        "-",
        " + ",
        " * ",
        " / ",
        " % ",
        " < ",
        "has(",
        "size(",
        "string(",
        "int(",
        "uint(",
        "double(",
        "timestamp(",
        "duration(",
        "\"1h\"",
        "matches(",
        ".startsWith(",
        ".endsWith(",
        ".contains(",
        ".all(x, ",
        ".exists(x, ",
        ".exists_one(x, ",
        ".map(x, ",
        ".filter(x, ",
        "true",
        "false",
        "null",
        "'a'",
        "b'a'",
        "r'a'",
        "1u",
        "0x7f",
        "9223372036854775807",
        "{'a': 1}",
        "[1, 2, 3]",
        "max(",
        "min(",
        "optional.of(",
        "bytes(",
        "type(",
        "dyn(",
    ],
    prepare: || -> Execute {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            match Filter::parse(text) {
                Ok(filter) => {
                    for event in EVENTS {
                        if let Err(reason) = filter.matches(event) {
                            assert!(!reason.is_empty());
                        }
                    }
                }
                Err(reason) => assert!(reason.contains("`match`"), "{reason}"),
            }
        })
    },
};
