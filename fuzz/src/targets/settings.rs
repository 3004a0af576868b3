//! The files that an operator writes: each is understood, or refused in a sentence.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use selvedge::subscription::Subscriptions;
use selvedge_engine::config::{ConfigError, Manifest, Router, RuntimeConfig, RuntimeFolders, validate_manifest};

use crate::target::{Execute, Target};

/// A folder that isn't there: a parser touches no files.
const FOLDER: &str = "/nonexistent/selvedge-fuzz";
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// subscriptions.toml.
pub const SUBSCRIPTIONS: Target = Target {
    name: "subscriptions",
    words: &[
        "[[subscription]]\n",
        "[subscription]",
        "name = ",
        "types = ",
        "[\"*\"]",
        "\"*.*.*\"",
        "\"todos.task.created\"",
        "target = ",
        "\"function:x\"",
        "\"https://example.com/hook\"",
        "\"redis:x\"",
        "max_attempts = ",
        "initial_interval = ",
        "multiplier = ",
        "max_interval = ",
        "jitter = ",
        "timeout = ",
        "batch = ",
        "order = ",
        "match = ",
        "start = ",
        "\"1s\"",
        "\"100ms\"",
        "\"584542046years\"",
        "inf",
        "nan",
        "0x10",
        "1_000",
        "'''",
        "{ a = 1 }",
        "a.b.c = 1",
        "# comment\n",
    ],
    prepare: || -> Execute {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            match Subscriptions::parse(text) {
                Ok(subscriptions) => {
                    for subscription in subscriptions.iter() {
                        assert!(subscriptions.get(&subscription.name).is_some());
                        assert!(
                            subscription.batch > 0 && subscription.timeout_ms > 0,
                            "{subscription:?}"
                        );
                        let _ = subscription.hears("todos.task.created");
                    }
                    assert!(subscriptions.components().all(|(_, line)| line > 0));
                }
                Err(error) => assert!(error.to_string().contains("subscriptions.toml"), "{error}"),
            }
        })
    },
};

/// spin.toml.
pub const MANIFEST: Target = Target {
    name: "manifest",
    words: &[
        "spin_manifest_version = 2\n",
        "[application]\n",
        "name = ",
        "version = ",
        "[variables]\n",
        "default = ",
        "required = true",
        "secret = true",
        "[[trigger.http]]\n",
        "route = ",
        "\"/...\"",
        "\"/a/:b/...\"",
        "{ private = true }",
        "component = ",
        "[[trigger.cron]]\n",
        "cron_expression = ",
        "\"* * * * * *\"",
        "[[trigger.redis]]\n",
        "channel = ",
        "address = ",
        "[[trigger.mqtt]]\n",
        "topic = ",
        "qos = ",
        "keep_alive_interval = ",
        "[component.a]\n",
        "source = ",
        "{ url = \"https://x/y\", digest = \"sha256:0\" }",
        "environment = ",
        "files = ",
        "[{ source = \"a\", destination = \"/\" }]",
        "exclude_files = ",
        "allowed_outbound_hosts = ",
        "[\"http://*.spin.internal\"]",
        "\"redis://{{ x }}:6379\"",
        "\"*://*:*\"",
        "\"http://10.0.0.0/8\"",
        "key_value_stores = ",
        "sqlite_databases = ",
        "ai_models = ",
        "[component.a.variables]\n",
        "\"{{ x }}\"",
        "\"{{{{ x }}\"",
        "[component.a.build]\n",
        "command = ",
        "workdir = ",
        "watch = ",
        "dependencies_inherit_configuration = ",
        "static_response = ",
        "{ status_code = 200, headers = { a = \"b\" }, body = \"c\" }",
        "[[trigger.http.x]]",
    ],
    prepare: || -> Execute {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let folder = Path::new(FOLDER);
            let manifest = match Manifest::parse(text, &folder.join("spin.toml"), folder) {
                Ok(manifest) => manifest,
                Err(error) => return check_error(&error),
            };
            if let Err(error) = validate_manifest(&manifest) {
                check_error(&error);
            }
            match Router::build(&manifest) {
                Ok(router) => check_router(&router, "/a/b/c"),
                Err(error) => check_error(&error),
            }
        })
    },
};

/// runtime-config.toml.
pub const RUNTIME_CONFIG: Target = Target {
    name: "runtime-config",
    words: &[
        "state_dir = ",
        "log_dir = ",
        "[key_value_store.default]\n",
        "[sqlite_database.default]\n",
        "type = ",
        "\"spin\"",
        "\"redis\"",
        "\"libsql\"",
        "\"azure_cosmos\"",
        "url = ",
        "\"redis://127.0.0.1:6379\"",
        "token = ",
        "path = ",
        "\"../x.db\"",
        "\":memory:\"",
        "[[config_provider]]\n",
        "[[variables_provider]]\n",
        "\"vault\"",
        "\"env\"",
        "prefix = ",
        "dotenv_path = ",
        "mount = ",
        "[llm_compute]\n",
        "[outbound_http]\n",
        "[key_value_store]\n",
        "\"static\"",
        "values = { a = \"b\" }",
    ],
    prepare: || -> Execute {
        let folders = RuntimeFolders {
            application: FOLDER.into(),
            current: FOLDER.into(),
            state_dir: None,
        };
        Box::new(move |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            if let Err(error) = RuntimeConfig::parse(text, &folders.application.join("runtime-config.toml"), &folders) {
                check_error(&error);
            }
        })
    },
};

/// Routes: one a line, and a path in the last line.
pub const ROUTES: Target = Target {
    name: "routes",
    words: &[
        "/",
        "/...",
        "/:id",
        "/:user_id/...",
        ":",
        "...",
        "/todos",
        "//",
        "/.",
        "/..",
        "%2F",
        "%2f",
        "/a\n",
        "/:a/:a",
        "/.well-known/spin/",
        "?",
        "#",
        ";",
        "\n",
    ],
    prepare: || -> Execute {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let (routes, path) = text.rsplit_once('\n').unwrap_or(("/...", text));
            let mut manifest = "spin_manifest_version = 2\n[application]\nname = \"x\"\n".to_owned();
            for route in routes.lines() {
                let route = toml::Value::String(route.to_owned());
                manifest.push_str(&format!("[[trigger.http]]\nroute = {route}\ncomponent = \"a\"\n"));
            }
            manifest.push_str("[component.a]\nsource = \"a.wasm\"\n");
            let folder = Path::new(FOLDER);
            let built = Manifest::parse(&manifest, &folder.join("spin.toml"), folder)
                .and_then(|manifest| Router::build(&manifest));
            match built {
                Ok(router) => {
                    check_router(&router, path);
                    // A route without variable or empty parts is a path, and takes itself.
                    for route in routes
                        .lines()
                        .filter(|route| !route.contains([':', '.']) && !route.contains("//"))
                    {
                        assert!(router.route(route).is_some(), "{route:?} doesn't take itself");
                    }
                }
                Err(error) => check_error(&error),
            }
        })
    },
};

/// A refusal is a sentence that names the file.
fn check_error(error: &ConfigError) {
    assert!(error.to_string().contains(".toml"), "{error}");
}

fn check_router(router: &Router, path: &str) {
    let known: Vec<_> = router.routes().map(|(route, _)| route.to_owned()).collect();
    for path in known.iter().map(String::as_str).chain([path]) {
        if let Some(found) = router.route(path) {
            assert!(known.iter().any(|route| route == found.raw_route));
            let headers = found.spin_headers("http", "localhost", path, CLIENT);
            assert!(headers.iter().all(|(name, _)| name.as_str().starts_with("spin-")));
        }
    }
}
