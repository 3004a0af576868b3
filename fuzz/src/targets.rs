//! All targets, in the order an event meets them.

use crate::target::Target;

mod answers;
mod conditions;
mod dapr;
mod events;
mod requests;
mod settings;
mod texts;

#[path = "../../crates/selvedge/tests/support/mod.rs"]
#[allow(missing_docs, reason = "the kernel's own test world")]
mod support;

/// Every target there is.
pub const ALL: &[Target] = &[
    requests::TARGET,
    events::BINARY,
    events::STRUCTURED,
    events::BATCH,
    answers::TARGET,
    dapr::TARGET,
    settings::SUBSCRIPTIONS,
    conditions::TARGET,
    settings::MANIFEST,
    settings::RUNTIME_CONFIG,
    settings::ROUTES,
    texts::TARGET,
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
