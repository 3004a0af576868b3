use super::*;

const ONE: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component that imports and exports empty instances of these names.
fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
    let mut bytes = ONE.to_vec();
    // Type section: the empty instance type.
    section(&mut bytes, 7, &[1, 0x42, 0]);
    let mut imported = vec![imports.len() as u8];
    for import in imports {
        imported.extend(name(import));
        imported.extend([5, 0]);
    }
    section(&mut bytes, 10, &imported);
    // An instance of nothing, to be exported.
    section(&mut bytes, 5, &[1, 1, 0]);
    let mut exported = vec![exports.len() as u8];
    for export in exports {
        exported.extend(name(export));
        exported.extend([5, imports.len() as u8, 0]);
    }
    section(&mut bytes, 11, &exported);
    bytes
}

fn name(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes
}

fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
}

fn problems(imports: &[&str]) -> Vec<String> {
    match check_component(&component(imports, &[]), &[]) {
        Ok(()) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_spin_offers_is_accepted() {
    for import in [
        "wasi:io/streams@0.2.0",
        "wasi:io/streams@0.2.6",
        "wasi:io/poll@0.2.12",
        "wasi:cli/environment@0.3.0",
        "wasi:clocks/system-clock@0.3.0",
        "wasi:clocks/wall-clock@0.2.3",
        "wasi:http/client@0.3.0",
        "wasi:http/types@0.3.0",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:keyvalue/batch@0.2.0-draft2",
        "wasi:config/store@0.2.0-draft-2024-09-27",
        "spin:key-value/key-value@3.0.0",
        "spin:sqlite/sqlite@3.0.0",
        "spin:sqlite/sqlite@3.1.0",
        "spin:postgres/postgres@4.0.0",
        "spin:variables/variables@3.0.0",
        "spin:redis/redis@3.0.0",
        "spin:mqtt/mqtt@3.0.0",
        "spin:cron/cron-types@3.0.0",
        "fermyon:spin/sqlite@2.0.0",
        "fermyon:spin/sqlite",
    ] {
        assert_eq!(problems(&[import]), Vec::<String>::new(), "{import}");
    }
}

#[test]
fn what_spin_does_not_offer_is_named() {
    for (import, names) in [
        ("wasi:nn/inference@0.2.0", "Spin 4.1 doesn't offer"),
        ("wasi:http/types@0.3.0-rc-2026-03-15", "0.2.0 and 0.3.0"),
        ("wasi:cli/run@0.2.0", "doesn't offer"),
        ("wasi:http/client@0.2.0", "as 0.3.0 only"),
        ("wasi:io/streams@0.3.0", "as 0.2.0 only"),
        ("wasi:cli/environment@0.4.0", "0.2.0 and 0.3.0"),
        ("wasi:cli/environment@0.3.1", "0.2.0 and 0.3.0"),
        ("wasi:http/handler@0.3.0", "doesn't offer"),
        ("wasi:keyvalue/batch@0.2.0", "0.2.0-draft2"),
        ("wasi:keyvalue/watcher@0.2.0-draft2", "doesn't offer"),
        ("spin:sqlite/sqlite@3.2.0", "3.1.0"),
        ("spin:sqlite/sqlite@4.0.0", "3.1.0"),
        ("fermyon:spin/mqtt", "2.0.0"),
        ("selvedge:own/thing@1.0.0", "doesn't offer"),
        ("plain-name", "doesn't offer"),
    ] {
        let problems = problems(&["wasi:io/streams@0.2.0", import]);
        assert_eq!(problems.len(), 1, "{import}");
        assert!(
            problems[0].contains(import) && problems[0].contains(names),
            "{}",
            problems[0]
        );
    }
    assert_eq!(problems(&["a:b/c", "d:e/f"]).len(), 2, "all problems are told");
}

#[test]
fn a_trigger_needs_its_export() {
    let check = |exports: &[&str], trigger| check_component(&component(&[], exports), &[trigger]);
    assert_eq!(check(&["wasi:http/handler@0.3.0"], TriggerType::Http), Ok(()));
    assert_eq!(check(&["wasi:http/incoming-handler@0.2.6"], TriggerType::Http), Ok(()));
    assert_eq!(check(&["spin:redis/inbound-redis@3.0.0"], TriggerType::Redis), Ok(()));
    for (exports, trigger) in [
        (&[][..], TriggerType::Http),
        (&["wasi:http/handler@0.4.0"], TriggerType::Http),
        (&["wasi:http/handler@0.3.0-rc-2026-03-15"], TriggerType::Http),
        (&["wasi:http/handler@0.3.0"], TriggerType::Redis),
        // An instance of that name is no function.
        (&["handle-cron-event"], TriggerType::Cron),
        (&[], TriggerType::Mqtt),
    ] {
        let problems = check(exports, trigger).unwrap_err();
        assert!(
            matches!(problems[..], [PlatformProblem::MissingExport { .. }]),
            "{problems:?}"
        );
        assert!(
            problems[0].to_string().contains(&trigger.to_string()),
            "{}",
            problems[0]
        );
    }
    let both = component(&[], &["wasi:http/handler@0.3.0", "spin:redis/inbound-redis@3.0.0"]);
    assert_eq!(check_component(&both, &[TriggerType::Http, TriggerType::Redis]), Ok(()));
}

#[test]
fn functions_serve_cron_and_mqtt() {
    // A function that is imported and exported again, which stands for an own one.
    for (name, trigger) in [
        ("handle-cron-event", TriggerType::Cron),
        ("handle-message", TriggerType::Mqtt),
    ] {
        let mut bytes = ONE.to_vec();
        section(&mut bytes, 7, &[1, 0x40, 0, 1, 0]);
        let mut import = vec![1];
        import.extend(self::name("f"));
        import.extend([1, 0]);
        section(&mut bytes, 10, &import);
        let mut export = vec![1];
        export.extend(self::name(name));
        export.extend([1, 0, 0]);
        section(&mut bytes, 11, &export);
        let problems = check_component(&bytes, &[trigger]).unwrap_err();
        assert_eq!(problems, [PlatformProblem::UnknownImport { import: "f".to_owned() }]);
    }
}

#[test]
fn a_name_for_a_known_type_asks_for_nothing() {
    let mut bytes = ONE.to_vec();
    // The type `string`, imported under a name, as worlds with `use` in them do.
    section(&mut bytes, 7, &[1, 0x73]);
    let mut import = vec![1];
    import.extend(name("metadata"));
    import.extend([3, 0, 0]);
    section(&mut bytes, 10, &import);
    assert_eq!(check_component(&bytes, &[]), Ok(()));
}

#[test]
fn what_is_no_component_is_said() {
    let module = b"\0asm\x01\0\0\0";
    assert_eq!(check_component(module, &[]), Err(vec![PlatformProblem::CoreModule]));
    for bytes in [&b""[..], b"hello", b"\0asm\x0d\0\x01\0\x0a\xff"] {
        let problems = check_component(bytes, &[TriggerType::Http]).unwrap_err();
        assert!(
            matches!(problems[0], PlatformProblem::Unreadable { .. }),
            "{problems:?}"
        );
        assert!(!problems[0].is_retryable());
    }
}

#[test]
fn what_is_inside_a_component_does_not_count() {
    let inner = component(&["a:b/c"], &[]);
    let mut bytes = ONE.to_vec();
    section(&mut bytes, 4, &inner);
    assert_eq!(check_component(&bytes, &[]), Ok(()));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64), cut in 0_usize..120) {
        let _ = check_component(&bytes, &[TriggerType::Http]);
        let mut whole = component(&["wasi:io/streams@0.2.0"], &["wasi:http/handler@0.3.0"]);
        whole.truncate(cut);
        whole.extend(&bytes);
        let _ = check_component(&whole, &[TriggerType::Http]);
    }
}
