//! Which files a component sees, and under which paths.

use std::path::{Component as PathPart, Path, PathBuf};

use glob::Pattern;

use super::error::{ConfigError, Location};
use super::manifest::{Component, FileMount, Manifest};

/// One file that a component sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountedFile {
    /// The path that the component sees, relative to its root.
    pub guest: PathBuf,
    /// The file on the host; absolute when the manifest's folder is.
    pub host: PathBuf,
}

/// All files of a component, sorted by the path that it sees. Where two mounts give it the same path, the later wins.
///
/// A source that doesn't exist, that lies outside the manifest's folder, or that Spin would mount otherwise than it is
/// written, is an error. A glob pattern that matches nothing is none.
pub fn mounted_files(manifest: &Manifest, component: &Component) -> Result<Vec<MountedFile>, ConfigError> {
    let mounts = Mounts {
        folder: &manifest.folder,
        excluded: component
            .exclude_files
            .iter()
            .filter_map(|pattern| Pattern::new(pattern).ok())
            .collect(),
        component,
        location: manifest.at(component.line),
    };
    let mut files = std::collections::BTreeMap::new();
    for mount in &component.files {
        for file in mounts.files(mount)? {
            files.insert(file.guest, file.host);
        }
    }
    Ok(files
        .into_iter()
        .map(|(guest, host)| MountedFile { guest, host })
        .collect())
}

struct Mounts<'a> {
    folder: &'a Path,
    excluded: Vec<Pattern>,
    component: &'a Component,
    location: Location,
}

impl Mounts<'_> {
    fn files(&self, mount: &FileMount) -> Result<Vec<MountedFile>, ConfigError> {
        match mount {
            FileMount::Pattern(pattern) => self.pattern(pattern),
            FileMount::Placement { source, destination } => self.placement(source, destination),
        }
    }

    fn pattern(&self, pattern: &str) -> Result<Vec<MountedFile>, ConfigError> {
        self.check_inside(pattern)?;
        let host = self.folder.join(pattern);
        if host.is_dir() {
            // Spin mounts such a folder under its own path twice over.
            let remedy = format!("write \"{pattern}/**/*\", or {{ source, destination }}");
            return Err(self.refused(pattern, "is a folder", remedy));
        }
        if host.exists() {
            return Ok(vec![MountedFile {
                guest: normalized(Path::new(pattern)),
                host,
            }]);
        }
        if Pattern::escape(pattern) == pattern {
            return Err(self.refused(pattern, "does not exist", "create it or correct the path"));
        }
        self.glob(pattern, self.folder, Path::new(""))
    }

    fn placement(&self, source: &str, destination: &str) -> Result<Vec<MountedFile>, ConfigError> {
        self.check_inside(source)?;
        let guest = Path::new(destination.trim_start_matches('/'));
        if guest.components().any(|part| matches!(part, PathPart::ParentDir)) {
            return Err(self.refused(destination, "leaves the component's root", "write a path without `..`"));
        }
        let host = self.folder.join(source);
        if host.is_dir() {
            return self.glob("**/*", &host, guest);
        }
        if !host.exists() {
            return Err(self.refused(source, "does not exist", "create it or correct the path"));
        }
        if destination.is_empty() || destination.ends_with(['/', '.']) {
            return Err(self.refused(destination, "is no name for a file", "write the file's whole path"));
        }
        Ok(vec![MountedFile {
            guest: normalized(guest),
            host,
        }])
    }

    fn glob(&self, pattern: &str, folder: &Path, guest: &Path) -> Result<Vec<MountedFile>, ConfigError> {
        let Some(folder_text) = folder.to_str() else {
            return Err(self.refused(pattern, "is in a folder whose name isn't UTF-8", "rename the folder"));
        };
        let whole = format!("{}/{pattern}", Pattern::escape(folder_text));
        let paths = glob::glob(&whole).map_err(|error| {
            self.refused(
                pattern,
                &format!("is malformed ({})", error.msg),
                "correct the glob pattern",
            )
        })?;
        let mut files = Vec::new();
        for path in paths {
            let host = path.map_err(|error| ConfigError::CannotRead {
                file: error.path().to_owned(),
                cause: error.into(),
            })?;
            // What glob finds below a folder begins with that folder.
            let (Ok(below), Ok(in_application)) = (host.strip_prefix(folder), host.strip_prefix(self.folder)) else {
                continue;
            };
            let is_excluded = self.excluded.iter().any(|pattern| pattern.matches_path(in_application));
            if !is_excluded && host.is_file() {
                files.push(MountedFile {
                    guest: normalized(&guest.join(below)),
                    host,
                });
            }
        }
        Ok(files)
    }

    fn check_inside(&self, path: &str) -> Result<(), ConfigError> {
        let leaves = |part| !matches!(part, PathPart::Normal(_) | PathPart::CurDir);
        match Path::new(path).components().any(leaves) {
            true => Err(self.refused(
                path,
                "is outside the manifest's folder",
                "write a path inside it, without `..`",
            )),
            false => Ok(()),
        }
    }

    fn refused(&self, path: &str, problem: &str, remedy: impl Into<String>) -> ConfigError {
        let problem = format!(
            "\"{path}\" in the files of the component \"{}\" {problem}",
            self.component.id
        );
        ConfigError::invalid(self.location.clone(), problem, remedy)
    }
}

/// Without `.` parts.
fn normalized(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, PathPart::CurDir))
        .collect()
}

#[cfg(test)]
mod tests;
