//! The list of someone's todos.
//!
//! It is read from the journal through an index, so it needs no second write and never lags behind what was answered.
//! The index covers the events that create a todo and nothing else: that is all it costs the others.

use selvedge::decide::replay;
use selvedge::host::Row;
use selvedge::http::{Problem, Request, Response};
use selvedge::journal::{self, Record};
use selvedge::schema::Tables;
use selvedge::{Entity, Error, Host};
use serde_json::json;

use crate::task::{Task, View};

pub const TABLES: Tables = Tables {
    owner: "todos",
    migrations: &[&[
        "CREATE INDEX IF NOT EXISTS todos_by_user ON journal (json_extract(data, '$.userId'), position)
        WHERE type = 'todos.task.created' AND source = '/todos'",
    ]],
};

/// Oldest first. `after` is the id of the last todo of the page before.
pub async fn answer(host: Host, request: Request) -> Result<Response, Problem> {
    let user_id = request.required_query("userId")?;
    let limit = request.page_items()?;
    let after = match request.query("after") {
        None => 0,
        Some(id) => position(&host, &id)?
            .ok_or_else(|| Problem::bad_request("`after` must be the id of a todo: take `next` of the page before."))?,
    };
    // One more than asked for tells whether there is a next page.
    let records = page(&host, &user_id, after, limit + 1)?;
    let mut todos = Vec::new();
    for stream in records.chunk_by(|one, next| one.stream == next.stream) {
        let id = stream[0].event.subject.clone().unwrap_or_default();
        todos.push((id, replay::<Task>(stream)?));
    }
    let next = (todos.len() > limit as usize).then(|| todos[limit as usize - 1].0.clone());
    todos.truncate(limit as usize);
    let views: Vec<_> = todos.iter().map(|(id, task)| View::of(id, task)).collect();
    Ok(Response::ok(&json!({ "todos": views, "next": next })))
}

/// Where the todo with this id begins in the journal.
fn position(host: &Host, id: &str) -> Result<Option<i64>, Error> {
    let statement = "SELECT position FROM journal WHERE stream = ? AND version = 1";
    let row = host
        .execute(statement, vec![Task::stream(id).into()])?
        .into_iter()
        .next();
    row.map(|mut row: Row| row.integer()).transpose()
}

/// All events of the todos of a page, todo by todo.
fn page(host: &Host, user_id: &str, after: i64, limit: u32) -> Result<Vec<Record>, Error> {
    let statement = format!(
        "WITH page AS (
             SELECT created.stream AS stream, created.position AS first FROM journal AS created
             WHERE created.type = 'todos.task.created' AND created.source = '/todos'
                 AND json_extract(created.data, '$.userId') = ? AND created.position > ?
                 AND NOT EXISTS (SELECT 1 FROM journal AS deleted
                     WHERE deleted.stream = created.stream AND deleted.type = 'todos.task.deleted')
             ORDER BY created.position LIMIT ?)
         SELECT {} FROM page JOIN journal ON journal.stream = page.stream ORDER BY page.first, journal.version",
        journal::COLUMNS
    );
    journal::records(host.execute(&statement, vec![user_id.into(), after.into(), limit.into()])?)
}
