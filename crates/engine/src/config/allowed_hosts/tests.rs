use super::*;
use std::path::Path;

const IDS: [&str; 2] = ["todos", "relay"];

fn hosts(entries: &[&str]) -> AllowedHosts {
    AllowedHosts::parse(entries.iter().copied(), IDS.into_iter()).unwrap()
}

#[test]
fn entries_allow_what_they_say() {
    // entry, URL, allowed
    for (entry, url, allowed) in [
        ("http://relay.spin.internal", "http://relay.spin.internal/bell", true),
        ("http://relay.spin.internal", "http://todos.spin.internal/", false),
        ("http://*.spin.internal", "http://todos.spin.internal/", true),
        ("http://*.spin.internal", "http://stranger.spin.internal/", false),
        ("http://*.spin.internal", "https://todos.spin.internal/", false),
        ("https://*:*", "https://example.com:8443/x", true),
        ("https://*:*", "http://example.com/", false),
        ("*://*:*", "redis://example.com:1/", true),
        ("*://*:*", "anything://example.com", true),
        ("http://example.com", "http://example.com/path?query", true),
        ("http://example.com", "http://example.com:80/", true),
        ("http://example.com", "http://example.com:81/", false),
        ("http://example.com", "http://EXAMPLE.com/", true),
        ("http://Example.COM", "http://example.com/", true),
        ("http://example.com/", "http://example.com/", true),
        ("http://example.com:8080/", "http://example.com:8080/", true),
        ("http://example.com", "http://sub.example.com/", false),
        ("http://*.example.com", "http://a.b.example.com/", true),
        ("http://*.example.com", "http://example.com/", false),
        ("http://*.example.com:1000..1002", "http://a.example.com:1001/", true),
        ("http://*.example.com:1000..1002", "http://a.example.com:1002/", false),
        ("redis://cache.local:6380", "redis://user:p#ss@cache.local:6380/0", true),
        ("redis://cache.local", "redis://cache.local", true),
        ("redis://cache.local", "cache.local:6379", true),
        ("redis://cache.local", "cache.local:6380", false),
        ("mqtt://broker", "mqtt://broker", true),
        ("mqtt://broker:1884", "mqtt://broker:1884?client_id=1", true),
        ("tcp://127.0.0.1:9092", "127.0.0.1:9092", false),
        ("tcp://127.0.0.1:9092", "tcp://127.0.0.1:9092", true),
        ("http://10.0.0.5/8", "http://10.200.0.1/", true),
        ("http://10.0.0.0/8", "http://11.0.0.1/", false),
        ("http://10.0.0.0/8", "http://example.com/", false),
        ("http://[::1]", "http://[::1]/", true),
        ("http://[::1]:8080", "http://[::1]:8080/", true),
        ("http://2001:db8::/32", "http://[2001:db8::1]/", true),
        ("http://2001:db8::/32:443", "http://[2001:db8::1]:443/", true),
        ("http://2001:db8::/32:443", "http://[2001:db8::1]/", false),
        ("http://self", "http://self/", false),
        (" http://example.com ", "http://example.com/", true),
        ("http://example.com", "not a url", false),
        ("*://*:*", "", false),
    ] {
        assert_eq!(hosts(&[entry]).allows_url(url, "redis"), allowed, "{entry} {url}");
    }
}

#[test]
fn one_of_several_entries_is_enough() {
    let hosts = hosts(&["http://a.example", "http://b.example", "https://b.example:*"]);
    assert!(hosts.allows("http", "b.example", None));
    assert!(hosts.allows("https", "b.example", Some(1)));
    assert!(!hosts.allows("https", "a.example", None));
    assert!(!hosts.allows("http", "a b", None));
    assert!(!AllowedHosts::default().allows("http", "a.example", None));
}

#[test]
fn sockets_are_checked_by_address() {
    let hosts = hosts(&["tcp://127.0.0.1:9092", "udp://10.0.0.0/8:*"]);
    assert!(hosts.allows_address("tcp", "127.0.0.1:9092".parse().unwrap()));
    assert!(!hosts.allows_address("tcp", "127.0.0.1:9093".parse().unwrap()));
    assert!(!hosts.allows_address("udp", "127.0.0.1:9092".parse().unwrap()));
    assert!(hosts.allows_address("udp", "10.1.2.3:53".parse().unwrap()));
    assert!(!hosts.allows_address("udp", "[::1]:53".parse().unwrap()));
}

