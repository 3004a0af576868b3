//! The journal as others read it: page by page from a position, filtered.

use selvedge_events::TypePattern;

use crate::host::Value;
use crate::journal::{self, Record};
use crate::{Error, Host, limits};

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Patterns of types, any of which must match; none: all types.
    pub types: Vec<TypePattern>,
    /// The stream that they are of.
    pub stream: Option<String>,
}

/// A part of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The events, in the journal's order.
    pub records: Vec<Record>,
    /// Where to read on: everything up to this position has been looked at.
    pub cursor: i64,
    /// Whether the journal goes on after the cursor.
    pub has_more: bool,
}

/// The position of the journal's last event; 0 when it is empty.
///
/// # Errors
/// What the database fails with.
pub fn head(host: &Host) -> Result<i64, Error> {
    let rows = host.execute("SELECT COALESCE(MAX(position), 0) FROM journal", Vec::new())?;
    rows.into_iter().next().map_or(Ok(0), |mut row| row.integer())
}

/// The first events after a position that pass the filter, at most `limit` of them. A filter that little passes ends the
/// page after [`limits::FEED_SCAN_EVENTS_MAX`] events, however few were found: the page says where to go on.
///
/// # Errors
/// What the database fails with.
pub fn read(host: &Host, filter: &Filter, after: i64, limit: u32) -> Result<Page, Error> {
    let head = head(host)?;
    if after >= head {
        return Ok(Page {
            records: Vec::new(),
            cursor: after,
            has_more: false,
        });
    }
    let end = if filter.stream.is_some() {
        // A stream has an index: what lies between its events isn't read.
        head
    } else {
        head.min(after.saturating_add(limits::FEED_SCAN_EVENTS_MAX))
    };
    let (condition, mut parameters) = condition(filter);
    parameters.extend([after.into(), end.into(), limit.into()]);
    let statement = format!(
        "SELECT {} FROM journal WHERE {condition} position > ? AND position <= ? ORDER BY position LIMIT ?",
        journal::COLUMNS
    );
    let mut records = journal::records(host.execute(&statement, parameters)?)?;
    let is_full = records.len() >= limit as usize;
    let cursor = records.last().filter(|_| is_full).map_or(end, |record| record.position);
    // SQL's pattern takes dots for other characters.
    let is_wanted = |event_type: &str| filter.types.is_empty() || TypePattern::any_matches(&filter.types, event_type);
    records.retain(|record| is_wanted(&record.event.event_type));
    Ok(Page {
        records,
        cursor,
        has_more: cursor < head,
    })
}

/// What a row must be like, as SQL that ends in AND, with its parameters.
fn condition(filter: &Filter) -> (String, Vec<Value>) {
    let (mut condition, mut parameters) = (String::new(), Vec::new());
    if !filter.types.is_empty() {
        let globs = vec!["type GLOB ?"; filter.types.len()].join(" OR ");
        condition.push_str(&format!("({globs}) AND "));
        parameters.extend(filter.types.iter().map(|pattern| Value::from(pattern.to_string())));
    }
    if let Some(stream) = &filter.stream {
        condition.push_str("stream = ? AND ");
        parameters.push(stream.as_str().into());
    }
    (condition, parameters)
}
