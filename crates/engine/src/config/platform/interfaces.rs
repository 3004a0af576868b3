//! The interfaces of Spin 4.1, as facts.
//!
//! Left out are the release candidates of WASI that Spin still takes (the embedded engine doesn't), and `wasi:otel`,
//! which is behind a flag.

use crate::config::manifest::TriggerType;

/// Packages with the versions in which they are offered and their interfaces. The version of an unversioned package is
/// empty. WASI 0.2 is offered by every patch version, and is written down as its first.
const OFFERED: &[(&str, &[&str], &[&str])] = &[
    (
        "wasi:cli",
        &["0.2.0", "0.3.0"],
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:cli", &["0.3.0"], &["types"]),
    ("wasi:clocks", &["0.2.0", "0.3.0"], &["monotonic-clock"]),
    ("wasi:clocks", &["0.2.0"], &["wall-clock"]),
    ("wasi:clocks", &["0.3.0"], &["types", "system-clock"]),
    ("wasi:filesystem", &["0.2.0", "0.3.0"], &["types", "preopens"]),
    ("wasi:http", &["0.2.0", "0.3.0"], &["types"]),
    ("wasi:http", &["0.2.0"], &["outgoing-handler"]),
    ("wasi:http", &["0.3.0"], &["client"]),
    ("wasi:io", &["0.2.0"], &["error", "poll", "streams"]),
    (
        "wasi:random",
        &["0.2.0", "0.3.0"],
        &["random", "insecure", "insecure-seed"],
    ),
    (
        "wasi:sockets",
        &["0.2.0"],
        &[
            "network",
            "instance-network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
    ("wasi:sockets", &["0.2.0", "0.3.0"], &["ip-name-lookup"]),
    ("wasi:sockets", &["0.3.0"], &["types"]),
    ("wasi:keyvalue", &["0.2.0-draft2"], &["store", "batch", "atomics"]),
    ("wasi:config", &["0.2.0-draft-2024-09-27"], &["store"]),
    ("spin:key-value", &["3.0.0"], &["key-value"]),
    ("spin:mqtt", &["3.0.0"], &["mqtt"]),
    ("spin:mysql", &["3.0.0"], &["mysql"]),
    ("spin:postgres", &["3.0.0", "4.2.0"], &["postgres"]),
    ("spin:redis", &["3.0.0"], &["redis"]),
    ("spin:sqlite", &["3.1.0"], &["sqlite"]),
    ("spin:variables", &["3.0.0"], &["variables"]),
    // Types only, for the trigger worlds.
    ("spin:cron", &["3.0.0"], &["cron-types"]),
    ("spin:mqtt-trigger", &["3.0.0"], &["spin-mqtt-types"]),
    (
        "fermyon:spin",
        &["2.0.0"],
        &[
            "key-value",
            "llm",
            "mqtt",
            "mysql",
            "postgres",
            "rdbms-types",
            "redis",
            "sqlite",
            "variables",
        ],
    ),
    (
        "fermyon:spin",
        &[""],
        &[
            "config",
            "http",
            "http-types",
            "key-value",
            "llm",
            "mysql",
            "postgres",
            "rdbms-types",
            "redis",
            "redis-types",
            "sqlite",
        ],
    ),
];

/// The versions in which an interface, written `package/interface`, is offered.
pub fn offered(interface: &str) -> impl Iterator<Item = &'static str> {
    let (package, name) = interface.split_once('/').unwrap_or((interface, ""));
    OFFERED
        .iter()
        .filter(move |(of_package, _, interfaces)| *of_package == package && interfaces.contains(&name))
        .flat_map(|(_, versions, _)| versions.iter().copied())
}

/// What a trigger calls: one of the alternatives. One with a version is an interface, one without is a function.
pub struct Exports {
    pub alternatives: &'static [&'static str],
    pub text: &'static str,
}

pub fn exports_of(trigger: TriggerType) -> Exports {
    match trigger {
        TriggerType::Http => Exports {
            alternatives: &["wasi:http/handler@0.3.0", "wasi:http/incoming-handler@0.2.0"],
            text: "wasi:http/handler@0.3.0 (or wasi:http/incoming-handler@0.2)",
        },
        TriggerType::Cron => Exports {
            alternatives: &["handle-cron-event"],
            text: "the function handle-cron-event of the world spin:cron/spin-cron@3.0.0",
        },
        TriggerType::Redis => Exports {
            alternatives: &["spin:redis/inbound-redis@3.0.0"],
            text: "spin:redis/inbound-redis@3.0.0",
        },
        TriggerType::Mqtt => Exports {
            alternatives: &["handle-message"],
            text: "the function handle-message of the world spin:mqtt-trigger/spin-mqtt@3.0.0",
        },
    }
}
