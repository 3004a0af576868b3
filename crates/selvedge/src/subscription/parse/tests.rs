//! What a subscriptions.toml may say, and what it says when it is wrong.

use crate::Error;
use crate::retry::RetryPolicy;
use crate::subscription::{Order, Start, Target};

use super::parse;

const MINIMAL: &str = "[[subscription]]\nname = \"a\"\ntypes = [\"todos.task.*\"]\ntarget = \"function:x\"\n";

#[test]
fn what_is_not_said_has_its_standard_value() {
    let subscriptions = parse(&format!("# who hears what\n\n{MINIMAL}")).expect("valid");
    let [only] = &subscriptions[..] else {
        panic!("one subscription")
    };
    assert_eq!(only.retry, RetryPolicy::default());
    assert_eq!((only.timeout_ms, only.batch, only.max_in_flight), (30_000, 500, None));
    assert_eq!((only.order, only.start), (Order::None, Start::Beginning));
    assert_eq!(
        only.target,
        Target::Function {
            component: "x".to_owned()
        }
    );
    assert_eq!(only.target_line, 6);
    assert_eq!(parse("").expect("none is fine"), []);
}

#[test]
fn events_may_come_from_a_topic_and_go_to_a_function() {
    use crate::subscription::Address;

    let from = |from: &str, target: &str| {
        let target = format!("from = \"{from}\"\ntarget = \"{target}\"");
        parse(&MINIMAL.replace("target = \"function:x\"", &target))
    };
    let topic = "news".to_owned();
    let heard = from("kafka:news", "function:x").expect("valid").remove(0);
    assert_eq!(heard.from, Some(Address::Kafka { topic }));
    for (from_, target, says) in [
        ("kafka:news", "kafka:other", "goes to a function"),
        ("kafka:two words", "function:x", "must have a topic"),
        ("redis:news", "function:x", "by its trigger"),
        ("news", "function:x", "\"kafka:<topic>\""),
    ] {
        let error = from(from_, target).expect_err(from_).to_string();
        assert!(
            error.starts_with("subscriptions.toml, line 4: ") && error.contains(says),
            "{error}"
        );
    }
}

#[test]
fn everything_can_be_said() {
    let text = format!(
        "{MINIMAL}max_attempts = 3\ninitial_interval = \"250ms\"\nmultiplier = 3\nmax_interval = \"1m 30s\"\njitter = 0\n\
         timeout = \"5s\"\nbatch = 10\nmax_in_flight = 20\norder = \"stream\"\nstart = \"now\"\n"
    );
    let subscription = parse(&text).expect("valid").remove(0);
    let expected = RetryPolicy {
        max_attempts: 3,
        initial_interval_ms: 250,
        multiplier: 3.0,
        max_interval_ms: 90_000,
        jitter: 0.0,
    };
    assert_eq!(subscription.retry, expected);
    assert_eq!((subscription.timeout_ms, subscription.batch), (5_000, 10));
    assert_eq!(subscription.max_in_flight, Some(20));
    assert_eq!((subscription.order, subscription.start), (Order::Stream, Start::Now));
}

