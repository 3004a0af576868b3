//! An account: its commands, its events, and its rules.

use selvedge::decide::{NewEvent, Versioned};
use selvedge::http::Problem;
use selvedge::{Entity, Error, Event, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub const REGISTERED: &str = "users.account.registered";
pub const RENAMED: &str = "users.account.renamed";
pub const CLOSED: &str = "users.account.closed";

const NAME_CHARS_MAX: usize = 200;

/// An account as its events have made it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    status: Status,
    email: String,
    name: String,
    registered_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Unborn,
    Open,
    Closed,
}

/// The data of [`REGISTERED`].
#[derive(Debug, Deserialize, Serialize)]
struct Registered {
    email: String,
    name: String,
}

/// The data of [`RENAMED`].
#[derive(Debug, Deserialize, Serialize)]
struct Renamed {
    name: String,
}

/// What can be asked of an account.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Register { email: String, name: String },
    Rename { name: String },
    Close,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoSuchUser,
    AlreadyRegistered,
}

impl Entity for Account {
    const KIND: &'static str = "users.account";
    const SOURCE: &'static str = "/users";
    type Command = Command;
    type Refusal = Refusal;

    fn decide(&self, command: &Command) -> Result<Vec<NewEvent>, Refusal> {
        let event = match command {
            Command::Register { .. } if self.status != Status::Unborn => return Err(Refusal::AlreadyRegistered),
            Command::Register { email, name } => {
                let (email, name) = (email.clone(), name.clone());
                NewEvent::new(REGISTERED, &Registered { email, name })
            }
            _ if !self.is_open() => return Err(Refusal::NoSuchUser),
            Command::Rename { name } if *name == self.name => return Ok(Vec::new()),
            Command::Rename { name } => NewEvent::new(RENAMED, &Renamed { name: name.clone() }),
            // Who hears of it needs no more than whose account it was, which is the event's subject.
            Command::Close => NewEvent::new(CLOSED, &json!({})),
        };
        Ok(vec![event])
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        match &*event.event_type {
            REGISTERED => {
                let Registered { email, name } = event.data_as()?;
                *self = Self {
                    status: Status::Open,
                    email,
                    name,
                    registered_at: event.time,
                };
            }
            RENAMED => self.name = event.data_as::<Renamed>()?.name,
            CLOSED => self.status = Status::Closed,
            // An event of a newer version of this function: it knows what to make of it, this one doesn't.
            _ => {}
        }
        Ok(())
    }
}

impl Account {
    /// Whether there is such an account: it was registered and not closed.
    pub fn is_open(&self) -> bool {
        self.status == Status::Open
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchUser => Self::not_found("There is no user with this id, or the account was closed."),
            Refusal::AlreadyRegistered => Self::conflict("There is a user with this id already."),
        }
    }
}

/// An account as callers see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    id: &'a str,
    email: &'a str,
    name: &'a str,
    registered_at: Option<Timestamp>,
    version: i64,
}

impl<'a> View<'a> {
    pub fn of(id: &'a str, account: &'a Versioned<Account>) -> Self {
        Self {
            id,
            email: &account.state.email,
            name: &account.state.name,
            registered_at: account.state.registered_at,
            version: account.version,
        }
    }
}

pub fn check_name(name: String) -> Result<String, String> {
    match name.chars().count() {
        _ if name.trim().is_empty() => Err("is missing or blank: say what the user is called".to_owned()),
        _ if name.chars().any(char::is_control) => Err("has control characters: leave them out".to_owned()),
        0..=NAME_CHARS_MAX => Ok(name),
        count => Err(format!(
            "has {count} characters, the limit is {NAME_CHARS_MAX}: shorten it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commands: &[Command]) -> Account {
        let mut account = Account::default();
        for command in commands {
            for event in account.decide(command).expect("is allowed") {
                let event = Event::new("1", Account::SOURCE, event.event_type)
                    .with_time(Timestamp::from_unix_ms(1_000))
                    .with_data("application/json", event.data);
                account.evolve(&event).expect("its own events");
            }
        }
        account
    }

    fn register() -> Command {
        Command::Register {
            email: "ada@example.org".to_owned(),
            name: "Ada".to_owned(),
        }
    }

    fn rename(name: &str) -> Command {
        Command::Rename { name: name.to_owned() }
    }

    #[test]
    fn a_registered_account_is_open_and_can_be_renamed() {
        let account = after(&[register(), rename("Ada Lovelace")]);
        assert!(account.is_open());
        assert_eq!((&*account.email, &*account.name), ("ada@example.org", "Ada Lovelace"));
        assert_eq!(account.registered_at, Some(Timestamp::from_unix_ms(1_000)));
        assert_eq!(
            account.decide(&rename("Ada Lovelace")),
            Ok(Vec::new()),
            "nothing changes"
        );
    }

    #[test]
    fn an_account_that_is_not_open_can_only_be_registered_and_only_once() {
        for account in [Account::default(), after(&[register(), Command::Close])] {
            for command in [rename("x"), Command::Close] {
                assert_eq!(account.decide(&command), Err(Refusal::NoSuchUser), "{command:?}");
            }
        }
        for account in [after(&[register()]), after(&[register(), Command::Close])] {
            assert_eq!(account.decide(&register()), Err(Refusal::AlreadyRegistered));
        }
    }

    #[test]
    fn names_are_checked() {
        for name in ["", " \t", "a\nb", &"x".repeat(201)] {
            assert!(check_name(name.to_owned()).is_err(), "{name:?}");
        }
        assert!(check_name("ü".repeat(200)).is_ok(), "characters count, not bytes");
    }
}