#[test]
fn the_application_itself_is_self() {
    for (entry, allowed) in [
        ("http://self", true),
        ("http://self.alt", true),
        ("http://*:*", true),
        ("https://self", false),
    ] {
        assert_eq!(hosts(&[entry]).allows_own_application(&["http"]), allowed, "{entry}");
    }
    assert!(!hosts(&["http://example.com"]).allows_own_application(&["http", "https"]));
}

#[test]
fn chaining_is_recognised() {
    for (entry, chains) in [
        ("http://relay.spin.internal", true),
        ("http://*.spin.internal", true),
        ("http://stranger.spin.internal:8080", true),
        ("http://spin.internal", false),
        ("*://*:*", false),
        ("http://*.internal", false),
    ] {
        assert_eq!(hosts(&[entry]).allows_service_chaining(), chains, "{entry}");
    }
    for (host, target) in [
        ("relay.spin.internal", Some("relay")),
        ("relay.spin.internal:80", Some("relay")),
        ("a.b.spin.internal", None),
        ("spin.internal", None),
        ("relay.spin.internal.example", None),
        ("example.com", None),
        ("", None),
    ] {
        assert_eq!(service_chaining_target(host), target, "{host}");
    }
}

#[test]
fn malformed_entries_are_refused() {
    for entry in [
        "",
        "*",
        "example.com",
        "example.com:8080",
        "[::1]:8080",
        "insecure:allow-all",
        "http://",
        "http://example.com:notaport",
        "http://example.com:99999",
        "http://example.com:80..70000",
        "http://example.com:80..",
        "http://example.com:80:90",
        "http://example.com/path",
        "http://example.com:80/path",
        "http://example.com//",
        "http://*.example.com/path",
        "http://127.0.0.0/24/p",
        "http://*.",
        "http://*.*.example.com",
        "http://ex*mple.com",
        "http://*.127.0.0.1",
        "http://*.[::1]",
        "http://[::1",
        "http://[::1]junk",
        "http://[::1]/foo",
        "http://exa[mple.com",
        "http://example%GG.com",
        "http://{a,b}.example.com",
        "http://{{ host }}",
        "tcp://127.0.0.1",
        "*://example.com",
        "ht-tp://example.com:80",
        "h2://example.com:80",
        "{http,https}://example.com:80",
    ] {
        let error = AllowedHost::parse(entry).expect_err(entry);
        assert!(
            error.starts_with(&format!("the allowed outbound host \"{entry}\" has ")),
            "{error}"
        );
    }
}

fn manifest(hosts: &str) -> Manifest {
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[trigger]\n[variables]\nhost = {{ default = \"\" }}\n\
         [component.a]\nsource = \"a.wasm\"\nallowed_outbound_hosts = {hosts}\n"
    );
    Manifest::parse(&text, Path::new("spin.toml"), Path::new("/")).unwrap()
}

fn resolve(hosts: &str, value: &str) -> Result<AllowedHosts, ConfigError> {
    let manifest = manifest(hosts);
    let overrides = [("host".to_owned(), value.to_owned())].into();
    let variables = Variables::resolve(&manifest, &[], &overrides, &|_| None).unwrap();
    AllowedHosts::resolve(&manifest, &manifest.components["a"], &variables)
}

#[test]
fn variables_stand_for_hosts() {
    let hosts = resolve("[\"http://{{ host }}:3000\"]", "example.com").unwrap();
    assert!(hosts.allows("http", "example.com", Some(3000)));
    let hosts = resolve("[\"{{ host }}\", \"https://{{ host }}\"]", "").unwrap();
    assert_eq!(hosts, AllowedHosts::default());
    let error = resolve("[\"http://{{ host }}\"]", "s3cret value")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("spin.toml, line 7: ") && error.contains("{{ host }}"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    let error = resolve("[\"http://{{ other }}\"]", "").unwrap_err().to_string();
    assert!(error.contains("\"other\""), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_entry_and_no_url_makes_it_panic(entry in "\\PC*", url in "\\PC*", scheme in "[a-z]{0,5}") {
        let parsed = AllowedHosts::parse([entry.as_str(), "*://*:*"], IDS.into_iter());
        let _ = parsed.map(|hosts| hosts.allows_url(&url, &scheme));
        let _ = hosts(&["*://*:*"]).allows_url(&url, &scheme);
    }

    #[test]
    fn no_entry_like_text_makes_it_panic(entry in "[a-z*]{0,4}://[a-z*.:/@0-9\\[\\]{}]{0,20}") {
        let _ = AllowedHost::parse(&entry);
    }
}
