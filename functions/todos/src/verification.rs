//! Whether a todo's user exists.
//!
//! The users function is asked when the todo is created. When it can't be asked the todo is accepted all the same, and an
//! event says that its user is still to be verified: a subscription brings that event back here until the users function
//! answers. Nobody's todo is lost because another function is down.
//!
//! Users gives out UUIDs. Any other id is somebody else's, and isn't asked for.

use std::cell::OnceCell;
use std::rc::Rc;

use futures::future::join_all;
use selvedge::decide::{self, Context};
use selvedge::http::{Call, FieldProblem, Method, Problem, StatusCode, Upstream};
use selvedge::retry::RetryPolicy;
use selvedge::{Error, Event, Host, Outcome};
use serde::Deserialize;

use crate::task::{Command, Task, User};

/// How long one question may take, and both of them when the first has no answer, in milliseconds: a caller waits for
/// them.
const TIMEOUT_MS: u64 = 1_000;
const TOTAL_MS: u64 = 2_000;
const ATTEMPTS_MAX: u32 = 2;
const RETRY_AFTER_MS: u64 = 50;

/// The users function, and what the application's variables say of it.
pub struct Users {
    upstream: Upstream,
    settings: OnceCell<Settings>,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    is_asked: bool,
    is_required: bool,
}

impl Users {
    pub fn new() -> Self {
        let retry = RetryPolicy {
            max_attempts: ATTEMPTS_MAX,
            initial_interval_ms: RETRY_AFTER_MS,
            ..RetryPolicy::default()
        };
        let upstream = Upstream::new("users").timeout_ms(TIMEOUT_MS).total_ms(TOTAL_MS);
        Self {
            upstream: upstream.retry(retry),
            settings: OnceCell::new(),
        }
    }

    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What is known of a new todo's user, or why the todo is refused.
    pub async fn verify(&self, host: &Host, user_id: &str, trace: Option<&str>) -> Result<User, Problem> {
        let Settings { is_asked, is_required } = self.settings(host).await?;
        let is_ours = selvedge_events::is_uuid(user_id);
        if !(is_required || is_asked && is_ours) {
            return Ok(User::Foreign);
        }
        if !is_ours {
            return Err(unknown());
        }
        match self.knows(host, user_id, trace).await {
            Ok(true) => Ok(User::Verified),
            Ok(false) => Err(unknown()),
            Err(error) if is_required => Err(error.into()),
            Err(error) => {
                eprintln!("warning: a todo's user is to be verified later: {error}");
                Ok(User::Unverified)
            }
        }
    }

    async fn knows(&self, host: &Host, user_id: &str, trace: Option<&str>) -> Result<bool, Error> {
        let call = Call::chained(Method::GET, "users", &format!("/users/{user_id}")).traced(trace);
        let target = call.target();
        let answer = self.upstream.send(host, call).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.successful(&target).map(|_| true)
    }

    /// Read once: an instance doesn't live long.
    async fn settings(&self, host: &Host) -> Result<Settings, Error> {
        if let Some(settings) = self.settings.get() {
            return Ok(*settings);
        }
        let settings = Settings {
            is_asked: choice(host, "verify_users", ["on", "off"]).await?,
            is_required: !choice(host, "require_verified_user", ["false", "true"]).await?,
        };
        Ok(*self.settings.get_or_init(|| settings))
    }
}

/// Whether a variable has the first of its two values, which it also has when it isn't set.
async fn choice(host: &Host, name: &str, values: [&str; 2]) -> Result<bool, Error> {
    let value = host.variable(name).await?;
    let value = value.as_deref().unwrap_or(values[0]);
    if values.contains(&value) {
        return Ok(value == values[0]);
    }
    Err(Error::Configuration {
        name: name.to_owned(),
        reason: format!("is neither {} nor {}: set it to one of them", values[0], values[1]),
    })
}

fn unknown() -> Problem {
    let detail = "is no user's id: register the user first, or correct the id";
    Problem::invalid(vec![FieldProblem::new("userId", detail)])
}

/// Verifies the users of todos that were accepted without. The first goes alone: it may be the breaker's probe, by which
/// the others' way is free again.
pub async fn catch_up(host: Host, events: Vec<Event>, users: Rc<Users>) -> Result<Vec<Outcome>, Error> {
    let Some((first, others)) = events.split_first() else {
        return Ok(Vec::new());
    };
    let mut outcomes = vec![catch_up_one(&host, first, &users).await];
    let others = others.iter().map(|event| catch_up_one(&host, event, &users));
    outcomes.extend(join_all(others).await);
    Ok(outcomes)
}

async fn catch_up_one(host: &Host, event: &Event, users: &Users) -> Outcome {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct About {
        user_id: String,
    }
    let (id, user_id) = match (event.subject.as_deref(), event.data_as()) {
        (Some(id), Ok(About { user_id })) if selvedge_events::is_uuid(&user_id) => (id, user_id),
        (_, Err(error)) => return Outcome::drop(error.to_string()),
        _ => return Outcome::drop("the event names no todo and user: it isn't one that todos appends"),
    };
    let command = match users.knows(host, &user_id, event.traceparent()).await {
        Ok(is_known) => Command::Verify { is_known },
        Err(error) => return Outcome::retry(error.to_string()),
    };
    match decide::change::<Task>(host, id, &command, Context::caused_by(event)) {
        Ok(_) => Outcome::Success,
        Err(rejection) => Outcome::retry(rejection.to_string()),
    }
}
