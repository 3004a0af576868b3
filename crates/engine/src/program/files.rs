//! A component's `files`: copied into a folder of their own, so that it sees these and no others.

use std::path::Path;

use tempfile::TempDir;

use crate::Error;
use crate::config::{Component, Manifest, mounted_files};

/// The folder with the files of `component`; `None` where it has none.
pub(super) fn mount(manifest: &Manifest, component: &Component) -> Result<Option<TempDir>, Error> {
    let files = mounted_files(manifest, component)?;
    if files.is_empty() {
        return Ok(None);
    }
    let target = TempDir::with_prefix("selvedge-files-").map_err(failed(&std::env::temp_dir(), "written"))?;
    for file in files {
        let copy = target.path().join(&file.guest);
        if let Some(folder) = copy.parent() {
            std::fs::create_dir_all(folder).map_err(failed(folder, "created"))?;
        }
        std::fs::copy(&file.host, &copy).map_err(failed(&file.host, "read"))?;
    }
    Ok(Some(target))
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::File { path, action, cause }
}
