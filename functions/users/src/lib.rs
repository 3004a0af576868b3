//! Users: who has an account.
//!
//! An account is the sum of its events ([`account`]). An open account has its email address for itself: the statement that
//! appends the registration also takes the address, and fails when somebody has it ([`address`]). Whoever closes an
//! account gives the address free.

mod account;
mod address;

use selvedge::decide::{self, Context, Rejection, Versioned};
use selvedge::http::{FieldProblem, Problem, Request, Response, StatusCode};
use selvedge::idempotency::Key;
use selvedge::{Entity, Error, Function, Host};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::account::{Account, Command, Refusal, View};

selvedge::export!(function);

fn function() -> Function {
    Function::new("users")
        .publishes(&["users.*.*"])
        .tables(address::TABLES)
        .post("/users", register)
        .get("/users/:id", show)
        .patch("/users/:id", rename)
        .delete("/users/:id", close)
}

#[derive(Deserialize)]
struct NewAccount {
    email: Option<String>,
    name: Option<String>,
}

async fn register(host: Host, request: Request) -> Result<Response, Problem> {
    let NewAccount { email, name } = request.json()?;
    let (email, name) = (
        address::check(&email.unwrap_or_default()),
        account::check_name(name.unwrap_or_default()),
    );
    let command = match (email, name) {
        (Ok(email), Ok(name)) => Command::Register { email, name },
        (email, name) => return Err(invalid([("email", email.err()), ("name", name.err())])),
    };
    let key = Key::of(&request, Account::SOURCE)?;
    let id = key.as_ref().map_or_else(|| host.new_id(), Key::entity_id);
    let context = Context {
        key: key.as_ref(),
        trace: request.header("traceparent"),
        ..Context::default()
    };
    match decide::create::<Account>(&host, &id, &command, context) {
        Ok(account) => {
            let view = View::of(&id, &account);
            Ok(Response::created(format!("/users/{id}"), &view).etag(account.version))
        }
        Err(Rejection::Failed(Error::Constraint { columns })) if address::is_taken(&columns) => Err(Problem::conflict(
            "There is an account with this email address already. Use another address, or close that account first.",
        )),
        Err(rejection) => Err(rejection.into()),
    }
}

async fn show(host: Host, request: Request) -> Result<Response, Problem> {
    let id = request.parameter("id");
    match decide::load::<Account>(&host, id)? {
        Some(account) if account.state.is_open() => Ok(answer(id, &account)),
        _ => Err(Refusal::NoSuchUser.into()),
    }
}

#[derive(Deserialize)]
struct Changes {
    name: Option<String>,
    email: Option<IgnoredAny>,
}

async fn rename(host: Host, request: Request) -> Result<Response, Problem> {
    let Changes { name, email } = request.json()?;
    let fixed = "can't be changed: register the new address, and close this account";
    let email = email.map(|_| fixed.to_owned());
    let command = match (account::check_name(name.unwrap_or_default()), email) {
        (Ok(name), None) => Command::Rename { name },
        (name, email) => return Err(invalid([("name", name.err()), ("email", email)])),
    };
    let renamed = apply(&host, &request, &command)?;
    Ok(answer(request.parameter("id"), &renamed))
}

async fn close(host: Host, request: Request) -> Result<Response, Problem> {
    apply(&host, &request, &Command::Close)?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

fn apply(host: &Host, request: &Request, command: &Command) -> Result<Versioned<Account>, Problem> {
    let context = Context {
        expected_version: request.if_match()?,
        trace: request.header("traceparent"),
        ..Context::default()
    };
    Ok(decide::change::<Account>(
        host,
        request.parameter("id"),
        command,
        context,
    )?)
}

fn answer(id: &str, account: &Versioned<Account>) -> Response {
    Response::ok(&View::of(id, account)).etag(account.version)
}

/// All problems are told at once.
fn invalid<const FIELDS: usize>(fields: [(&str, Option<String>); FIELDS]) -> Problem {
    let wrong = fields
        .into_iter()
        .filter_map(|(field, detail)| Some(FieldProblem::new(field, detail?)));
    Problem::invalid(wrong.collect())
}
