//! What messages leave behind: words and claims of those who took them.

use std::collections::BTreeSet;

use rusqlite::types::Value;

use super::{Violation, rows};
use crate::simulation::World;

/// What consumers of messages leave in the key-value store for the relay is gone: claims, and words of what failed. Where one
/// dies just then, a word or the claim of a first attempt may stay, until the event's marker is collected; it holds nobody up.
pub fn words_are_forgotten(world: &World) -> Vec<Violation> {
    let contents = world.key_value.contents();
    let words = contents.values.keys().filter(|key| key.starts_with("outcome/"));
    let claims = contents.counters.keys().filter(|key| key.starts_with("claim/"));
    let (first, later): (Vec<_>, Vec<_>) = claims.partition(|key| key.ends_with("/1"));
    let collectable: Vec<_> = words.chain(first).collect();
    match later.is_empty() && collectable.len() <= 1 {
        true => Vec::new(),
        false => vec![Violation(format!("the store still has {collectable:?} {later:?}"))],
    }
}

/// What consumers said when nobody listened any more is still there, but no more than one word of each for an event of the
/// journal: it goes with the event's marker.
pub fn words_do_not_pile_up(world: &World, consumers: &[&str]) -> Vec<Violation> {
    let mut collectable = BTreeSet::new();
    for row in rows(world, "SELECT source, id FROM journal") {
        if let [Value::Text(source), Value::Text(id)] = &row[..] {
            collectable.extend(consumers.iter().map(|name| format!("outcome/{name}/{source}/{id}")));
        }
    }
    let contents = world.key_value.contents();
    let words = contents.values.keys().filter(|key| key.starts_with("outcome/"));
    let violation = |key: &String| Violation(format!("{key} stays in the store for ever"));
    words.filter(|key| !collectable.contains(*key)).map(violation).collect()
}
