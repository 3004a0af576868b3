//! A task: its commands, its events, and its rules.

use selvedge::decide::{NewEvent, Versioned};
use selvedge::http::Problem;
use selvedge::snapshot::Snapshots;
use selvedge::{Entity, Error, Event, Timestamp};
use serde::{Deserialize, Serialize};

pub const CREATED: &str = "todos.task.created";
pub const CHANGED: &str = "todos.task.changed";
pub const COMPLETED: &str = "todos.task.completed";
pub const DELETED: &str = "todos.task.deleted";
/// The user couldn't be verified when the task was created, and is to be verified later.
pub const VERIFICATION_REQUESTED: &str = "todos.verification.requested";
pub const VERIFICATION_CONFIRMED: &str = "todos.verification.confirmed";
/// There is no such user: the task was accepted in vain.
pub const VERIFICATION_DENIED: &str = "todos.verification.denied";

const TITLE_CHARS_MAX: usize = 500;
const USER_ID_CHARS_MAX: usize = 200;

/// A task as its events have made it. A change of its fields is a new shape of its snapshots: see `SNAPSHOTS`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    status: Status,
    content: Content,
    awaits_verification: bool,
    created_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Unborn,
    Open,
    Completed,
    Rejected,
    Deleted,
}

/// The data of every event of a task: its content once the event has happened. So whoever hears one event knows whom
/// and what it is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    title: String,
    user_id: String,
    /// Whether the users function said that there is such a user. It may still be asked, or its business isn't this id.
    #[serde(default)]
    user_verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
}

/// What is known of a new task's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// The users function knows the user.
    Verified,
    /// It couldn't be asked, and is to be asked later.
    Unverified,
    /// It isn't asked: the id isn't one that it gives.
    Foreign,
}

/// What can be asked of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Create {
        title: String,
        user_id: String,
        due_at: Option<Timestamp>,
        user: User,
    },
    /// `None` leaves a field as it is.
    Change {
        title: Option<String>,
        due_at: Option<Option<Timestamp>>,
    },
    Complete,
    Delete,
    /// Notes what the users function said of the user when it was asked later.
    Verify {
        is_known: bool,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoSuchTask,
    AlreadyCreated,
    /// Its user doesn't exist.
    Rejected,
}

impl Entity for Task {
    const KIND: &'static str = "todos.task";
    const SOURCE: &'static str = "/todos";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::of_shape(1));
    type Command = Command;
    type Refusal = Refusal;

    fn decide(&self, command: &Command) -> Result<Vec<NewEvent>, Refusal> {
        let event = match command {
            Command::Create { .. } if self.status != Status::Unborn => return Err(Refusal::AlreadyCreated),
            Command::Create {
                title,
                user_id,
                due_at,
                user,
            } => {
                let content = Content {
                    title: title.clone(),
                    user_id: user_id.clone(),
                    user_verified: *user == User::Verified,
                    due_at: *due_at,
                };
                let mut events = vec![NewEvent::new(CREATED, &content)];
                if *user == User::Unverified {
                    events.push(NewEvent::new(VERIFICATION_REQUESTED, &content));
                }
                return Ok(events);
            }
            Command::Verify { .. } if !self.exists() || !self.awaits_verification => return Ok(Vec::new()),
            Command::Verify { is_known } => {
                let mut content = self.content.clone();
                content.user_verified = *is_known;
                let event_type = if *is_known {
                    VERIFICATION_CONFIRMED
                } else {
                    VERIFICATION_DENIED
                };
                NewEvent::new(event_type, &content)
            }
            _ if !self.exists() => return Err(Refusal::NoSuchTask),
            Command::Delete => NewEvent::new(DELETED, &self.content),
            _ if self.status == Status::Rejected => return Err(Refusal::Rejected),
            Command::Change { title, due_at } => {
                let mut content = self.content.clone();
                content.title = title.clone().unwrap_or(content.title);
                content.due_at = due_at.unwrap_or(content.due_at);
                if content == self.content {
                    return Ok(Vec::new());
                }
                NewEvent::new(CHANGED, &content)
            }
            Command::Complete if self.status == Status::Completed => return Ok(Vec::new()),
            Command::Complete => NewEvent::new(COMPLETED, &self.content),
        };
        Ok(vec![event])
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        match &*event.event_type {
            CREATED => {
                self.status = Status::Open;
                self.created_at = event.time;
            }
            COMPLETED => {
                self.status = Status::Completed;
                self.completed_at = event.time;
            }
            DELETED => self.status = Status::Deleted,
            CHANGED => {}
            VERIFICATION_REQUESTED => self.awaits_verification = true,
            VERIFICATION_CONFIRMED => self.awaits_verification = false,
            VERIFICATION_DENIED => {
                self.awaits_verification = false;
                self.status = Status::Rejected;
            }
            // An event of a newer version of this function: it knows what to make of it, this one doesn't.
            _ => return Ok(()),
        }
        self.content = event.data_as()?;
        Ok(())
    }
}

impl Task {
    /// Whether there is such a task: it was created and not deleted.
    pub fn exists(&self) -> bool {
        matches!(self.status, Status::Open | Status::Completed | Status::Rejected)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchTask => Self::not_found("There is no todo with this id."),
            Refusal::AlreadyCreated => Self::conflict("There is a todo with this id already."),
            Refusal::Rejected => {
                Self::conflict("The user of this todo doesn't exist. All that can be done with it is to delete it.")
            }
        }
    }
}

/// A task as callers see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    id: &'a str,
    #[serde(flatten)]
    content: &'a Content,
    completed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rejected: bool,
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    version: i64,
}

impl<'a> View<'a> {
    pub fn of(id: &'a str, task: &'a Versioned<Task>) -> Self {
        Self {
            id,
            content: &task.state.content,
            completed: task.state.status == Status::Completed,
            rejected: task.state.status == Status::Rejected,
            created_at: task.state.created_at,
            completed_at: task.state.completed_at,
            version: task.version,
        }
    }
}

pub fn check_title(title: String) -> Result<String, String> {
    match title.chars().count() {
        _ if title.trim().is_empty() => Err("is missing or blank: say what is to be done".to_owned()),
        0..=TITLE_CHARS_MAX => Ok(title),
        count => Err(format!(
            "has {count} characters, the limit is {TITLE_CHARS_MAX}: shorten it"
        )),
    }
}

pub fn check_user_id(user_id: String) -> Result<String, String> {
    match user_id.chars().count() {
        _ if user_id.trim().is_empty() => Err("is missing or blank: say whose todo it is".to_owned()),
        _ if user_id.chars().any(char::is_control) => Err("has control characters: leave them out".to_owned()),
        0..=USER_ID_CHARS_MAX => Ok(user_id),
        count => Err(format!(
            "has {count} characters, the limit is {USER_ID_CHARS_MAX}: shorten it"
        )),
    }
}

pub fn check_due_at(text: &str) -> Result<Option<Timestamp>, String> {
    text.parse()
        .map(Some)
        .map_err(|_| "is no RFC 3339 time: write it like 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests;
