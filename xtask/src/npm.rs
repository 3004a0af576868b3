//! What tests need from npm: the AsyncAPI project's own parser, and Dapr's own SDK.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{self, say};
use crate::workspace;

/// Packages from npm and a program that uses them, in a folder of `tests/`, for one test.
pub struct Tool {
    /// The folder.
    folder: &'static str,
    /// The package that its program is for.
    package: &'static str,
    program: &'static str,
    /// The test.
    pub test: &'static str,
    /// What isn't seen without it.
    unchecked: &'static str,
}

/// All of them.
pub const TOOLS: [Tool; 2] = [
    Tool {
        folder: "asyncapi",
        package: "@asyncapi/parser",
        program: "validate.mjs",
        test: "the_asyncapi_projects_own_parser",
        unchecked: "AsyncAPI's own parser doesn't see /asyncapi.json",
    },
    Tool {
        folder: "dapr-sdk",
        package: "@dapr/dapr",
        program: "app.mjs",
        test: "daprs_own_sdk",
        unchecked: "Dapr's own SDK neither publishes nor subscribes",
    },
];

impl Tool {
    /// Installs it under target/, unless it is there already. Says so, and gives `false`, where there is no npm or npm
    /// can't reach its registry: then its test has to be left out.
    pub fn install(&self) -> Result<bool> {
        let from = workspace::root().join("tests").join(self.folder);
        let folder = workspace::root().join("target").join(self.folder);
        let lock = |folder: &Path| std::fs::read(folder.join("package-lock.json")).ok();
        let is_installed = folder.join("node_modules").join(self.package).is_dir() && lock(&from) == lock(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        for file in ["package.json", "package-lock.json", self.program] {
            std::fs::copy(from.join(file), folder.join(file))
                .with_context(|| format!("tests/{}/{file}", self.folder))?;
        }
        if is_installed {
            return Ok(true);
        }
        say(format_args!("{}, from npm", self.package));
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
                "target/{}/package-lock.json can't be removed: {error}",
                self.folder
            ));
        }
        say(format_args!(
            "NOT CHECKED: {failure}, so {}. Install Node.js with npm for it.",
            self.unchecked
        ));
        Ok(false)
    }
}
