use super::*;

/// A folder with some files, and a manifest whose component has these mounts.
fn mounted(files: &str) -> Result<Vec<(String, String)>, String> {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        "one.toml",
        "data/a.txt",
        "data/b.tmp",
        "data/deep/c.txt",
        "we[ird]/d.txt",
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[trigger]\n[component.a]\nsource = \"a.wasm\"\n{files}\n"
    );
    let manifest = Manifest::parse(&text, Path::new("spin.toml"), folder.path()).unwrap();
    let files = mounted_files(&manifest, &manifest.components["a"]).map_err(|error| error.to_string())?;
    let relative = |file: MountedFile| {
        let host = file
            .host
            .strip_prefix(folder.path())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (file.guest.to_str().unwrap().to_owned(), host)
    };
    Ok(files.into_iter().map(relative).collect())
}

fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    Ok(expected
        .iter()
        .map(|(guest, host)| ((*guest).to_owned(), (*host).to_owned()))
        .collect())
}

#[test]
fn files_are_seen_where_the_manifest_says() {
    for (files, expected) in [
        ("", &[][..]),
        ("files = [\"one.toml\"]", &[("one.toml", "one.toml")]),
        ("files = [\"./one.toml\"]", &[("one.toml", "one.toml")]),
        ("files = [\"data/*.txt\"]", &[("data/a.txt", "data/a.txt")]),
        ("files = [\"data/*.none\"]", &[]),
        (
            "files = [\"data/**/*\"]\nexclude_files = [\"**/*.tmp\"]",
            &[("data/a.txt", "data/a.txt"), ("data/deep/c.txt", "data/deep/c.txt")],
        ),
        (
            "files = [{ source = \"one.toml\", destination = \"/etc/two.toml\" }]",
            &[("etc/two.toml", "one.toml")],
        ),
        (
            "files = [{ source = \"data\", destination = \"/\" }]\nexclude_files = [\"data/*.tmp\"]",
            &[("a.txt", "data/a.txt"), ("deep/c.txt", "data/deep/c.txt")],
        ),
        (
            "files = [{ source = \"we[ird]\", destination = \"w\" }]",
            &[("w/d.txt", "we[ird]/d.txt")],
        ),
        (
            "files = [\"one.toml\", { source = \"data/a.txt\", destination = \"one.toml\" }]",
            &[("one.toml", "data/a.txt")],
        ),
    ] {
        assert_eq!(mounted(files), pairs(expected), "{files}");
    }
}

#[test]
fn mistakes_are_named() {
    for (files, names) in [
        (
            "files = [\"two.toml\"]",
            "\"two.toml\" in the files of the component \"a\" does not exist",
        ),
        ("files = [\"data\"]", "is a folder"),
        ("files = [\"../one.toml\"]", "outside the manifest's folder"),
        ("files = [\"/etc/passwd\"]", "outside the manifest's folder"),
        ("files = [\"data/..\"]", "outside the manifest's folder"),
        ("files = [\"data/***\"]", "is malformed"),
        ("files = [{ source = \"two\", destination = \"/\" }]", "\"two\""),
        ("files = [{ source = \"../x\", destination = \"/\" }]", "outside"),
        (
            "files = [{ source = \"one.toml\", destination = \"/\" }]",
            "no name for a file",
        ),
        (
            "files = [{ source = \"one.toml\", destination = \"\" }]",
            "no name for a file",
        ),
        (
            "files = [{ source = \"one.toml\", destination = \"/../x\" }]",
            "leaves the component's root",
        ),
    ] {
        let error = mounted(files).unwrap_err();
        assert!(
            error.starts_with("spin.toml, line 5: ") && error.contains(names),
            "{error}"
        );
    }
}
