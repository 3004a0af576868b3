//! Why a configuration is refused: one sentence that says what is wrong, where, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file, as the operator named it.
    pub file: PathBuf,
    /// The line, counted from 1; 0 when it is about the file as a whole.
    pub line: usize,
}

impl Location {
    /// A line of a file.
    pub fn new(file: &Path, line: usize) -> Self {
        Self {
            file: file.to_owned(),
            line,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}", self.file.display()),
            line => write!(formatter, "{}, line {line}", self.file.display()),
        }
    }
}

/// Why a configuration is refused. No message holds the value of a variable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{}: cannot be read ({cause}); check the path and its permissions", .file.display())]
    CannotRead {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file isn't TOML, or a key or a type in it isn't what the format says.
    #[error("{location}: {problem}; correct the file")]
    Format {
        /// Where.
        location: Location,
        /// What the parser says, without the value.
        problem: String,
        /// The parser's error, without the file's text.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// Something that Spin knows and the embedded engine doesn't.
    #[error("{location}: {feature} is not supported by the embedded engine; {remedy}")]
    Unsupported {
        /// Where.
        location: Location,
        /// What it is.
        feature: String,
        /// What to do instead.
        remedy: String,
    },
    /// Something that is wrong by the format's rules.
    #[error("{location}: {problem}; {remedy}")]
    Invalid {
        /// Where.
        location: Location,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A component's file isn't there.
    #[error(
        "{location}: the component \"{component}\" has no file {}; build it with `cargo xtask build` or `spin build`",
        .path.display()
    )]
    MissingSource {
        /// Where the component is declared.
        location: Location,
        /// The component's id.
        component: String,
        /// The file that isn't there.
        path: PathBuf,
    },
}

impl ConfigError {
    /// Whether the same call may succeed later without a change to the configuration: never.
    pub fn is_retryable(&self) -> bool {
        false
    }

    pub(crate) fn invalid(location: Location, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid {
            location,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn unsupported(location: Location, feature: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unsupported {
            location,
            feature: feature.into(),
            remedy: remedy.into(),
        }
    }
}
