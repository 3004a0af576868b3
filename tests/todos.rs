//! Todos: what callers can do with them, and which events that makes.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use rusqlite::types::Value as Stored;
use selvedge_testkit::World;
use selvedge_testkit::simulation::{Answer, Fault, Node, When};
use serde_json::{Value, json};

use crate::harness::{create, simulate, todo};

/// The headers of a request with a JSON body.
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// The types of a todo's events, in order.
fn history(world: &World, id: &str) -> anyhow::Result<Vec<String>> {
    let query = format!("SELECT type FROM journal WHERE stream = 'todos.task/{id}' ORDER BY version");
    let rows = world.sql.query(&query)?;
    let text = |row: Vec<Stored>| match row.into_iter().next() {
        Some(Stored::Text(text)) => Ok(text),
        other => anyhow::bail!("a type is a text, not {other:?}"),
    };
    rows.into_iter().map(text).collect()
}

fn events(world: &World) -> i64 {
    world.sql.number("SELECT count(*) FROM journal")
}

async fn patch(world: &World, id: &str, if_match: Option<&str>, changes: Value) -> Answer {
    let if_match = if_match.map(|version| ("if-match", version));
    let headers: Vec<_> = [("content-type", "application/json")]
        .into_iter()
        .chain(if_match)
        .collect();
    world
        .request(Method::PATCH, &format!("/todos/{id}"), &headers, changes.to_string())
        .await
}

async fn complete(world: &World, id: &str) -> Answer {
    world.post(&format!("/todos/{id}/complete"), &json!({})).await
}

async fn delete(world: &World, id: &str, headers: &[(&str, &str)]) -> Answer {
    world
        .request(Method::DELETE, &format!("/todos/{id}"), headers, "")
        .await
}

#[test]
fn a_todo_lives_from_creation_to_deletion() -> anyhow::Result<()> {
    simulate(async |world| {
        let wanted = json!({ "title": "Buy groceries", "userId": "u1", "dueAt": "2026-02-01T12:00:00.000Z" });
        let created = world.post("/todos", &wanted).await;
        let body = created.json();
        let id = body["id"].as_str().context("a todo has an id")?.to_owned();
        assert_eq!((created.status.as_u16(), created.header("etag")), (201, "\"1\""));
        assert_eq!(created.header("location"), format!("/todos/{id}"));
        assert_eq!(
            (&body["title"], &body["completed"]),
            (&json!("Buy groceries"), &json!(false))
        );
        assert_eq!(
            (&body["dueAt"], &body["version"]),
            (&json!("2026-02-01T12:00:00.000Z"), &json!(1))
        );
        assert_eq!(
            world.get(&format!("/todos/{id}")).await.json(),
            body,
            "what was answered is what is read"
        );

        let renamed = patch(&world, &id, None, json!({ "title": "Buy bread" })).await;
        assert_eq!((renamed.status.as_u16(), renamed.header("etag")), (200, "\"2\""));
        assert_eq!(
            renamed.json()["dueAt"],
            "2026-02-01T12:00:00.000Z",
            "what a change doesn't mention stays"
        );
        let cleared = patch(&world, &id, None, json!({ "dueAt": null })).await;
        assert_eq!(
            (&cleared.json()["title"], cleared.json().get("dueAt")),
            (&json!("Buy bread"), None)
        );

        let completed = complete(&world, &id).await;
        assert_eq!(
            (completed.status.as_u16(), &completed.json()["completed"]),
            (200, &json!(true))
        );
        assert!(completed.json()["completedAt"].is_string(), "{}", completed.json());

        assert_eq!(delete(&world, &id, &[]).await.status, 204);
        assert_eq!(world.get(&format!("/todos/{id}")).await.status, 404);
        let types = ["created", "changed", "changed", "completed", "deleted"].map(|kind| format!("todos.task.{kind}"));
        assert_eq!(history(&world, &id)?, types);
        Ok(())
    })
}

#[test]
fn what_changes_nothing_appends_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = create(&world, "Buy groceries", "u1").await;
        assert_eq!(
            patch(&world, &id, None, json!({ "title": "Buy groceries" }))
                .await
                .header("etag"),
            "\"1\""
        );
        assert_eq!(patch(&world, &id, None, json!({})).await.status, 200);
        assert_eq!(complete(&world, &id).await.header("etag"), "\"2\"");
        assert_eq!(complete(&world, &id).await.header("etag"), "\"2\"");
        assert_eq!(history(&world, &id)?, ["todos.task.created", "todos.task.completed"]);
        Ok(())
    })
}

