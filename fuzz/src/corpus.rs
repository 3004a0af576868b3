//! The examples that mutations start from, and the inputs that once found something.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The project's folder.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder of a target's examples: `fuzz/corpus/<target>`. Each is valid or nearly so, and small.
pub fn examples_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The folder of the inputs that found something in a target: `fuzz/findings/<target>`. A finding that was fixed stays, and
/// is run by every test.
pub fn findings_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("findings").join(target)
}

/// The files of a folder in the order of their names; none where there is no folder.
///
/// # Errors
/// Where a file can't be read.
pub fn read(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    let file = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok((name, bytes))
    };
    paths.into_iter().map(file).collect()
}
