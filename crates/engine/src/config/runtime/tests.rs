use super::*;

fn folders() -> RuntimeFolders {
    RuntimeFolders {
        application: "/app".into(),
        current: "/current".into(),
        state_dir: None,
    }
}

fn parse(text: &str) -> Result<RuntimeConfig, ConfigError> {
    RuntimeConfig::parse(text, Path::new("conf/runtime-config.toml"), &folders())
}

fn file(path: &str) -> KeyValueStoreConfig {
    KeyValueStoreConfig::Spin { path: path.into() }
}

fn database(path: &str) -> SqliteDatabaseConfig {
    SqliteDatabaseConfig::Spin {
        path: path.into(),
        allow_attach_file: false,
    }
}

#[test]
fn without_a_file_everything_is_in_the_state_folder() {
    let config = RuntimeConfig::read(None, &folders()).unwrap();
    assert_eq!(config.state_dir, Path::new("/app/.spin"));
    assert_eq!(config.log_dir.as_deref(), Some(Path::new("/app/.spin/logs")));
    assert_eq!(
        config.key_value_stores,
        [("default".to_owned(), file("/app/.spin/sqlite_key_value.db"))].into()
    );
    assert_eq!(
        config.sqlite_databases,
        [("default".to_owned(), database("/app/.spin/sqlite_db.db"))].into()
    );
    let dotenv_path = Some("/current/.env".into());
    assert_eq!(
        config.variables_providers,
        [VariablesProvider::Env {
            prefix: "SPIN_VARIABLE".to_owned(),
            dotenv_path
        }]
    );
}

#[test]
fn the_projects_own_file_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime-config.toml");
    let config = RuntimeConfig::read(Some(&path), &folders()).unwrap();
    assert!(config.key_value_stores.contains_key("default") && config.sqlite_databases.contains_key("default"));
}

#[test]
fn the_state_folder_is_the_command_lines_then_the_files() {
    assert_eq!(
        parse("state_dir = \"state\"").unwrap().state_dir,
        Path::new("/current/state")
    );
    let folders = RuntimeFolders {
        state_dir: Some("/given".into()),
        ..folders()
    };
    let config = RuntimeConfig::parse("state_dir = \"state\"", Path::new("runtime-config.toml"), &folders).unwrap();
    assert_eq!(config.state_dir, Path::new("/given"));
    assert_eq!(config.key_value_stores["default"], file("/given/sqlite_key_value.db"));
    assert_eq!(
        parse("log_dir = \"logs\"").unwrap().log_dir.as_deref(),
        Some(Path::new("/current/logs"))
    );
    assert_eq!(parse("log_dir = \"\"").unwrap().log_dir, None);
}

#[test]
fn relative_paths_are_relative_to_what_spin_says() {
    let config = parse(
        "[key_value_store.default]\ntype = \"spin\"\npath = \"kv.db\"\n[key_value_store.cache]\ntype = \"redis\"\n\
         url = \"redis://localhost\"\n[sqlite_database.default]\ntype = \"spin\"\npath = \"sql.db\"\n\
         [sqlite_database.other]\ntype = \"spin\"\npath = \"/abs/sql.db\"\nallow_attach_file = true\n",
    )
    .unwrap();
    assert_eq!(config.key_value_stores["default"], file("/current/conf/kv.db"));
    let redis = KeyValueStoreConfig::Redis {
        url: "redis://localhost".to_owned(),
    };
    assert_eq!(config.key_value_stores["cache"], redis);
    assert_eq!(config.sqlite_databases["default"], database("/current/sql.db"));
    let other = SqliteDatabaseConfig::Spin {
        path: "/abs/sql.db".into(),
        allow_attach_file: true,
    };
    assert_eq!(config.sqlite_databases["other"], other);
}

