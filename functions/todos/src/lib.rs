//! Todos: what someone wants to do, until it is done.
//!
//! A todo is the sum of its events ([`task`]). Commands append to its stream, reads replay it, and the list of someone's
//! todos comes from the journal too ([`list`]): what was answered is what everybody reads from then on.
//!
//! Whether a todo's user exists the users function is asked, at once or, when it is down, later ([`verification`]).

mod list;
mod task;
mod verification;

use std::rc::Rc;

use selvedge::decide::{self, Context, Versioned};
use selvedge::http::{FieldProblem, Problem, Request, Response, StatusCode};
use selvedge::idempotency::Key;
use selvedge::{Entity, Function, Host};
use serde::{Deserialize, Deserializer};

use crate::task::{Command, Task, User, View};
use crate::verification::Users;

selvedge::export!(function);

fn function() -> Function {
    let users = Rc::new(Users::new());
    let (asked, asked_later) = (users.clone(), users.clone());
    Function::new("todos")
        .publishes(&["todos.*.*"])
        .subscribes(&["todos.verification.requested"])
        .tables(list::TABLES)
        .upstream(users.upstream())
        .post("/todos", move |host, request| create(host, request, asked.clone()))
        .get("/todos", list::answer)
        .get("/todos/:id", show)
        .patch("/todos/:id", change)
        .post("/todos/:id/complete", complete)
        .delete("/todos/:id", delete)
        .effect(move |host, events| verification::catch_up(host, events, asked_later.clone()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewTask {
    title: Option<String>,
    user_id: Option<String>,
    due_at: Option<String>,
}

async fn create(host: Host, request: Request, users: Rc<Users>) -> Result<Response, Problem> {
    let NewTask { title, user_id, due_at } = request.json()?;
    let mut problems = Vec::new();
    let title = checked(&mut problems, "title", task::check_title(title.unwrap_or_default()));
    let user_id = task::check_user_id(user_id.unwrap_or_default());
    let user_id = checked(&mut problems, "userId", user_id);
    let due_at = due_at.and_then(|text| checked(&mut problems, "dueAt", task::check_due_at(&text)));
    Problem::refuse_any(problems)?;
    let key = Key::of(&request, Task::SOURCE)?;
    let id = key.as_ref().map_or_else(|| host.new_id(), Key::entity_id);
    let context = Context {
        key: key.as_ref(),
        trace: request.header("traceparent"),
        ..Context::default()
    };
    let user = match users.verify(&host, &user_id, context.trace).await {
        Ok(user) => user,
        // This request was accepted before: it gets its first answer again, whatever became of the user.
        Err(_) if key.is_some() && decide::load::<Task>(&host, &id)?.is_some() => User::Foreign,
        Err(problem) => return Err(problem),
    };
    let command = Command::Create {
        title,
        user_id,
        due_at,
        user,
    };
    let created = decide::create::<Task>(&host, &id, &command, context)?;
    Ok(Response::created(format!("/todos/{id}"), &View::of(&id, &created)).etag(created.version))
}

async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    let id = request.parameter("id");
    match decide::load::<Task>(&host, id)? {
        Some(task) if task.state.exists() => Ok(answer(id, &task)),
        _ => Err(Problem::from(task::Refusal::NoSuchTask)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    due_at: Option<Option<String>>,
}

/// Tells a field that is `null` from one that isn't there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

async fn change(host: Host, request: Request) -> Result<Response, Problem> {
    let Changes { title, due_at } = request.json()?;
    let mut problems = Vec::new();
    let command = Command::Change {
        title: title.map(|text| checked(&mut problems, "title", task::check_title(text))),
        due_at: due_at.map(|due_at| due_at.and_then(|text| checked(&mut problems, "dueAt", task::check_due_at(&text)))),
    };
    Problem::refuse_any(problems)?;
    let changed = apply(&host, &request, &command, None)?;
    Ok(answer(request.parameter("id"), &changed))
}

async fn complete(host: Host, request: Request) -> Result<Response, Problem> {
    let key = Key::of(&request, Task::SOURCE)?;
    let completed = apply(&host, &request, &Command::Complete, key.as_ref())?;
    Ok(answer(request.parameter("id"), &completed))
}

async fn delete(host: Host, request: Request) -> Result<Response, Problem> {
    apply(&host, &request, &Command::Delete, None)?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

fn apply(host: &Host, request: &Request, command: &Command, key: Option<&Key>) -> Result<Versioned<Task>, Problem> {
    let context = Context {
        expected_version: request.if_match()?,
        key,
        trace: request.header("traceparent"),
        ..Context::default()
    };
    Ok(decide::change::<Task>(host, request.parameter("id"), command, context)?)
}

fn answer(id: &str, task: &Versioned<Task>) -> Response {
    Response::ok(&View::of(id, task)).etag(task.version)
}

/// The value, or a stand-in for it once its problem is noted: all problems are told at once.
fn checked<T: Default>(problems: &mut Vec<FieldProblem>, field: &str, value: Result<T, String>) -> T {
    value.unwrap_or_else(|detail| {
        problems.push(FieldProblem::new(field, detail));
        T::default()
    })
}
