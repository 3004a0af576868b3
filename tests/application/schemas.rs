//! The schemas of the application's events.

use std::path::Path;
use std::sync::OnceLock;

use selvedge_schemas::Schemas;
use selvedge_testkit::World;
use selvedge_testkit::checkers::{self, Violation};

/// The schemas of the application's events.
pub fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(selvedge_schemas::FOLDER);
        Schemas::read(&folder).expect("the schemas can be read")
    })
}

/// Every event of a function has a schema, names it, and is as it says.
pub fn events_have_their_schemas(world: &World) -> Vec<Violation> {
    checkers::events_have_their_schemas(world, schemas())
}
