//! The connections to a SQLite file that all components share.
//!
//! Each commit empties the page caches of all other connections to the file, and a new connection knows neither schema
//! nor statement. So a statement that leaves nothing behind on its connection runs on a shared one, which takes on what the
//! component has set: one connection writes, and its cache stays warm; as many read as read at the same time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::READERS_MAX;
use super::sqlite_file::{SqliteFile, WriteTurn};
use super::sqlite_session::{Ran, Session, Traits};
use crate::ports::SqlValue;

/// The shared connections to one file, opened when they are needed.
#[derive(Default)]
pub(super) struct Shared {
    writer: Mutex<Option<Session>>,
    readers: Mutex<Vec<Session>>,
}

impl Shared {
    /// Runs a statement that reads. Where it turns out to write, nothing happens.
    pub fn read(
        &self,
        file: &SqliteFile,
        statement: &str,
        parameters: &[SqlValue],
        traits: &mut Traits,
    ) -> rusqlite::Result<Ran> {
        let idle = guard(&self.readers).pop();
        let mut reader = idle.map_or_else(|| Session::open(file), Ok)?;
        let result = reader.run(statement, parameters, false, traits);
        let mut readers = guard(&self.readers);
        if readers.len() < READERS_MAX {
            readers.push(reader);
        }
        result
    }

    /// Runs a statement that may write, for whoever has the turn.
    pub fn write(
        &self,
        file: &SqliteFile,
        _turn: &WriteTurn,
        statement: &str,
        parameters: &[SqlValue],
        traits: &mut Traits,
    ) -> rusqlite::Result<Ran> {
        // Only one has the turn, so nobody waits here.
        let mut writer = guard(&self.writer);
        let session = match &mut *writer {
            Some(session) => session,
            none => none.insert(Session::open(file)?),
        };
        session.run(statement, parameters, true, traits)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
