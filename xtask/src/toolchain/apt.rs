//! A private package source for one later Debian release, derived from the machine's own list.
//!
//! Nothing here names a server: whichever mirror the machine is set up to use is asked, with the keys that it trusts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Suites that carry a Debian release itself, as opposed to its updates or somebody else's packages.
const RELEASE_SUITES: [&str; 7] = ["bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable"];

/// Where packages come from: the fields of one stanza of a `.sources` file, by their names in small letters.
type Stanza = BTreeMap<String, String>;

/// The machine's own sources of Debian itself, with `suite` in place of theirs, as the text of a `.sources` file.
pub fn sources_for(suite: &str) -> Result<String> {
    let mut stanzas = Vec::new();
    for file in source_files(Path::new("/etc/apt"))? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => stanzas.extend(parse_stanzas(&text)),
            _ => stanzas.extend(parse_lines(&text)),
        }
    }
    let derived: Vec<String> = stanzas.iter().filter_map(|stanza| derive(stanza, suite)).collect();
    if derived.is_empty() {
        bail!("/etc/apt lists no source of Debian's own packages (a `deb` entry with the component `main`)");
    }
    Ok(derived.join("\n"))
}

fn source_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    if folder.join("sources.list").is_file() {
        files.push(folder.join("sources.list"));
    }
    if let Ok(entries) = std::fs::read_dir(folder.join("sources.list.d")) {
        for entry in entries {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "list" || extension == "sources")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the stanzas of a `.sources` file: `Field: value`, continued on lines that begin with white space.
fn parse_stanzas(text: &str) -> Vec<Stanza> {
    let mut stanzas = vec![Stanza::new()];
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let stanza = stanzas.last_mut().expect("there is always a last stanza");
        if line.trim().is_empty() {
            stanzas.push(Stanza::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = stanza.get_mut(&field) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            field = name.trim().to_ascii_lowercase();
            stanza.insert(field.clone(), value.trim().to_owned());
        }
    }
    stanzas.retain(|stanza| !stanza.is_empty());
    stanzas
}

/// Reads the lines of a `.list` file: `deb [option=value …] uri suite component …`.
fn parse_lines(text: &str) -> Vec<Stanza> {
    text.lines()
        .filter_map(|line| parse_line(line.split('#').next().unwrap_or_default().trim()))
        .collect()
}

fn parse_line(line: &str) -> Option<Stanza> {
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let mut stanza = Stanza::from([("types".to_owned(), "deb".to_owned())]);
    stanza.insert("uris".to_owned(), words.next()?.to_owned());
    stanza.insert("suites".to_owned(), words.next()?.to_owned());
    stanza.insert("components".to_owned(), words.collect::<Vec<_>>().join(" "));
    for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
        stanza.insert(name.to_ascii_lowercase(), value.replace(',', " "));
    }
    Some(stanza)
}

/// The same source with another suite, or nothing when it isn't one of Debian itself. Only the fields that say where
/// and by which key are kept: `Trusted: yes`, which would turn off the check of signatures, isn't.
fn derive(stanza: &Stanza, suite: &str) -> Option<String> {
    let has = |field: &str, word: &str| {
        stanza
            .get(field)
            .is_some_and(|value| value.split_whitespace().any(|w| w == word))
    };
    let carries_release = RELEASE_SUITES.iter().any(|release| has("suites", release));
    if !has("types", "deb") || !has("components", "main") || !carries_release || has("enabled", "no") {
        return None;
    }
    let mut text = format!(
        "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n",
        stanza.get("uris")?
    );
    if let Some(keys) = stanza.get("signed-by") {
        text.push_str(&format!("Signed-By: {keys}\n"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_keeps_its_place_and_keys_and_gets_the_suite() {
        let text = "Types: deb deb-src\n# a note\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main contrib\nTrusted: yes\nSigned-By:\n -----BEGIN\n .\n -----END\n";
        let derived: Vec<_> = parse_stanzas(text)
            .iter()
            .filter_map(|stanza| derive(stanza, "trixie"))
            .collect();
        assert_eq!(
            derived,
            [
                "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n\
              Signed-By: \n -----BEGIN\n .\n -----END\n"
            ]
        );
    }

    #[test]
    fn other_sources_are_left_out() {
        for text in [
            "Types: deb\nURIs: http://mirror.test/debian-security\nSuites: bookworm-security\nComponents: main\n",
            "Types: deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm\nComponents: main\n",
            "Types: deb\nURIs: http://vendor.test/tool\nSuites: bookworm\nComponents: stable\n",
            "Enabled: no\nTypes: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\nComponents: main\n",
        ] {
            let stanzas = parse_stanzas(text);
            assert_eq!(stanzas.len(), 1);
            assert_eq!(derive(&stanzas[0], "trixie"), None, "{text}");
        }
    }

    #[test]
    fn a_line_with_options_is_the_same_as_its_stanza() {
        let text = "# comment\ndeb-src http://mirror.test/debian bookworm main\n\
                    deb [arch=amd64,arm64 signed-by=/keys/a.gpg trusted=yes] http://mirror.test/debian bookworm main # x\n\
                    deb http://mirror.test/debian bookworm main\n";
        let derived: Vec<_> = parse_lines(text)
            .iter()
            .filter_map(|stanza| derive(stanza, "trixie"))
            .collect();
        let common = "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n";
        assert_eq!(
            derived,
            [format!("{common}Signed-By: /keys/a.gpg\n"), common.to_owned()]
        );
    }

    #[test]
    fn lines_that_are_cut_short_are_left_out() {
        assert!(
            parse_lines("deb\ndeb [arch=amd64 http://mirror.test/debian bookworm main\ndeb http://mirror.test\n")
                .is_empty()
        );
    }
}