#[test]
fn a_mistake_names_its_line() {
    let with = |line: &str| format!("{MINIMAL}{line}\n");
    let webhook =
        |url: &str, secret: &str| format!("{}secret_variable = \"{secret}\"\n", MINIMAL.replace("function:x", url));
    let cases = [
        ("nonsense".to_owned(), 1, ""),
        ("[[subscriptions]]\n".to_owned(), 1, "unknown field"),
        ("[[subscription]]\nname = \"a\"\n".to_owned(), 1, "missing field"),
        (with("batchsize = 3"), 5, "unknown field"),
        (with("batch = 0"), 5, "from 1 to 500"),
        (with("batch = \"many\""), 5, "invalid type"),
        (with("max_in_flight = 0"), 5, "from 1 to 10000"),
        (with("order = \"random\""), 5, "expected `none` or `stream`"),
        (with("start = \"tomorrow\""), 5, "expected `beginning` or `now`"),
        (with("max_attempts = 101"), 5, "from 1 to 100"),
        (with("max_attempts = -1"), 5, ""),
        (with("multiplier = 0.5"), 5, "from 1 to 100"),
        (with("multiplier = nan"), 5, "from 1 to 100"),
        (with("jitter = 1.5"), 5, "from 0 to 1"),
        (with("timeout = \"soon\""), 5, "a duration"),
        (with("timeout = \"0ms\""), 5, "from 1ms to 45s"),
        (with("timeout = \"1h\""), 5, "from 1ms to 45s"),
        (
            with("initial_interval = \"10s\"\nmax_interval = \"1s\""),
            6,
            "shorter than",
        ),
        (with(MINIMAL), 6, "another subscription named \"a\""),
        (MINIMAL.replace("\"a\"", "\"A\""), 2, "lower-case"),
        (MINIMAL.replace("\"a\"", "\"a--b\""), 2, "single hyphens"),
        (MINIMAL.replace("\"a\"", "\"\""), 2, "lower-case"),
        (MINIMAL.replace("todos.task.*", "todos"), 3, "no type pattern"),
        (MINIMAL.replace("[\"todos.task.*\"]", "[]"), 3, "at least one"),
        (MINIMAL.replace("function:x", "x"), 4, "function:<component>"),
        (MINIMAL.replace("function:x", "function:"), 4, "kebab-case"),
        (with("match = \"data.\""), 5, "no valid CEL expression"),
        (with("match = true"), 5, "invalid type"),
        (with("secret_variable = \"webhook_secret\""), 5, "is for webhooks"),
        (webhook("https://example.org", "webhook-secret"), 5, "a variable's name"),
        (webhook("https://", "webhook_secret"), 4, "no valid URL"),
        (webhook("https:/x", "webhook_secret"), 4, "no valid URL"),
        (webhook("http://example.org/x", "webhook_secret"), 4, "in the clear"),
        (webhook("http://10.0.0.1/x", "webhook_secret"), 4, "in the clear"),
        (
            webhook("https://u:p@example.org/x", "webhook_secret"),
            4,
            "a user's name",
        ),
        (
            webhook("https://example.org", "webhook_secret") + "batch = 33\n",
            6,
            "from 1 to 32",
        ),
        (MINIMAL.replace("function:x", "redis:x"), 4, "name in `consumers`"),
        (MINIMAL.replace("function:x", "redis:"), 4, "must have a name"),
        (MINIMAL.replace("function:x", "redis:two words"), 4, "without spaces"),
        (with("consumers = [\"x\"]"), 5, "targets that may lose messages"),
        (
            MINIMAL.replace("function:x", "redis-stream:x") + "consumers = [\"x\"]\n",
            5,
            "keeps its messages",
        ),
        (
            MINIMAL.replace("function:x", "redis-stream:x") + "secret_variable = \"x\"\n",
            5,
            "is for webhooks",
        ),
        (
            MINIMAL.replace("function:x", "https://example.org"),
            4,
            "needs `secret_variable`",
        ),
        (MINIMAL.replace("function:x", "pigeon:x"), 4, "no kind of target"),
    ];
    for (text, line, reason) in cases {
        match parse(&text) {
            Err(Error::Subscriptions {
                line: found,
                reason: said,
            }) => {
                assert_eq!(found, line, "{text}\n{said}");
                assert!(said.contains(reason), "{text}\n{said}");
            }
            other => panic!("{text}\n{other:?}"),
        }
    }
}

#[test]
fn a_webhook_has_an_url_and_a_secret() {
    for url in [
        "https://example.org/hooks?tenant=1",
        "http://127.0.0.1:8080",
        "http://[::1]/x",
        "http://localhost/",
    ] {
        let text = format!(
            "{}secret_variable = \"webhook_secret\"\n",
            MINIMAL.replace("function:x", url)
        );
        let subscription = parse(&text).expect(url).remove(0);
        let expected = Target::Webhook {
            url: url.to_owned(),
            secret_variable: "webhook_secret".to_owned(),
        };
        assert_eq!((subscription.target, subscription.batch), (expected, 32));
    }
}

#[test]
fn a_channel_has_consumers_and_a_stream_has_none() {
    for (lines, consumers) in [
        ("target = \"redis:todos\"\nconsumers = [\"a\", \"b\"]\n", vec!["a", "b"]),
        ("target = \"redis:todos\"\nconsumers = []\n", Vec::new()),
        ("target = \"redis-stream:todos\"\n", Vec::new()),
    ] {
        let text = MINIMAL.replace("target = \"function:x\"\n", lines);
        let subscription = parse(&text).expect(lines).remove(0);
        assert_eq!(subscription.consumers(), consumers);
        assert_eq!(subscription.batch, 500);
        let marked_by = if consumers.is_empty() { vec!["a"] } else { consumers };
        assert_eq!(subscription.marked_by(), marked_by);
    }
}
