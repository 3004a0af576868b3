//! A database comes to have its tables, whoever meets it first and however often.

mod support;

use selvedge::Error;
use selvedge::schema::{self, Tables};
use support::World;

const TWO_VERSIONS: Tables = Tables {
    owner: "todos",
    migrations: &[
        &["CREATE TABLE IF NOT EXISTS todos (id TEXT PRIMARY KEY)"],
        &["CREATE INDEX IF NOT EXISTS todos_by_id ON todos (id)"],
    ],
};

fn ensure(world: &World, tables: &[Tables]) -> Result<(), Error> {
    schema::ensure(
        &mut |statement, parameters| world.execute(statement, parameters),
        tables,
    )
}

#[test]
fn a_new_database_gets_all_tables_and_their_versions() {
    let world = World::new(&[TWO_VERSIONS]);
    assert_eq!(
        world.rows("SELECT name, version FROM schema_version ORDER BY name"),
        ["selvedge|4", "todos|2"]
    );
    assert_eq!(world.rows("SELECT awake_until_ms, collected_at_ms FROM relay"), ["0|0"]);
}

#[test]
fn a_database_that_is_up_to_date_costs_one_statement() {
    let world = World::new(&[TWO_VERSIONS]);
    world.statements.set(0);
    ensure(&world, &[TWO_VERSIONS]).expect("nothing to do");
    assert_eq!(world.statements.get(), 1);
}

#[test]
fn migrations_begin_where_the_database_is_and_do_no_harm_twice() {
    let older = Tables {
        migrations: &TWO_VERSIONS.migrations[..1],
        ..TWO_VERSIONS
    };
    let world = World::new(&[older]);
    ensure(&world, &[TWO_VERSIONS]).expect("migrated");
    // A component that met the old database at the same time runs the same statements again.
    world
        .execute("UPDATE schema_version SET version = 1 WHERE name = 'todos'", Vec::new())
        .expect("set back");
    ensure(&world, &[TWO_VERSIONS]).expect("migrated again");
    assert_eq!(
        world.rows("SELECT version FROM schema_version WHERE name = 'todos'"),
        ["2"]
    );
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let world = World::new(&[TWO_VERSIONS]);
    let older = Tables {
        migrations: &TWO_VERSIONS.migrations[..1],
        ..TWO_VERSIONS
    };
    let error = ensure(&world, &[older]).expect_err("is newer");
    assert!(
        matches!(&error, Error::NewerSchema { owner, found: 2, known: 1 } if owner == "todos"),
        "{error}"
    );
    assert_eq!(
        world.rows("SELECT version FROM schema_version WHERE name = 'todos'"),
        ["2"]
    );
}

#[test]
fn a_migration_that_failed_is_made_up_for() {
    let world = World::new(&[]);
    world.broken_statements.borrow_mut().push("todos_by_id");
    ensure(&world, &[TWO_VERSIONS]).expect_err("broken");
    assert!(
        world
            .rows("SELECT version FROM schema_version WHERE name = 'todos'")
            .is_empty()
    );
    world.broken_statements.borrow_mut().clear();
    ensure(&world, &[TWO_VERSIONS]).expect("made up for");
    assert_eq!(
        world.rows("SELECT version FROM schema_version WHERE name = 'todos'"),
        ["2"]
    );
}

#[test]
fn a_database_of_a_preview_is_left_alone() {
    let world = World::new(&[]);
    for version in 1..=schema::PREVIEW {
        let statement = "UPDATE schema_version SET version = ? WHERE name = 'selvedge'";
        world.execute(statement, vec![version.into()]).expect("set back");
        let error = ensure(&world, &[]).expect_err("is a preview's");
        assert!(matches!(error, Error::PreviewSchema), "{error}");
    }
}