#[test]
fn an_event_says_what_it_is_about_and_where_it_comes_from() -> anyhow::Result<()> {
    simulate(async |world| {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = [("content-type", "application/json"), ("traceparent", trace)];
        let body = todo("Buy groceries", "u1").to_string();
        let created = world.request(Method::POST, "/todos", &headers, body).await.json();
        let row = world
            .sql
            .query("SELECT source, subject, version, extensions, data FROM journal")?
            .remove(0);
        let [
            Stored::Text(source),
            Stored::Text(subject),
            Stored::Integer(1),
            Stored::Text(extensions),
            Stored::Text(data),
        ] = &row[..]
        else {
            anyhow::bail!("the event has another shape: {row:?}");
        };
        assert_eq!((&**source, &json!(subject)), ("/todos", &created["id"]));
        assert_eq!(serde_json::from_str::<Value>(extensions)?["traceparent"], trace);
        let expected = json!({ "title": "Buy groceries", "userId": "u1", "userVerified": false });
        assert_eq!(serde_json::from_str::<Value>(data)?, expected);
        Ok(())
    })
}

#[test]
fn a_list_has_pages_and_leaves_out_what_is_deleted() -> anyhow::Result<()> {
    simulate(async |world| {
        let mut ids = Vec::new();
        for number in 0..7 {
            ids.push(create(&world, &format!("todo {number}"), "u1").await);
            create(&world, "not mine", "u2").await;
        }
        assert_eq!(delete(&world, &ids[4], &[]).await.status, 204);

        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/todos?userId=u1&limit=2{after}")).await.json();
            let todos = page["todos"].as_array().context("a page has todos")?;
            assert!(todos.len() <= 2, "{page}");
            listed.extend(
                todos
                    .iter()
                    .map(|todo| todo["id"].as_str().unwrap_or_default().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
            // A page goes on behind its last todo even when that is gone by then.
            if listed.len() == 2 {
                assert_eq!(delete(&world, next, &[]).await.status, 204);
            }
        }
        ids.remove(4);
        assert_eq!(listed, ids, "oldest first, each once");
        assert_eq!(
            world.get("/todos?userId=nobody").await.json(),
            json!({ "todos": [], "next": null })
        );
        Ok(())
    })
}

#[test]
fn a_stale_version_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    simulate(async |world| {
        let id = create(&world, "Buy groceries", "u1").await;
        assert_eq!(
            patch(&world, &id, Some("\"1\""), json!({ "title": "Buy bread" }))
                .await
                .status,
            200
        );

        let stale = patch(&world, &id, Some("\"1\""), json!({ "title": "Buy milk" })).await;
        assert_eq!(
            (stale.status.as_u16(), stale.header("etag")),
            (412, "\"2\""),
            "{:?}",
            stale.json()
        );
        assert_eq!(stale.header("content-type"), "application/problem+json");
        assert_eq!(delete(&world, &id, &[("if-match", "\"1\"")]).await.status, 412);
        assert_eq!(
            patch(&world, &id, Some("2"), json!({ "title": "Buy milk" }))
                .await
                .status,
            400
        );
        assert_eq!(events(&world), 2);

        assert_eq!(
            patch(&world, &id, Some("*"), json!({ "title": "Buy milk" }))
                .await
                .header("etag"),
            "\"3\""
        );
        assert_eq!(delete(&world, &id, &[("if-match", "\"3\"")]).await.status, 204);
        Ok(())
    })
}

/// A request: method, path, headers and body.
type Wanted<'r> = (Method, &'r str, &'r [(&'r str, &'r str)], Value);

