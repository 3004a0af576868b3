//! A shipment: what was sent for an order, and whether it was called back. One per order, under the order's id.

use selvedge::decide::{NewEvent, Rejection, Versioned};
use selvedge::{Entity, Error, Event};
use serde::{Deserialize, Serialize};

pub const REQUESTED: &str = "shipping.shipment.requested";
pub const CANCELLATION_REQUESTED: &str = "shipping.cancellation.requested";
pub const DISPATCHED: &str = "shipping.shipment.dispatched";
pub const FAILED: &str = "shipping.shipment.failed";
pub const CANCELLED: &str = "shipping.shipment.cancelled";
pub const CANCELLATION_REFUSED: &str = "shipping.cancellation.refused";

/// A shipment as its events have made it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shipment {
    status: Status,
    reference: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    #[default]
    Unborn,
    Dispatched,
    Failed,
    Cancelled,
}

/// What [`REQUESTED`] asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub user_id: String,
    pub items: Vec<Goods>,
}

/// Some pieces of one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Goods {
    pub sku: String,
    pub quantity: i64,
}

/// The data of every event of a shipment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Told {
    /// The provider's id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What the provider did or refused to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Dispatch { reference: Option<String> },
    Fail { reason: String },
    Cancel,
    RefuseCancellation { reason: String },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NothingDispatched,
}

impl Entity for Shipment {
    const KIND: &'static str = "shipping.shipment";
    const SOURCE: &'static str = "/shipping";
    type Command = Command;
    type Refusal = Refusal;

    fn decide(&self, command: &Command) -> Result<Vec<NewEvent>, Refusal> {
        let told = |event_type, reference: &Option<String>, reason: Option<&String>| {
            let told = Told {
                reference: reference.clone(),
                reason: reason.cloned(),
            };
            Ok(vec![NewEvent::new(event_type, &told)])
        };
        match (command, self.status) {
            // What was sent is never forgotten, even if the provider had said no before.
            (Command::Dispatch { reference }, Status::Unborn | Status::Failed) => told(DISPATCHED, reference, None),
            (Command::Fail { reason }, Status::Unborn) => told(FAILED, &None, Some(reason)),
            (Command::Dispatch { .. } | Command::Fail { .. }, _) => Ok(Vec::new()),
            (_, Status::Unborn | Status::Failed) => Err(Refusal::NothingDispatched),
            (_, Status::Cancelled) => Ok(Vec::new()),
            (Command::Cancel, Status::Dispatched) => told(CANCELLED, &self.reference, None),
            (Command::RefuseCancellation { reason }, Status::Dispatched) => {
                told(CANCELLATION_REFUSED, &self.reference, Some(reason))
            }
        }
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        let status = match &*event.event_type {
            DISPATCHED => Status::Dispatched,
            FAILED => Status::Failed,
            CANCELLED => Status::Cancelled,
            CANCELLATION_REFUSED => self.status,
            _ => return Ok(()),
        };
        let told: Told = event.data_as()?;
        self.status = status;
        self.reference = told.reference;
        self.reason = told.reason;
        Ok(())
    }
}

impl Shipment {
    /// Whether it is to be called back; not when it was already.
    ///
    /// # Errors
    /// The refusal when nothing was sent.
    pub fn is_cancellable(&self) -> Result<bool, Rejection<Refusal>> {
        match self.status {
            Status::Dispatched => Ok(true),
            Status::Cancelled => Ok(false),
            Status::Unborn | Status::Failed => Err(Rejection::Refused(Refusal::NothingDispatched)),
        }
    }

    /// The provider's id for it.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

/// A shipment as callers see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    order_id: &'a str,
    status: Status,
    /// The provider's id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// Why it failed, or why the last cancellation was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    version: i64,
}

impl<'a> View<'a> {
    pub fn of(order_id: &'a str, shipment: &'a Versioned<Shipment>) -> Self {
        Self {
            order_id,
            status: shipment.state.status,
            reference: shipment.state.reference.as_deref(),
            reason: shipment.state.reason.as_deref(),
            version: shipment.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatch() -> Command {
        Command::Dispatch {
            reference: Some("s1".to_owned()),
        }
    }

    fn fail() -> Command {
        Command::Fail {
            reason: "no such thing".to_owned(),
        }
    }

    fn refuse() -> Command {
        Command::RefuseCancellation {
            reason: "it has arrived".to_owned(),
        }
    }

    /// The types of the events that these commands lead to, one after the other.
    fn told(commands: &[Command]) -> Vec<&'static str> {
        let mut shipment = Shipment::default();
        let mut told = Vec::new();
        for command in commands {
            for new in shipment.decide(command).expect("allowed") {
                let event = Event::new("1", Shipment::SOURCE, new.event_type).with_data("application/json", new.data);
                shipment.evolve(&event).expect("its own events");
                told.push(new.event_type);
            }
        }
        told
    }

    #[test]
    fn what_is_sent_and_called_back_is_so_once() {
        assert_eq!(told(&[dispatch(), dispatch(), fail()]), [DISPATCHED]);
        assert_eq!(
            told(&[
                dispatch(),
                refuse(),
                Command::Cancel,
                Command::Cancel,
                refuse(),
                dispatch()
            ]),
            [DISPATCHED, CANCELLATION_REFUSED, CANCELLED]
        );
        assert_eq!(told(&[fail(), fail(), dispatch()]), [FAILED, DISPATCHED]);
    }

    #[test]
    fn nothing_is_called_back_that_was_not_sent() {
        let shipment = Shipment::default();
        for command in [Command::Cancel, refuse()] {
            assert_eq!(shipment.decide(&command), Err(Refusal::NothingDispatched));
        }
        assert!(shipment.is_cancellable().is_err());
    }
}