#[test]
fn providers_are_asked_in_their_order() {
    for key in ["variables_provider", "config_provider"] {
        let text = format!(
            "[[{key}]]\ntype = \"static\"\nvalues = {{ a = \"1\" }}\n[[{key}]]\ntype = \"env\"\nprefix = \"P\"\n\
             dotenv_path = \"x.env\"\n[[{key}]]\ntype = \"env\"\n"
        );
        let providers = parse(&text).unwrap().variables_providers;
        let env = |prefix: &str, dotenv_path: Option<&str>| VariablesProvider::Env {
            prefix: prefix.to_owned(),
            dotenv_path: dotenv_path.map(PathBuf::from),
        };
        assert_eq!(
            providers,
            [
                VariablesProvider::Static {
                    values: [("a".to_owned(), "1".to_owned())].into()
                },
                env("P", Some("/current/x.env")),
                env("SPIN_VARIABLE", None),
                env("SPIN_VARIABLE", Some("/current/.env")),
            ]
        );
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, line, names) in [
        ("\nstatedir = \"x\"", 2, "`statedir`"),
        (
            "[llm_compute]\ntype = \"spin\"",
            1,
            "`llm_compute` is not supported by the embedded engine",
        ),
        ("max_instance_memory = 1", 1, "`max_instance_memory` is not supported"),
        ("state_dir = 5", 1, "expected a string"),
        ("state_dir = \"\"", 1, "in memory"),
        ("[key_value_store]\ndefault = 5", 2, "expected a map"),
        (
            "[key_value_store.a]\npath = \"x\"",
            1,
            "[key_value_store.a] has no `type`",
        ),
        ("[key_value_store.a]\ntype = \"spin\"", 1, "kept in memory"),
        (
            "[key_value_store.a]\ntype = \"spin\"\npath = 5",
            3,
            "`path` of [key_value_store.a] is an integer",
        ),
        (
            "[key_value_store.a]\ntype = \"spin\"\npath = \"x\"\nurl = \"y\"",
            4,
            "unknown key `url`",
        ),
        ("[key_value_store.a]\ntype = \"redis\"", 1, "no `url`"),
        (
            "[key_value_store.a]\ntype = \"redis\"\nurl = \"http://x\"",
            3,
            "redis://",
        ),
        (
            "[key_value_store.a]\ntype = \"aws_dynamo\"\nregion = \"x\"",
            2,
            "\"aws_dynamo\" is not supported",
        ),
        (
            "[key_value_store.a]\ntype = \"memory\"",
            2,
            "no key-value store of type \"memory\"",
        ),
        (
            "[key_value_store.a]\ntype = 1",
            2,
            "`type` of [key_value_store.a] is an integer",
        ),
        (
            "[sqlite_database.a]\ntype = \"libsql\"",
            2,
            "\"libsql\" is not supported",
        ),
        (
            "[sqlite_database.a]\ntype = \"redis\"",
            2,
            "no SQLite database of type \"redis\"",
        ),
        ("[sqlite_database.a]\ntype = \"spin\"", 1, "kept in memory"),
        (
            "[sqlite_database.a]\ntype = \"spin\"\npath = \"x\"\nallow_attach_file = 1",
            4,
            "true or false",
        ),
        ("[variables_provider]\ntype = \"env\"", 1, "expected a sequence"),
        (
            "[[variables_provider]]\ntype = \"vault\"",
            2,
            "\"vault\" is not supported",
        ),
        ("[[variables_provider]]\ntype = \"magic\"", 2, "\"magic\""),
        (
            "[[variables_provider]]\ntype = \"env\"\nprefx = \"x\"",
            3,
            "unknown key `prefx`",
        ),
        ("[[variables_provider]]\ntype = \"static\"", 1, "no `values`"),
        ("[[variables_provider]]\ntype = \"static\"\nvalues = 5", 1, "`values`"),
        (
            "[[variables_provider]]\ntype = \"env\"\n[[config_provider]]\ntype = \"env\"",
            3,
            "both are there",
        ),
        ("state_dir = ", 1, ""),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("conf/runtime-config.toml, line {line}: ")),
            "{error}\n{text}"
        );
        assert!(error.contains(names), "{error} doesn't say {names}");
        assert!(error.contains("; ") && !error.contains('\n'), "{error}");
    }
    let error = parse("[key_value_store.a]\ntype = \"memory\"").unwrap_err().to_string();
    assert!(error.contains("spin, redis"), "{error} lists what is supported");
}

#[test]
fn secrets_are_never_shown() {
    let error = parse("[[variables_provider]]\ntype = \"static\"\nvalues = { a = 918273 }\n").unwrap_err();
    assert!(error.to_string().contains("`values.a`"), "{error}");
    assert!(!format!("{error} {error:?}").contains("918273"), "{error:?}");
    let error = parse("[key_value_store.a]\ntype = \"redis\"\nurl = \"redis://:hunter2@x\"\nstray").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let config = parse("[key_value_store.a]\ntype = \"redis\"\nurl = \"redis://:hunter2@x\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }
}
