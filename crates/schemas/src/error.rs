//! What can be wrong with a file of the folder.

/// A schema can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or the folder can't be read.
    #[error("{file} can't be read: {cause}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        cause: std::io::Error,
    },

    /// A file isn't named after an event type.
    #[error("schemas/{file} isn't named after an event type: {cause}")]
    Name {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        cause: selvedge_events::Error,
    },

    /// A file isn't JSON.
    #[error("schemas/{file} can't be read as JSON: {cause}")]
    Json {
        /// The file's name.
        file: String,
        /// Where it isn't.
        cause: serde_json::Error,
    },

    /// A file is JSON and no schema.
    #[error("schemas/{file} is no JSON Schema: {reason}")]
    Schema {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether reading the folder again could help: it is another one only when somebody changes it.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