/// Sends two requests to different nodes, and lets neither go on before both have read the todo.
async fn at_the_same_moment(
    world: &World,
    [(one, first), (other, second)]: [(&Node, Wanted<'_>); 2],
) -> anyhow::Result<(Answer, Answer)> {
    let send = async |node: &Node, (method, path, headers, body): Wanted<'_>| {
        node.faults.hit(
            "todos",
            "sqlite.execute",
            "FROM journal LEFT JOIN snapshots",
            1,
            Fault::Stall,
            When::After,
        );
        node.request(method, path, headers, body.to_string()).await
    };
    let met = one.faults.met() + other.faults.met();
    let release = async {
        let read = async || one.faults.met() + other.faults.met() == met + 2;
        world.until("both have read", Duration::from_secs(1), read).await?;
        one.faults.release();
        other.faults.release();
        anyhow::Ok(())
    };
    let (one, other, released) = tokio::join!(send(one, first), send(other, second), release);
    released.map(|()| (one, other))
}

#[test]
fn a_todo_that_two_complete_at_once_is_completed_once() -> anyhow::Result<()> {
    simulate(async |world| {
        let (here, there) = (world.node(), world.add_node()?);
        let id = create(&world, "Buy groceries", "u1").await;
        let path = format!("/todos/{id}/complete");
        let complete = || (Method::POST, &*path, JSON, json!({}));
        let (one, other) = at_the_same_moment(&world, [(&here, complete()), (&there, complete())]).await?;
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
        assert_eq!(one.json(), other.json());
        assert_eq!(history(&world, &id)?, ["todos.task.created", "todos.task.completed"]);
        Ok(())
    })
}

#[test]
fn changes_at_once_are_all_made_unless_they_insist_on_a_version() -> anyhow::Result<()> {
    simulate(async |world| {
        let (here, there) = (world.node(), world.add_node()?);
        let id = create(&world, "Buy groceries", "u1").await;
        let path = format!("/todos/{id}");
        let due = (
            Method::PATCH,
            &*path,
            JSON,
            json!({ "dueAt": "2026-02-01T12:00:00.000Z" }),
        );
        let title = (Method::PATCH, &*path, JSON, json!({ "title": "Buy bread" }));
        let (one, other) = at_the_same_moment(&world, [(&here, due), (&there, title)]).await?;
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
        let todo = world.get(&path).await.json();
        assert_eq!((&todo["title"], &todo["version"]), (&json!("Buy bread"), &json!(3)));
        assert_eq!(todo["dueAt"], "2026-02-01T12:00:00.000Z");

        let insist = [("content-type", "application/json"), ("if-match", "\"3\"")];
        let change = |title: &str| (Method::PATCH, &*path, &insist[..], json!({ "title": title }));
        let both = [(&*here, change("this")), (&*there, change("that"))];
        let (one, other) = at_the_same_moment(&world, both).await?;
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "one wins, the other learns of it");
        assert_eq!(events(&world), 4);
        Ok(())
    })
}

#[test]
fn every_mistake_of_a_request_is_told_at_once() -> anyhow::Result<()> {
    simulate(async |world| {
        let wrong = json!({ "title": " ", "dueAt": "tomorrow" });
        let answer = world.post("/todos", &wrong).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (422, "application/problem+json")
        );
        let problem = answer.json();
        let errors = problem["errors"].as_array().context("a problem has errors")?;
        let fields: Vec<_> = errors
            .iter()
            .map(|error| error["field"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(fields, ["title", "userId", "dueAt"], "{problem}");
        assert!(
            errors
                .iter()
                .all(|error| error["detail"].as_str().is_some_and(|detail| !detail.is_empty()))
        );

        let id = create(&world, "Buy groceries", "u1").await;
        let wrong = patch(
            &world,
            &id,
            None,
            json!({ "title": "", "dueAt": "2026-02-30T00:00:00Z" }),
        )
        .await;
        assert_eq!(
            wrong.json()["errors"].as_array().map(Vec::len),
            Some(2),
            "{}",
            wrong.json()
        );
        assert_eq!(events(&world), 1, "only the right one is in the journal");
        Ok(())
    })
}

#[test]
fn what_is_not_there_is_not_found() -> anyhow::Result<()> {
    simulate(async |world| {
        let deleted = create(&world, "Buy groceries", "u1").await;
        assert_eq!(delete(&world, &deleted, &[]).await.status, 204);
        for id in ["019b76da-a800-7000-8000-000000000000", "x", deleted.as_str()] {
            assert_eq!(world.get(&format!("/todos/{id}")).await.status, 404, "{id}");
            assert_eq!(
                patch(&world, id, None, json!({ "title": "x" })).await.status,
                404,
                "{id}"
            );
            assert_eq!(complete(&world, id).await.status, 404, "{id}");
            assert_eq!(delete(&world, id, &[]).await.status, 404, "{id}");
        }
        assert_eq!(world.get("/todos?userId=u1&after=x").await.status, 400);
        assert_eq!(world.get("/todos").await.status, 400);
        assert_eq!(events(&world), 2);
        Ok(())
    })
}

#[test]
fn a_todo_that_could_not_be_written_was_not_accepted() -> anyhow::Result<()> {
    simulate(async |world| {
        let faults = &world.node().faults;
        for fault in [Fault::Fail, Fault::Trap] {
            faults.hit("todos", "sqlite.execute", "INTO journal", 1, fault, When::Before);
            let refused = world.post("/todos", &todo("Buy groceries", "u1")).await;
            assert!(refused.status.is_server_error(), "{fault:?}: {}", refused.status);
            assert_eq!(refused.header("content-type"), "application/problem+json");
            assert_eq!(events(&world), 0);
        }
        create(&world, "Buy groceries", "u1").await;
        assert_eq!(events(&world), 1, "the function is well again");
        Ok(())
    })
}
