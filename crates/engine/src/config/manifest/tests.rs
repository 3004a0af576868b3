use super::*;

const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"app\"\n";
const TRIGGER: &str = "[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n";
const COMPONENT: &str = "[component.a]\nsource = \"a.wasm\"\n";

fn parse(text: &str) -> Result<Manifest, ConfigError> {
    Manifest::parse(text, Path::new("spin.toml"), Path::new("/app"))
}

fn whole(extra: &str) -> String {
    format!("{HEAD}{TRIGGER}{COMPONENT}{extra}")
}

/// The error of a text; its line is checked, and that it names what it is about.
fn refused(text: &str, line: usize, names: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert!(
        error.starts_with(&format!("spin.toml, line {line}: ")),
        "{error}\n{text}"
    );
    assert!(error.contains(names), "{error} doesn't name {names}");
    assert!(error.contains("; "), "{error} doesn't say what to do");
    assert!(!error.contains('\n'), "{error} is more than one line");
}

#[test]
fn the_projects_own_manifest_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spin.toml");
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!(manifest.application.name, "selvedge");
    assert!(manifest.variables["admin_token"].secret);
    assert_eq!(manifest.trigger_types_of("outbox-cron"), [TriggerType::Cron]);
    assert_eq!(manifest.trigger_types_of("relay"), [TriggerType::Http]);
    assert!(manifest.components["todos"].source.is_absolute());
    crate::config::validate_manifest(&manifest).unwrap();
}

#[test]
fn everything_that_a_manifest_may_say() {
    let text = include_str!("everything.toml");
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.application.authors, ["a", "b"]);
    let http = &manifest.triggers.http;
    assert_eq!((http[0].id.as_str(), http[0].line), ("a-http-trigger", 23));
    assert_eq!(http[0].route, HttpRoute::Path("/a/...".to_owned()));
    assert_eq!((http[1].id.as_str(), &http[1].route), ("mine", &HttpRoute::Private));
    let HttpHandler::Static(response) = &http[2].handler else {
        panic!("{:?}", http[2])
    };
    assert_eq!((response.status.as_u16(), response.body.as_str()), (302, "moved"));
    assert_eq!(response.headers["location"], "/a");
    let redis = &manifest.triggers.redis;
    assert_eq!(redis[0].address.source(), "redis://{{ host }}:6379");
    assert_eq!(redis[1].address.source(), "redis://other:6379");
    assert_eq!(
        [redis[0].id.as_str(), redis[1].id.as_str()],
        ["b-c-redis-trigger", "redis-trigger1"]
    );
    assert_eq!(manifest.triggers.mqtt[0].qos, 1);
    assert_eq!(manifest.triggers.mqtt_broker.as_ref().unwrap().keep_alive_s, 30);
    assert_eq!(manifest.variables["host"].default.as_deref(), Some("localhost"));
    let a = &manifest.components["a"];
    assert_eq!(a.source, Path::new("/app/target/a.wasm"));
    assert_eq!(a.build.as_ref().unwrap().folder, Path::new("/app/functions/a"));
    assert_eq!(a.build.as_ref().unwrap().commands, ["one", "two"]);
    assert_eq!(a.variables["url"].variables().collect::<Vec<_>>(), ["host"]);
    assert_eq!(manifest.components["b-c"].source, Path::new("/abs/b.wasm"));
    assert_eq!(
        manifest.trigger_types_of("b-c"),
        [
            TriggerType::Http,
            TriggerType::Cron,
            TriggerType::Redis,
            TriggerType::Mqtt
        ]
    );
    assert_eq!(manifest.trigger_types_of("nobody"), []);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    refused(&format!("{HEAD}colour = \"red\"\n{TRIGGER}{COMPONENT}"), 4, "`colour`");
    refused(&format!("colour = \"red\"\n{}", whole("")), 1, "`colour`");
    refused(&whole("sourc = \"x\"\n"), 9, "`sourc`");
    refused(&format!("{HEAD}{TRIGGER}rout = \"/\"\n{COMPONENT}"), 7, "`rout`");
    refused(&whole("[variables]\nx = { defaul = \"1\" }\n"), 10, "`defaul`");
    refused(&whole("build = { commands = \"x\" }\n"), 9, "`commands`");
    refused(
        &whole("files = [\"a\", { source = \"a\", dest = \"b\" }]\n"),
        9,
        "`dest`",
    );
    refused(&whole("[component.a.profile.x]\nfiles = []\n"), 10, "`files`");
    refused(
        &format!("{HEAD}[[trigger.http]]\nroute = {{ private = true, open = 1 }}\n{COMPONENT}"),
        5,
        "`open`",
    );
    refused(
        &whole("[[trigger.cron]]\ncomponent = \"a\"\ncron = \"x\"\n"),
        11,
        "`cron`",
    );
    refused(
        &whole("[[trigger.redis]]\ncomponent = \"a\"\nchanel = \"x\"\n"),
        11,
        "`chanel`",
    );
    refused(
        &whole("[[trigger.mqtt]]\ncomponent = \"a\"\naddress = \"x\"\n"),
        11,
        "`address`",
    );
    refused(&whole("[[trigger.sqs]]\ncomponent = \"a\"\n"), 9, "`sqs`");
    refused(&whole("[application.trigger.cron]\nx = 1\n"), 9, "`cron`");
    refused(
        &whole("[application.trigger.redis]\naddress = \"x\"\ndb = \"1\"\n"),
        11,
        "`db`",
    );
    refused(&whole("[application.trigger.mqtt]\nqos = \"1\"\n"), 10, "`qos`");
}

