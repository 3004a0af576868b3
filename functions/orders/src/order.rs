//! An order: its commands, its events, and its rules.

use selvedge::decide::NewEvent;
use selvedge::http::Problem;
use selvedge::saga::{Action, Input, NotDue, State};
use selvedge::{Entity, Error, Event, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fulfilment::{FULFILMENT, PAYMENT, SHIPPING};

pub const PLACED: &str = "orders.order.placed";

/// An order as its events have made it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Order {
    /// What was ordered; `None` as long as nothing was.
    pub content: Option<Content>,
    /// How far its fulfilment is.
    pub saga: State,
}

/// What was ordered: the data of [`PLACED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    pub user_id: String,
    pub items: Vec<Item>,
    /// What all items cost together.
    pub total_cents: i64,
    pub payment_method: String,
}

/// Some pieces of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub sku: String,
    pub quantity: i64,
    /// What one piece costs.
    pub price_cents: i64,
}

/// What can be asked of an order, and when.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Place {
        content: Content,
        now: Timestamp,
    },
    /// An answer or a timer came.
    Hear {
        input: Input,
        now: Timestamp,
    },
    /// An operator wants what is parked to be tried once more.
    Resume {
        now: Timestamp,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoSuchOrder,
    AlreadyPlaced,
    NothingToResume,
    NotDue(NotDue),
}

impl Entity for Order {
    const KIND: &'static str = "orders.order";
    const SOURCE: &'static str = FULFILMENT.source;
    type Command = Command;
    type Refusal = Refusal;

    fn decide(&self, command: &Command) -> Result<Vec<NewEvent>, Refusal> {
        let (content, placed, input, now) = match (command, &self.content) {
            (Command::Place { .. }, Some(_)) => return Err(Refusal::AlreadyPlaced),
            (Command::Place { content, now }, None) => {
                (content, Some(NewEvent::new(PLACED, content)), &Input::Start, *now)
            }
            (Command::Hear { .. } | Command::Resume { .. }, None) => return Err(Refusal::NoSuchOrder),
            (Command::Resume { now }, Some(content)) => (content, None, &Input::Resume, *now),
            (Command::Hear { input, now }, Some(content)) => (content, None, input, *now),
        };
        let actions = FULFILMENT.apply(&self.saga, input, now).map_err(Refusal::NotDue)?;
        if actions.is_empty() && matches!(command, Command::Resume { .. }) {
            return Err(Refusal::NothingToResume);
        }
        let event = |action: &Action| FULFILMENT.event(action, |action| content.told_with(action));
        Ok(placed.into_iter().chain(actions.iter().map(event)).collect())
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        if event.event_type == PLACED {
            self.content = Some(event.data_as()?);
        } else if let Some(action) = FULFILMENT.action(event)? {
            self.saga.evolve(&action, &event.id);
        }
        Ok(())
    }
}

impl Content {
    /// What payments, shipping and everybody else need to know of the order when this is done. Each hears no more than it
    /// needs; which order it is, the event's subject says.
    fn told_with(&self, action: &Action) -> Value {
        match action {
            Action::Command { step: PAYMENT } => json!({
                "userId": self.user_id, "amountCents": self.total_cents, "paymentMethod": self.payment_method,
            }),
            Action::Compensate { step: PAYMENT } => json!({ "amountCents": self.total_cents }),
            Action::Command { step: SHIPPING } => {
                let goods = |item: &Item| json!({ "sku": item.sku, "quantity": item.quantity });
                json!({ "userId": self.user_id, "items": self.items.iter().map(goods).collect::<Vec<_>>() })
            }
            Action::Cancel { reason } => {
                json!({ "userId": self.user_id, "totalCents": self.total_cents, "reason": reason })
            }
            Action::Complete => json!({ "userId": self.user_id, "totalCents": self.total_cents }),
            _ => json!({ "userId": self.user_id }),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchOrder => Self::not_found("There is no order with this id."),
            Refusal::AlreadyPlaced => Self::conflict("There is an order with this id already."),
            Refusal::NothingToResume => Self::conflict(
                "Nothing of this order is parked after a refusal, or something of it is being undone. A compensation that \
                 got no answer is still being delivered, or is a dead letter of `payments` or `shipping`: redrive it.",
            ),
            Refusal::NotDue(not_due) => Self::internal(not_due, true),
        }
    }
}
