//! Why an application can't be started or run.

use std::path::PathBuf;

use crate::config::ConfigError;

/// An engine's error. Its text says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest or the runtime configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `subscriptions.toml` can't be used.
    #[error("{message} (the file is {})", path.display())]
    Subscriptions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and on which line.
        message: String,
    },
    /// A component's file can't be read or run.
    #[error("component \"{id}\": {} is not a component that this engine can run; build it again with `cargo xtask build`", path.display())]
    Component {
        /// The component's id in the manifest.
        id: String,
        /// Its `source`.
        path: PathBuf,
        /// What wasmtime or the system said.
        #[source]
        cause: wasmtime::Error,
    },
    /// A component's file is one that Spin can't run, or that its triggers can't call.
    #[error("component \"{id}\": {} can't be used: {problems}", path.display())]
    Platform {
        /// The component's id in the manifest.
        id: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problems: String,
    },
    /// A file or folder of the application can't be read or written.
    #[error("{} can't be {action}; check that it is there and that this user may do it", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// "read", "created" or "written".
        action: &'static str,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A database's schema is newer than what this version of the kernel knows.
    #[error(
        "{}: its schema has version {found}, and this version of Selvedge knows {known}; \
         start the newer Selvedge that wrote it, or another state folder with --state-dir",
        path.display()
    )]
    NewerSchema {
        /// The database's file.
        path: PathBuf,
        /// The version that was found.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// A database was written by a preview of the kernel.
    #[error(
        "{}: it was written by a preview of 0.1.0, whose tables aren't taken over; \
         start with another state folder with --state-dir",
        path.display()
    )]
    PreviewSchema {
        /// The database's file.
        path: PathBuf,
    },
    /// A store can't be opened.
    #[error("{message}; check its path or URL in the runtime configuration, and --state-dir")]
    Store {
        /// Which store, and what went wrong.
        message: String,
    },
    /// The address to listen on can't be had.
    #[error("can't listen on {address}; stop the program that has it, or choose another with --listen")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Wasmtime itself can't be set up.
    #[error("wasmtime can't be set up on this machine")]
    Engine(#[source] wasmtime::Error),
    /// The application was stopped.
    #[error("the application was stopped")]
    Stopped,
    /// A component was asked for something that it doesn't export.
    #[error("component \"{id}\" has no {export} export; bind it to the trigger that it was built for")]
    NoExport {
        /// The component's id.
        id: String,
        /// The missing export.
        export: &'static str,
    },
    /// A component trapped, timed out, or couldn't be instantiated while it was called.
    #[error("component \"{id}\" failed: {cause:#}")]
    Call {
        /// The component's id.
        id: String,
        /// What wasmtime said.
        cause: wasmtime::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Call { .. })
    }
}
