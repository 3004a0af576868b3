//! A payment: what was captured for an order, and what was given back. One per order, under the order's id.

use selvedge::decide::{NewEvent, Rejection, Versioned};
use selvedge::{Entity, Error, Event};
use serde::{Deserialize, Serialize};

pub const REQUESTED: &str = "payments.payment.requested";
pub const REFUND_REQUESTED: &str = "payments.refund.requested";
pub const CAPTURED: &str = "payments.payment.captured";
pub const DECLINED: &str = "payments.payment.declined";
pub const REFUNDED: &str = "payments.payment.refunded";
pub const REFUND_REFUSED: &str = "payments.refund.refused";

/// A payment as its events have made it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Payment {
    status: Status,
    captured_cents: i64,
    refunded_cents: i64,
    reference: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    #[default]
    Unborn,
    Captured,
    Declined,
    Refunded,
}

/// What [`REQUESTED`] asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub amount_cents: i64,
    pub payment_method: String,
}

/// What [`REFUND_REQUESTED`] asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundRequest {
    pub amount_cents: i64,
}

/// The data of every event of a payment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    amount_cents: i64,
    /// The provider's id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What the provider did or refused to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Capture {
        amount_cents: i64,
        reference: Option<String>,
    },
    Decline {
        amount_cents: i64,
        reason: String,
    },
    Refund {
        amount_cents: i64,
        reference: Option<String>,
    },
    RefuseRefund {
        amount_cents: i64,
        reason: String,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NothingCaptured,
}

impl Entity for Payment {
    const KIND: &'static str = "payments.payment";
    const SOURCE: &'static str = "/payments";
    type Command = Command;
    type Refusal = Refusal;

    fn decide(&self, command: &Command) -> Result<Vec<NewEvent>, Refusal> {
        let told = |event_type, amount_cents: &i64, reference: &Option<String>, reason: Option<&String>| {
            let told = Told {
                amount_cents: *amount_cents,
                reference: reference.clone(),
                reason: reason.cloned(),
            };
            Ok(vec![NewEvent::new(event_type, &told)])
        };
        match (command, self.status) {
            // Money that was taken is never forgotten, even if the provider had said no before.
            (
                Command::Capture {
                    amount_cents,
                    reference,
                },
                Status::Unborn | Status::Declined,
            ) => told(CAPTURED, amount_cents, reference, None),
            (Command::Decline { amount_cents, reason }, Status::Unborn) => {
                told(DECLINED, amount_cents, &None, Some(reason))
            }
            (Command::Capture { .. } | Command::Decline { .. }, _) => Ok(Vec::new()),
            (_, Status::Unborn | Status::Declined) => Err(Refusal::NothingCaptured),
            (_, Status::Refunded) => Ok(Vec::new()),
            (
                Command::Refund {
                    amount_cents,
                    reference,
                },
                Status::Captured,
            ) => told(REFUNDED, amount_cents, reference, None),
            (Command::RefuseRefund { amount_cents, reason }, Status::Captured) => {
                told(REFUND_REFUSED, amount_cents, &None, Some(reason))
            }
        }
    }

    fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        let event_type = &*event.event_type;
        if ![CAPTURED, DECLINED, REFUNDED, REFUND_REFUSED].contains(&event_type) {
            return Ok(());
        }
        let told: Told = event.data_as()?;
        self.reason = told.reason;
        match event_type {
            CAPTURED => {
                self.status = Status::Captured;
                self.captured_cents = told.amount_cents;
                self.reference = told.reference;
            }
            REFUNDED => {
                self.status = Status::Refunded;
                self.refunded_cents = told.amount_cents;
            }
            DECLINED => self.status = Status::Declined,
            _ => {}
        }
        Ok(())
    }
}

impl Payment {
    /// Whether this much is to be given back; not when it was already.
    ///
    /// # Errors
    /// The refusal when it isn't what was captured.
    pub fn is_refundable(&self, amount_cents: i64) -> Result<bool, Rejection<Refusal>> {
        match self.status {
            Status::Refunded => Ok(false),
            Status::Captured if amount_cents == self.captured_cents => Ok(true),
            _ => Err(Rejection::Refused(Refusal::NothingCaptured)),
        }
    }

    /// The provider's id for what was captured.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

/// A payment as callers see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    order_id: &'a str,
    status: Status,
    captured_cents: i64,
    refunded_cents: i64,
    /// The provider's id for what was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// Why it was declined, or why the last refund was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    version: i64,
}

impl<'a> View<'a> {
    pub fn of(order_id: &'a str, payment: &'a Versioned<Payment>) -> Self {
        let state = &payment.state;
        Self {
            order_id,
            status: state.status,
            captured_cents: state.captured_cents,
            refunded_cents: state.refunded_cents,
            reference: state.reference.as_deref(),
            reason: state.reason.as_deref(),
            version: payment.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture() -> Command {
        Command::Capture {
            amount_cents: 500,
            reference: Some("p1".to_owned()),
        }
    }

    fn decline() -> Command {
        Command::Decline {
            amount_cents: 500,
            reason: "no money".to_owned(),
        }
    }

    fn refund() -> Command {
        Command::Refund {
            amount_cents: 500,
            reference: None,
        }
    }

    fn refuse() -> Command {
        Command::RefuseRefund {
            amount_cents: 500,
            reason: "not now".to_owned(),
        }
    }

    /// The types of the events that these commands lead to, one after the other.
    fn told(commands: &[Command]) -> Vec<&'static str> {
        let mut payment = Payment::default();
        let mut told = Vec::new();
        for command in commands {
            for new in payment.decide(command).expect("allowed") {
                let event = Event::new("1", Payment::SOURCE, new.event_type).with_data("application/json", new.data);
                payment.evolve(&event).expect("its own events");
                told.push(new.event_type);
            }
        }
        told
    }

    #[test]
    fn what_is_captured_and_refunded_is_so_once() {
        assert_eq!(told(&[capture(), capture(), decline()]), [CAPTURED]);
        assert_eq!(
            told(&[capture(), refund(), refund(), refuse(), capture()]),
            [CAPTURED, REFUNDED]
        );
        assert_eq!(told(&[decline(), decline()]), [DECLINED]);
    }

    #[test]
    fn a_refused_refund_can_be_asked_for_again() {
        assert_eq!(
            told(&[capture(), refuse(), refuse(), refund()]),
            [CAPTURED, REFUND_REFUSED, REFUND_REFUSED, REFUNDED]
        );
    }

    #[test]
    fn money_that_was_taken_after_a_no_is_not_forgotten() {
        assert_eq!(told(&[decline(), capture()]), [DECLINED, CAPTURED]);
    }

    #[test]
    fn nothing_is_refunded_that_was_not_captured() {
        let payment = Payment::default();
        for command in [refund(), refuse()] {
            assert_eq!(payment.decide(&command), Err(Refusal::NothingCaptured));
        }
        assert!(payment.is_refundable(500).is_err());
        let captured = Payment {
            status: Status::Captured,
            captured_cents: 500,
            ..Payment::default()
        };
        assert!(captured.is_refundable(500).expect("captured"));
        assert!(captured.is_refundable(499).is_err() && captured.is_refundable(501).is_err());
    }
}
