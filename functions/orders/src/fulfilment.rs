//! The saga of an order: it is paid, then shipped. As data; the rules are the kernel's.

use selvedge::retry::RetryPolicy;
use selvedge::saga::{Compensation, Definition, Records, Step};

/// How long payment and shipping may take each, in milliseconds.
const STEP_TIMEOUT_MS: u64 = 60_000;
/// How long a compensation may take until it is parked, in milliseconds: a provider that is down for a while isn't an
/// operator's affair yet.
const COMPENSATION_TIMEOUT_MS: u64 = 15 * 60_000;

/// A compensation that was refused is commanded again after 10 s, 20 s, 40 s … five times in all.
const COMPENSATION_RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 5,
    initial_interval_ms: 10_000,
    multiplier: 2.0,
    max_interval_ms: 300_000,
    jitter: 0.0,
};

pub const PAYMENT: usize = 0;
pub const SHIPPING: usize = 1;

pub const FULFILMENT: Definition = Definition {
    source: "/orders",
    steps: &[
        Step {
            name: "payment",
            source: "/payments",
            command: "payments.payment.requested",
            succeeded: &["payments.payment.captured"],
            failed: &["payments.payment.declined"],
            timeout_ms: STEP_TIMEOUT_MS,
            compensation: Some(Compensation {
                command: "payments.refund.requested",
                succeeded: &["payments.payment.refunded"],
                failed: &["payments.refund.refused"],
                timeout_ms: COMPENSATION_TIMEOUT_MS,
                retry: &COMPENSATION_RETRY,
            }),
        },
        Step {
            name: "shipping",
            source: "/shipping",
            command: "shipping.shipment.requested",
            succeeded: &["shipping.shipment.dispatched"],
            failed: &["shipping.shipment.failed"],
            timeout_ms: STEP_TIMEOUT_MS,
            compensation: Some(Compensation {
                command: "shipping.cancellation.requested",
                succeeded: &["shipping.shipment.cancelled"],
                failed: &["shipping.cancellation.refused"],
                timeout_ms: COMPENSATION_TIMEOUT_MS,
                retry: &COMPENSATION_RETRY,
            }),
        },
    ],
    records: Records {
        timer_set: "orders.timer.set",
        step_succeeded: "orders.step.succeeded",
        step_failed: "orders.step.failed",
        step_timed_out: "orders.step.timed_out",
        step_compensated: "orders.step.compensated",
        compensation_refused: "orders.compensation.refused",
        step_parked: "orders.step.parked",
        completed: "orders.order.confirmed",
        cancelled: "orders.order.cancelled",
    },
};
