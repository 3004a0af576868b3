//! The AsyncAPI project's own parser, from npm: one test has it read `/asyncapi.json`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{self, say};
use crate::workspace;

/// The test that needs the parser.
pub const TEST: &str = "the_asyncapi_projects_own_parser";

/// What is installed, at which versions, and the program that uses it.
const FILES: [&str; 3] = ["package.json", "package-lock.json", "validate.mjs"];

/// Installs the parser under target/, unless it is there already. Says so, and gives `false`, where there is no npm or
/// npm can't reach its registry: then that one test has to be left out.
pub fn install() -> Result<bool> {
    let from = workspace::root().join("tests/asyncapi");
    let folder = workspace::root().join("target/asyncapi");
    let lock = |folder: &std::path::Path| std::fs::read(folder.join("package-lock.json")).ok();
    let is_installed = folder.join("node_modules/@asyncapi/parser").is_dir() && lock(&from) == lock(&folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    for file in FILES {
        std::fs::copy(from.join(file), folder.join(file)).with_context(|| format!("tests/asyncapi/{file}"))?;
    }
    if is_installed {
        return Ok(true);
    }
    say("the AsyncAPI parser, from npm");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder);
    let failure = match process::status(&mut npm) {
        Ok(status) if status.success() => return Ok(true),
        Ok(status) => format!("npm ended with {status}"),
        Err(error) => format!("{error:#}"),
    };
    // Half of it would be taken for the whole next time.
    if let Err(error) = std::fs::remove_file(folder.join("package-lock.json")) {
        say(format_args!(
            "target/asyncapi/package-lock.json can't be removed: {error}"
        ));
    }
    say(format_args!(
        "NOT CHECKED: {failure}, so AsyncAPI's own parser doesn't see /asyncapi.json. Install Node.js with npm for it."
    ));
    Ok(false)
}
