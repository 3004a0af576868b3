//! What long runs came to: a file each under `target/figures`, which the report on reliability takes in.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use selvedge_events::Timestamp;
use serde::{Deserialize, Serialize};

/// Where they lie, from the project's folder.
const FOLDER: &str = "target/figures";

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// What kind of run it was: `sweep`, `hardship`, `fuzz`.
    pub kind: String,
    /// Which one of its kind.
    pub name: String,
    /// When it ended.
    pub at: String,
    /// The commit that was tested, in hexadecimal, or that there was none.
    pub commit: String,
    /// What was counted, in the order in which it is told.
    pub figures: Vec<(String, String)>,
}

/// Keeps what a run came to, instead of what the last one of this kind and name did.
///
/// # Errors
/// Where the file can't be written.
pub fn keep(root: &Path, kind: &str, name: &str, figures: &[(&str, String)]) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let kept = Figures {
        kind: kind.to_owned(),
        name: name.to_owned(),
        at: Timestamp::from_unix_ms(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).to_string(),
        commit: commit(root).unwrap_or_else(|| "without git".to_owned()),
        figures: figures
            .iter()
            .map(|(name, figure)| ((*name).to_owned(), figure.clone()))
            .collect(),
    };
    let file_name: String = name
        .chars()
        .map(|char| if char.is_alphanumeric() { char } else { '-' })
        .collect();
    let folder = root.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let file = folder.join(format!("{kind}-{file_name}.json"));
    std::fs::write(&file, serde_json::to_vec_pretty(&kept)?).with_context(|| file.display().to_string())
}

/// What the last runs of a kind came to, by name.
///
/// # Errors
/// Where a file can't be read, or isn't what [`keep`] writes.
pub fn read(root: &Path, kind: &str) -> anyhow::Result<Vec<Figures>> {
    let entries = match std::fs::read_dir(root.join(FOLDER)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            let kept: Figures =
                serde_json::from_slice(&std::fs::read(&file)?).with_context(|| file.display().to_string())?;
            all.extend((kept.kind == kind).then_some(kept));
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// The hash of the commit that is checked out, in hexadecimal; `None` where there is no git.
pub fn commit(root: &Path) -> Option<String> {
    let git = Command::new("git")
        .current_dir(root)
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()?;
    let hash = String::from_utf8(git.stdout).ok()?.trim().to_owned();
    (git.status.success() && hash.len() >= 12).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_of_a_name_counts() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        assert_eq!(read(folder.path(), "sweep")?, []);
        for (kind, name, runs) in [
            ("sweep", "b c", 1),
            ("sweep", "b c", 2),
            ("sweep", "a", 3),
            ("fuzz", "a", 4),
        ] {
            keep(folder.path(), kind, name, &[("runs", format!("{runs}"))])?;
        }
        let told = |figures: Figures| (figures.name, figures.figures[0].1.clone());
        let sweeps: Vec<_> = read(folder.path(), "sweep")?.into_iter().map(told).collect();
        assert_eq!(sweeps, [("a".into(), "3".into()), ("b c".into(), "2".into())]);
        Ok(())
    }
}
