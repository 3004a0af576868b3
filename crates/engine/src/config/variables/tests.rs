use super::*;
use std::path::Path;

fn manifest(variables: &str, component: &str) -> Manifest {
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[trigger]\n[variables]\n{variables}\n\
         [component.a]\nsource = \"a.wasm\"\n{component}\n"
    );
    Manifest::parse(&text, Path::new("spin.toml"), Path::new("/")).unwrap()
}

fn env(prefix: &str, dotenv_path: Option<&Path>) -> VariablesProvider {
    VariablesProvider::Env {
        prefix: prefix.to_owned(),
        dotenv_path: dotenv_path.map(Path::to_owned),
    }
}

fn fixed(name: &str, value: &str) -> VariablesProvider {
    VariablesProvider::Static {
        values: [(name.to_owned(), value.to_owned())].into(),
    }
}

fn overrides(name: &str, value: &str) -> BTreeMap<String, String> {
    [(name.to_owned(), value.to_owned())].into()
}

#[test]
fn the_first_source_that_knows_a_value_wins() {
    let manifest = manifest("app_url = { default = \"default\" }", "");
    let environment = |name: &str| match name {
        "SPIN_VARIABLE_APP_URL" => Some("environment".to_owned()),
        "OWN_APP_URL" => Some("own".to_owned()),
        _ => None,
    };
    let nothing = |_: &str| None;
    let none = BTreeMap::new();
    let value = |providers: &[VariablesProvider], overrides, environment: &dyn Fn(&str) -> Option<String>| {
        let variables = Variables::resolve(&manifest, providers, overrides, environment).unwrap();
        variables.get("app_url").unwrap().to_owned()
    };
    let standard = env("SPIN_VARIABLE", None);
    assert_eq!(value(std::slice::from_ref(&standard), &none, &nothing), "default");
    assert_eq!(
        value(std::slice::from_ref(&standard), &none, &environment),
        "environment"
    );
    assert_eq!(value(&[env("OWN", None), standard.clone()], &none, &environment), "own");
    assert_eq!(
        value(&[fixed("app_url", "fixed"), standard.clone()], &none, &environment),
        "fixed"
    );
    assert_eq!(
        value(&[fixed("other", "fixed"), standard.clone()], &none, &environment),
        "environment"
    );
    let given = overrides("app_url", "given");
    assert_eq!(
        value(&[fixed("app_url", "fixed"), standard], &given, &environment),
        "given"
    );
}

#[test]
fn a_dotenv_file_is_asked_after_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(
        &path,
        "# a comment\nSPIN_VARIABLE_A=\"from file\"\nSPIN_VARIABLE_B=\"quoted\"\n",
    )
    .unwrap();
    let manifest = manifest("a = { required = true }\nb = { required = true }", "");
    let providers = [env("SPIN_VARIABLE", Some(&path))];
    let environment = |name: &str| (name == "SPIN_VARIABLE_B").then(|| "environment".to_owned());
    let variables = Variables::resolve(&manifest, &providers, &BTreeMap::new(), &environment).unwrap();
    assert_eq!(
        (variables.get("a"), variables.get("b")),
        (Some("from file"), Some("environment"))
    );

    std::fs::write(&path, "SPIN_VARIABLE_A='hunter2\n").unwrap();
    let error = Variables::resolve(&manifest, &providers, &BTreeMap::new(), &|_| None).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_required_variable_without_a_value_says_how_to_set_it() {
    let manifest = manifest("app_url = { required = true }", "");
    let error = Variables::resolve(&manifest, &[], &BTreeMap::new(), &|_| None)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("spin.toml, line 6: the variable \"app_url\""),
        "{error}"
    );
    assert!(
        error.contains("--variable app_url=") && error.contains("SPIN_VARIABLE_APP_URL"),
        "{error}"
    );
}

#[test]
fn an_undeclared_override_is_named() {
    let manifest = manifest("app_url = { default = \"\" }", "");
    let error = Variables::resolve(&manifest, &[], &overrides("app_ulr", "x"), &|_| None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"app_ulr\"") && error.contains("app_url"), "{error}");
}

#[test]
fn a_component_gets_its_own_variables_only() {
    let manifest = manifest(
        "host = { default = \"h\" }",
        "variables = { url = \"http://{{ host }}/{{host}}\" }",
    );
    let variables = Variables::resolve(&manifest, &[], &BTreeMap::new(), &|_| None).unwrap();
    let own = variables.of_component(&manifest, &manifest.components["a"]).unwrap();
    assert_eq!(own.get("url"), Ok("http://h/h"));
    assert_eq!(own.iter().collect::<Vec<_>>(), [("url", "http://h/h")]);
    assert_eq!(
        own.get("host"),
        Err(VariableError::Undefined {
            name: "host".to_owned()
        })
    );
    for bad in ["", "URL", "a-b", "a__b", "_a", "a_", "1a"] {
        assert!(matches!(own.get(bad), Err(VariableError::InvalidName { .. })), "{bad}");
    }
}

#[test]
fn an_undeclared_name_in_a_template_is_an_error() {
    let manifest = manifest("", "variables = { url = \"{{ host }}\" }");
    let variables = Variables::resolve(&manifest, &[], &BTreeMap::new(), &|_| None).unwrap();
    let error = variables
        .of_component(&manifest, &manifest.components["a"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"{{ host }}\" names the variable \"host\""), "{error}");
}

#[test]
fn values_are_never_shown() {
    let manifest = manifest(
        "token = { default = \"\", secret = true }",
        "variables = { token = \"{{ token }}\" }",
    );
    let variables = Variables::resolve(&manifest, &[], &overrides("token", "hunter2"), &|_| None).unwrap();
    let own = variables.of_component(&manifest, &manifest.components["a"]).unwrap();
    assert!(variables.is_secret("token") && !variables.is_secret("other"));
    let shown = format!("{variables:?} {own:?} {:?}", fixed("token", "hunter2"));
    assert!(!shown.contains("hunter2") && shown.contains("token"), "{shown}");
}
