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

const TITLE_CHARS_MAX: usize = 500;
const USER_ID_CHARS_MAX: usize = 200;

/// A task as its events have made it. A change of its fields is a new shape of its snapshots: see `SNAPSHOTS`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    status: Status,
    content: Content,
    created_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Unborn,
    Open,
    Completed,
    Deleted,
}

/// The data of every event of a task: its content once the event has happened. So whoever hears one event knows whom
/// and what it is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    title: String,
    user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
}

/// What can be asked of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Create {
        title: String,
        user_id: String,
        due_at: Option<Timestamp>,
    },
    /// `None` leaves a field as it is.
    Change {
        title: Option<String>,
        due_at: Option<Option<Timestamp>>,
    },
    Complete,
    Delete,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoSuchTask,
    AlreadyCreated,
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
            Command::Create { title, user_id, due_at } => {
                let content = Content {
                    title: title.clone(),
                    user_id: user_id.clone(),
                    due_at: *due_at,
                };
                NewEvent::new(CREATED, &content)
            }
            _ if !self.exists() => return Err(Refusal::NoSuchTask),
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
            Command::Delete => NewEvent::new(DELETED, &self.content),
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
        matches!(self.status, Status::Open | Status::Completed)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchTask => Self::not_found("There is no todo with this id."),
            Refusal::AlreadyCreated => Self::conflict("There is a todo with this id already."),
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
mod tests {
    use super::*;

    fn after(commands: &[Command]) -> Task {
        let mut task = Task::default();
        for command in commands {
            for event in task.decide(command).expect("is allowed") {
                task.evolve(&happened(event)).expect("its own events");
            }
        }
        task
    }

    fn happened(event: NewEvent) -> Event {
        Event::new("1", Task::SOURCE, event.event_type)
            .with_time(Timestamp::from_unix_ms(1_000))
            .with_data("application/json", event.data)
    }

    fn create() -> Command {
        Command::Create {
            title: "Buy groceries".to_owned(),
            user_id: "u1".to_owned(),
            due_at: None,
        }
    }

    fn rename(title: &str) -> Command {
        Command::Change {
            title: Some(title.to_owned()),
            due_at: None,
        }
    }

    #[test]
    fn a_created_task_is_open_and_has_its_content() {
        let task = after(&[create()]);
        assert_eq!(
            (task.status, &*task.content.title, &*task.content.user_id),
            (Status::Open, "Buy groceries", "u1")
        );
        assert_eq!(task.created_at, Some(Timestamp::from_unix_ms(1_000)));
    }

    #[test]
    fn changes_keep_what_they_do_not_mention() {
        let due_at = Some(Timestamp::from_unix_ms(5_000));
        let task = after(&[
            create(),
            Command::Change {
                title: None,
                due_at: Some(due_at),
            },
            rename("Buy bread"),
        ]);
        assert_eq!((&*task.content.title, task.content.due_at), ("Buy bread", due_at));
        let cleared = after(&[
            create(),
            Command::Change {
                title: None,
                due_at: Some(None),
            },
        ]);
        assert_eq!(cleared.content.due_at, None);
    }

    #[test]
    fn a_snapshot_keeps_the_whole_task_in_the_shape_it_says() {
        let task = after(&[create(), Command::Complete]);
        let text = serde_json::to_string(&task).expect("JSON");
        let shape_1 = r#"{"status":"Completed","content":{"title":"Buy groceries","userId":"u1"},"created_at":"1970-01-01T00:00:01.000Z","completed_at":"1970-01-01T00:00:01.000Z"}"#;
        assert_eq!(text, shape_1, "another text is another shape: raise the number in SNAPSHOTS");
        assert_eq!(serde_json::from_str::<Task>(&text).expect("a task"), task);
    }

    #[test]
    fn what_changes_nothing_is_no_event() {
        let task = after(&[create(), Command::Complete]);
        assert_eq!(task.decide(&Command::Complete), Ok(Vec::new()));
        assert_eq!(task.decide(&rename("Buy groceries")), Ok(Vec::new()));
    }

    #[test]
    fn every_event_says_whom_and_what_it_is_about() {
        let task = after(&[create()]);
        for command in [rename("Buy bread"), Command::Complete, Command::Delete] {
            let events = task.decide(&command).expect("is allowed");
            let content: Content = happened(events.into_iter().next().expect("one"))
                .data_as()
                .expect("a content");
            assert_eq!(content.user_id, "u1", "{command:?}");
            assert!(!content.title.is_empty(), "{command:?}");
        }
    }

    #[test]
    fn what_is_not_there_can_only_be_created_and_only_once() {
        for task in [Task::default(), after(&[create(), Command::Delete])] {
            for command in [rename("x"), Command::Complete, Command::Delete] {
                assert_eq!(task.decide(&command), Err(Refusal::NoSuchTask), "{command:?}");
            }
        }
        assert_eq!(after(&[create()]).decide(&create()), Err(Refusal::AlreadyCreated));
        assert_eq!(
            after(&[create(), Command::Delete]).decide(&create()),
            Err(Refusal::AlreadyCreated)
        );
    }

    #[test]
    fn fields_are_checked() {
        for title in ["", "  \t ", &"x".repeat(501)] {
            assert!(check_title(title.to_owned()).is_err(), "{title}");
        }
        assert!(check_title("ü".repeat(500)).is_ok(), "characters count, not bytes");
        for user_id in ["", " ", "a\nb", &"x".repeat(201)] {
            assert!(check_user_id(user_id.to_owned()).is_err(), "{user_id:?}");
        }
        for due_at in ["", "tomorrow", "2026-02-30T00:00:00Z"] {
            assert!(check_due_at(due_at).is_err(), "{due_at}");
        }
    }
}
