//! What can go wrong in the kernel, and whether trying again can help.

/// Everything that the kernel's own work can fail with.
///
/// The texts are for operators. Callers of a function get a [`crate::http::Problem`] instead, which says no more than
/// they may know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream moved on since it was read: another command won.
    #[error("stream {stream} is no longer at version {expected_version}: read it again and decide anew")]
    VersionConflict {
        /// The stream that was appended to.
        stream: String,
        /// The version that the appender had seen.
        expected_version: i64,
    },

    /// The journal has an event of this source and id already.
    #[error("the journal has an event of {source_uri} with the same id already: it was appended before")]
    DuplicateEvent {
        /// The events' source.
        source_uri: String,
    },

    /// An event is larger than the journal takes.
    #[error(
        "event {id} has {length_bytes} bytes, the limit is {limit_bytes}: keep large content elsewhere and refer to it"
    )]
    EventTooLarge {
        /// The event's id.
        id: String,
        /// How large it is.
        length_bytes: usize,
        /// How large it may be.
        limit_bytes: usize,
    },

    /// One append has more events than the journal takes at once.
    #[error("{count} events at once, the limit is {limit}: append fewer")]
    TooManyEvents {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },

    /// A function appends a type of event that isn't its own to publish.
    #[error(
        "{event_type} is outside of what this function publishes: add it to its `publishes`, or leave it to its owner"
    )]
    OutOfScope {
        /// The event's type.
        event_type: String,
    },

    /// An event isn't a valid CloudEvent, or its data isn't what its type promises.
    #[error("an event isn't as it should be: {0}")]
    Event(#[from] selvedge_events::Error),

    /// A unique key or another constraint refused a row.
    #[error("a constraint refused a row: {columns}")]
    Constraint {
        /// What the database says about it: the columns, or the constraint's name.
        columns: String,
    },

    /// The database is locked by someone else for longer than it waits.
    #[error("the database is busy ({detail}): try again")]
    DatabaseBusy {
        /// What the database said.
        detail: String,
    },

    /// The database's disk is full or fails.
    #[error("the database's disk fails ({detail}): make room or repair it, and what waits goes on by itself")]
    DatabaseDisk {
        /// What the database said.
        detail: String,
    },

    /// The database couldn't run a statement.
    #[error("the database failed: {detail}")]
    Database {
        /// What the database said.
        detail: String,
    },

    /// A row from the database hasn't the shape that its statement promises.
    #[error("a row from the database has {found} where {expected} should be: was the table changed by hand?")]
    UnexpectedRow {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },

    /// The tables were made by a newer version of the program.
    #[error(
        "the tables of {owner} have schema version {found}, this program knows {known}: start a version that is at least \
         as new as the one that wrote them"
    )]
    NewerSchema {
        /// Whose tables they are.
        owner: String,
        /// The version of the tables.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },

    /// The tables were made by a preview of version 0.1.0.
    #[error(
        "the database was written by a preview of 0.1.0, whose tables aren't taken over: start with a new state folder"
    )]
    PreviewSchema,

    /// The key-value store failed.
    #[error("the key-value store failed: {detail}")]
    KeyValue {
        /// What the store said.
        detail: String,
    },

    /// An HTTP request got no answer.
    #[error("{target} can't be reached: {detail}")]
    Unreachable {
        /// Whom the request was for.
        target: String,
        /// What the network said.
        detail: String,
    },

    /// An HTTP request got no answer in time.
    #[error("{target} gave no answer within {timeout_ms} ms")]
    Timeout {
        /// Whom the request was for.
        target: String,
        /// How long was waited.
        timeout_ms: u64,
    },

    /// No HTTP request was made, since too many failed before: the circuit breaker is open.
    #[error("{target} isn't called: its circuit breaker is open, call again in {retry_after_ms} ms")]
    CircuitOpen {
        /// The breaker's name: whom the request was for.
        target: String,
        /// When calling again is worth while, in milliseconds from now.
        retry_after_ms: u64,
    },

    /// An HTTP answer came, and it isn't what was asked for.
    #[error("{target} answered {reason}")]
    Answer {
        /// Who answered.
        target: String,
        /// What is wrong with the answer.
        reason: String,
    },

    /// A message broker didn't take what was published, or can't be reached.
    #[error("{address}: {reason}")]
    Broker {
        /// Where in the broker, as subscriptions.toml names it.
        address: String,
        /// What happened and what to do.
        reason: String,
    },

    /// Events of a message didn't succeed, and whoever published them doesn't ask.
    #[error(
        "{failed} events of a message had no effect, and nobody sends them again ({reason}): publish them through a \
         subscription, which does"
    )]
    Unheard {
        /// How many they are.
        failed: usize,
        /// Why the first of them had none.
        reason: String,
    },

    /// `subscriptions.toml` can't be read or has a mistake.
    #[error("subscriptions.toml, line {line}: {reason}")]
    Subscriptions {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong and what to write instead.
        reason: String,
    },

    /// The component's configuration lacks something, or has a wrong value.
    #[error("{name} {reason}")]
    Configuration {
        /// The variable or file.
        name: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed when it is made again unchanged.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::VersionConflict { .. }
            | Self::DatabaseBusy { .. }
            | Self::DatabaseDisk { .. }
            | Self::KeyValue { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::CircuitOpen { .. }
            | Self::Answer { .. }
            | Self::Broker { .. } => true,
            Self::DuplicateEvent { .. }
            | Self::EventTooLarge { .. }
            | Self::TooManyEvents { .. }
            | Self::OutOfScope { .. }
            | Self::Event(_)
            | Self::Constraint { .. }
            | Self::Database { .. }
            | Self::UnexpectedRow { .. }
            | Self::Unheard { .. }
            | Self::NewerSchema { .. }
            | Self::PreviewSchema
            | Self::Subscriptions { .. }
            | Self::Configuration { .. } => false,
        }
    }

    /// The error for what a SQLite or libSQL host says about a failed statement. The hosts pass texts, not codes.
    pub fn from_sqlite(detail: String) -> Self {
        let lower = detail.to_ascii_lowercase();
        if let Some(start) = lower.find("constraint failed") {
            let columns = detail[start + "constraint failed".len()..]
                .trim_start_matches([':', ' '])
                .to_owned();
            Self::Constraint { columns }
        } else if lower.contains("database is locked") || lower.contains("busy") || lower.contains("table is locked") {
            Self::DatabaseBusy { detail }
        } else if lower.contains("disk is full") || lower.contains("disk i/o error") {
            Self::DatabaseDisk { detail }
        } else {
            Self::Database { detail }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_says_becomes_the_error_it_means() {
        let unique = Error::from_sqlite("UNIQUE constraint failed: journal.stream, journal.version".to_owned());
        assert!(matches!(unique, Error::Constraint { columns } if columns == "journal.stream, journal.version"));
        let busy = Error::from_sqlite("database is locked".to_owned());
        assert!(matches!(&busy, Error::DatabaseBusy { .. }) && busy.is_retryable());
        for disk in ["database or disk is full", "disk I/O error"] {
            let disk = Error::from_sqlite(disk.to_owned());
            assert!(matches!(&disk, Error::DatabaseDisk { .. }) && disk.is_retryable());
        }
        let other = Error::from_sqlite("no such table: journal".to_owned());
        assert!(matches!(&other, Error::Database { .. }) && !other.is_retryable());
    }
}
