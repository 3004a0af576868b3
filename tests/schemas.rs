//! Every event has the schema that it says, and whoever wants to know it finds it.

use http::StatusCode;
use selvedge_events::schema_uri;
use serde_json::json;

use crate::application::events_have_their_schemas;
use crate::application::schemas::schemas;
use crate::harness::{create, simulate};

#[test]
fn every_schema_compiles_and_says_where_it_is_served() {
    assert!(schemas().iter().count() >= 5, "the folder is there");
    for (event_type, schema) in schemas().iter() {
        schema.compile().expect(event_type);
        let document = schema.document();
        assert_eq!(
            document["$schema"], "https://json-schema.org/draft/2020-12/schema",
            "{event_type}"
        );
        assert_eq!(document["$id"], schema_uri(event_type));
        assert_eq!(document["title"], event_type);
        assert!(document["description"].is_string(), "{event_type}");
    }
}

#[test]
fn every_event_of_a_todo_is_as_its_schema_says() -> anyhow::Result<()> {
    simulate(async |world| {
        let todo = json!({ "title": "Buy groceries", "userId": "u1", "dueAt": "2030-01-31T12:00:00Z" });
        let created = world.post("/todos", &todo).await;
        let path = created.header("location").to_owned();
        let patch = json!({ "title": "Buy bread", "dueAt": null }).to_string();
        let headers = [("content-type", "application/json")];
        world.request(http::Method::PATCH, &path, &headers, patch).await;
        world.post(&format!("{path}/complete"), &json!({})).await;
        world.request(http::Method::DELETE, &path, &[], "").await;
        assert_eq!(world.sql.number("SELECT count(DISTINCT type) FROM journal"), 4);
        assert_eq!(events_have_their_schemas(&world), []);
        Ok(())
    })
}

#[test]
fn the_check_finds_an_event_that_is_not_as_its_schema_says() -> anyhow::Result<()> {
    simulate(async |world| {
        create(&world, "Buy groceries", "u1").await;
        assert_eq!(events_have_their_schemas(&world), []);
        for (change, said) in [
            ("data = json_remove(data, '$.title')", "title"),
            ("data = json_set(data, '$.userId', '')", "userId"),
            ("dataschema = NULL", "dataschema"),
            ("type = 'todos.task.invented'", "no schema"),
        ] {
            world
                .sql
                .change("CREATE TABLE IF NOT EXISTS kept AS SELECT * FROM journal")?;
            world.sql.change(&format!("UPDATE journal SET {change}"))?;
            let violations = format!("{:?}", events_have_their_schemas(&world));
            assert!(violations.contains(said), "{change}: {violations}");
            world.sql.change("DELETE FROM journal")?;
            world.sql.change("INSERT INTO journal SELECT * FROM kept")?;
        }
        Ok(())
    })
}

#[test]
fn a_schema_is_served_under_the_path_of_its_dataschema() -> anyhow::Result<()> {
    simulate(async |world| {
        for (event_type, schema) in schemas().iter() {
            let uri = schema_uri(event_type);
            let answer = world.get(uri.trim_start_matches("selvedge:")).await;
            assert_eq!(answer.status, StatusCode::OK, "{uri}");
            assert_eq!(answer.header("content-type"), "application/schema+json");
            assert_eq!(&answer.json(), schema.document());
        }
        for path in [
            "/schemas",
            "/schemas/nothing.at.all.json",
            "/schemas/todos.task.created",
            "/schemas/..%2Fsubscriptions.toml",
            "/schemas/..%2Fschemas%2Ftodos.task.created.json",
        ] {
            let answer = world.get(path).await;
            assert_eq!(
                (answer.status, answer.json()["status"] == 404),
                (StatusCode::NOT_FOUND, true),
                "{path}"
            );
        }
        Ok(())
    })
}
