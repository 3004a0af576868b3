//! Watches, while a run goes on, what the stores don't show any more at its end.

use std::collections::BTreeMap;

use rusqlite::Connection;

/// Sees a subscription's cursor go back: then a relay that had lost its lease wrote all the same.
#[derive(Debug, Default)]
pub struct CursorWatch {
    /// Each subscription's generation and cursor. A projection that is built anew is another generation.
    last: BTreeMap<String, (i64, i64)>,
    gone_back: Vec<String>,
}

impl CursorWatch {
    /// Whether a statement may move a cursor.
    pub(super) fn concerns(statement: &str) -> bool {
        statement.contains("SET cursor")
    }

    /// What was seen that must not be, a sentence each.
    pub fn gone_back(&self) -> &[String] {
        &self.gone_back
    }

    /// Looks at all cursors. A database without such a table has none.
    pub(super) fn look(&mut self, connection: &Connection) {
        let read = || -> rusqlite::Result<Vec<(String, (i64, i64))>> {
            let mut statement = connection.prepare_cached("SELECT name, generation, cursor FROM subscriptions")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
            rows.collect()
        };
        for (name, now) in read().unwrap_or_default() {
            let before = self.last.insert(name.clone(), now).unwrap_or(now);
            if now < before {
                self.gone_back
                    .push(format!("{name}: the cursor went back from {} to {}", before.1, now.1));
            }
        }
    }
}