#[test]
fn a_wrong_type_is_named_with_its_line() {
    refused(
        &whole("description = 5\n"),
        9,
        "expected a string in `component.a.description`",
    );
    refused(&whole("key_value_stores = \"default\"\n"), 9, "expected a sequence");
    refused(&whole("environment = { A = 1 }\n"), 9, "expected a string");
    refused(&whole("files = [5]\n"), 9, "expected a string or a table");
    refused(
        &whole("build = { command = 5 }\n"),
        9,
        "expected a string or a list of strings",
    );
    refused(
        &format!("{HEAD}[trigger.http]\nroute = \"/\"\n{COMPONENT}"),
        4,
        "expected a sequence",
    );
    refused(
        &format!("{HEAD}[[trigger.http]]\nroute = 1\n{COMPONENT}"),
        5,
        "expected a string or a table",
    );
}

#[test]
fn a_key_that_is_there_twice_is_named() {
    refused(&whole("source = \"b.wasm\"\n"), 9, "`source`");
    refused(&whole("[component.a]\n"), 9, "`a`");
}

#[test]
fn what_is_missing_is_named() {
    refused(HEAD, 1, "`trigger`");
    refused("spin_manifest_version = 2\n[trigger]\n", 1, "`application`");
    refused(&format!("{HEAD}{TRIGGER}[component.a]\n"), 7, "`source`");
    refused(
        &format!("{HEAD}[[trigger.http]]\ncomponent = \"a\"\n{COMPONENT}"),
        4,
        "`route`",
    );
    refused(
        &whole("[[trigger.mqtt]]\ncomponent = \"a\"\ntopic = \"x\"\n"),
        9,
        "`qos`",
    );
}

#[test]
fn other_versions_are_told_apart() {
    refused("[application]\nname = \"x\"\n", 1, "its version");
    refused("spin_manifest_version = \"1\"\nname = \"x\"\n", 1, "isn't of version 2");
    refused("spin_manifest_version = 3\n", 1, "version 3");
    refused("spin_manifest_version = \n", 1, "");
}

#[test]
fn what_the_engine_cannot_do_is_said() {
    for (extra, names) in [
        ("dependencies = { \"a:b/c\" = \"1.0\" }\n", "`dependencies`"),
        ("allowed_http_hosts = [\"x\"]\n", "`allowed_http_hosts`"),
    ] {
        refused(&whole(extra), 9, names);
        assert!(
            parse(&whole(extra))
                .unwrap_err()
                .to_string()
                .contains("not supported by the embedded engine")
        );
    }
    let source = "[component.a]\nsource = { url = \"https://x\", digest = \"sha256:1\" }\n";
    refused(&format!("{HEAD}{TRIGGER}{source}"), 8, "from a URL");
    let http = |rest: &str| format!("{HEAD}[[trigger.http]]\nroute = \"/\"\n{rest}\n{COMPONENT}");
    refused(
        &http("component = { source = \"a.wasm\" }"),
        6,
        "a component written inside [[trigger.http]]",
    );
    refused(
        &http("component = \"a\"\nexecutor = { type = \"wagi\" }"),
        7,
        "\"wagi\"",
    );
    refused(
        &http("component = \"a\"\ndependencies = { m = [] }"),
        7,
        "`dependencies`",
    );
    refused(
        &http("component = \"a\"\ncomponents = { m = \"a\" }"),
        7,
        "`components`",
    );
}

