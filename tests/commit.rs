//! The commit that is tested.

use std::path::Path;

use selvedge_testkit::figures;

/// The commit's own seed: the first 12 digits of its hash; `None` where there is no git.
pub fn commit_seed(root: &Path) -> Option<u64> {
    u64::from_str_radix(&figures::commit(root)?[..12], 16).ok()
}
