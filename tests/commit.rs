//! The commit that is tested.

use std::path::Path;
use std::process::Command;

/// The hash of the commit that is checked out, in hexadecimal; `None` where there is no git.
pub fn commit_hash(root: &Path) -> Option<String> {
    let git = Command::new("git")
        .current_dir(root)
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()?;
    let hash = String::from_utf8(git.stdout).ok()?.trim().to_owned();
    (git.status.success() && hash.len() >= 12).then_some(hash)
}

/// The commit's own seed: the first 12 digits of its hash.
pub fn commit_seed(root: &Path) -> Option<u64> {
    u64::from_str_radix(&commit_hash(root)?[..12], 16).ok()
}
