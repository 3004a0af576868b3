//! Whether events are as their schemas say.

use rusqlite::types::Value;
use selvedge_events::{Data, schema_uri};
use selvedge_schemas::Schemas;

use super::Violation;
use crate::simulation::World;

/// Every event of a function has a schema, names it, and is as it says.
pub fn events_have_their_schemas(world: &World, schemas: &Schemas) -> Vec<Violation> {
    // What a test wrote into the journal by hand is no function's, and belongs to no correlation.
    let statement = "SELECT id, type, source, dataschema, CAST(data AS TEXT) FROM journal
        WHERE extensions ->> 'correlationid' IS NOT NULL";
    let is_functions = |source: &str| schemas.iter().any(|(_, schema)| schema.publisher() == Some(source));
    let mut violations = Vec::new();
    for row in world.sql.query(statement).unwrap_or_default() {
        let mut columns = row.into_iter().map(|column| match column {
            Value::Text(text) => text,
            _ => String::new(),
        });
        let mut next = || columns.next().unwrap_or_default();
        let (id, event_type, source, dataschema) = (next(), next(), next(), next());
        let data = Data::from_json_text(next()).unwrap_or_default();
        let mistakes = match schemas.get(&event_type) {
            None if !is_functions(&source) => continue,
            None => "there is no schema of its type: write schemas/<type>.json".to_owned(),
            Some(_) if dataschema != schema_uri(&event_type) => format!("its dataschema is {dataschema:?}"),
            Some(schema) => match schema.check(&data) {
                Ok(()) => continue,
                Err(mistakes) => format!("{mistakes:?}"),
            },
        };
        violations.push(Violation(format!("event {id} ({event_type}): {mistakes}")));
    }
    violations
}