#[test]
fn what_breaks_a_rule_is_said() {
    let http = |rest: &str| format!("{HEAD}[[trigger.http]]\n{rest}\n{COMPONENT}");
    refused(
        &http("route = { private = false }\ncomponent = \"a\""),
        5,
        "private = false",
    );
    refused(&http("route = \"/\""), 4, "either a `component` or a `static_response`");
    refused(
        &http("route = \"/\"\ncomponent = \"a\"\nstatic_response = {}"),
        4,
        "either a `component`",
    );
    refused(
        &http("route = \"/\"\nstatic_response = { status_code = 42 }"),
        6,
        "`status_code`",
    );
    refused(
        &http("route = \"/\"\nstatic_response = { headers = { \"a b\" = \"\" } }"),
        6,
        "\"a b\"",
    );
    refused(&whole("[component.my_id]\nsource = \"x\"\n"), 9, "\"my_id\"");
    refused(&whole("key_value_stores = [\"de fault\"]\n"), 9, "\"de fault\"");
    refused(&whole("variables = { A = \"x\" }\n"), 9, "\"A\"");
    refused(&whole("variables = { a = \"{{ x\" }\n"), 9, "without its `}}`");
    refused(
        &whole("allowed_outbound_hosts = [\n  \"https://ok.example\",\n  \"example.com\",\n]\n"),
        11,
        "\"example.com\"",
    );
    refused(&whole("exclude_files = [\"a/***\"]\n"), 9, "\"a/***\"");
    refused(&whole("[variables]\nx = {}\n"), 10, "\"x\"");
    refused(
        &whole("[variables]\nx = { required = true, default = \"1\" }\n"),
        10,
        "\"x\"",
    );
    refused(&whole("[variables]\nX = { default = \"1\" }\n"), 10, "\"X\"");
    refused(
        &whole("[[trigger.cron]]\ncomponent = \"a\"\ncron_expression = \"* * *\"\n"),
        11,
        "\"* * *\"",
    );
    refused(
        &whole("[[trigger.redis]]\ncomponent = \"a\"\nchannel = \"x\"\n"),
        9,
        "`address`",
    );
    refused(
        &whole("[[trigger.mqtt]]\ncomponent = \"a\"\ntopic = \"x\"\nqos = \"1\"\n"),
        9,
        "broker",
    );
    refused(&whole("[application.trigger.http]\nbase = \"/x\"\n"), 10, "`base`");
}

#[test]
fn a_value_that_may_be_secret_is_never_shown() {
    let text = whole("[variables]\nx = { secret = true, default = 918273 }\n");
    let error = parse(&text).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("918273"), "{error:?}");
    let manifest = parse(&whole("[variables]\nx = { secret = true, default = \"hunter2\" }\n")).unwrap();
    assert!(!format!("{manifest:?}").contains("hunter2"));
    let mqtt = "[application.trigger.mqtt]\naddress = \"\"\nusername = \"\"\npassword = \"hunter2\"\n";
    let manifest = parse(&whole(&format!("{mqtt}keep_alive_interval = \"9\"\n"))).unwrap();
    assert!(!format!("{manifest:?}").contains("hunter2"));
    let error = parse(&whole(mqtt)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Manifest::read(Path::new("/nowhere/spin.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("/nowhere/spin.toml: cannot be read"),
        "{error}"
    );
    assert!(!error.is_retryable());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spin.toml"), whole("")).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    assert_eq!(manifest.components["a"].source, folder.path().join("a.wasm"));
    std::fs::write(folder.path().join("spin.toml"), [0xff, 0xfe]).unwrap();
    assert!(Manifest::read(folder.path()).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_change_of_a_manifest_makes_it_panic(cut in 0_usize..200, insert in "[\\[\\]{}=\"'\n.a-z0-9# é]{0,8}") {
        let mut text = whole("variables = { a = \"{{ x }}\" }\nfiles = [\"a\", { source = \"a\", destination = \"b\" }]\n");
        let at = cut.min(text.len());
        text.insert_str(at, &insert);
        let _ = parse(&text).map(|manifest| crate::config::validate_manifest(&manifest));
    }
}
