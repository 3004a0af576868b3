//! Mutants: mistakes that this kernel doesn't make. A test switches one on and asks whether the simulator finds it, so
//! that it is known what the simulator's silence is worth.
//!
//! They are compiled in with the feature `mutants` only, which no build without debug assertions takes: no released
//! component can have them. One build has all of them; which one a component makes, its environment says.

use std::borrow::Cow;

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!(
    "the kernel's mutants are for tests: build them with `cargo xtask build --mutants`, never for a release"
);

/// The environment variable that names the mutant.
#[cfg(feature = "mutants")]
pub const VARIABLE: &str = "SELVEDGE_MUTANT";

/// Whether the kernel is to make this mistake.
#[cfg(feature = "mutants")]
pub(crate) fn is(name: &str) -> bool {
    thread_local! {
        static CHOSEN: String = std::env::var(VARIABLE).unwrap_or_default();
    }
    CHOSEN.with(|chosen| chosen == name)
}

/// Whether the kernel is to make this mistake: it never is.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_name: &str) -> bool {
    false
}

/// A statement, without this part of it when the kernel is to make this mistake.
pub(crate) fn cut<'s>(name: &str, statement: impl Into<Cow<'s, str>>, part: &str) -> Cow<'s, str> {
    let statement = statement.into();
    if is(name) {
        statement.replace(part, "").into()
    } else {
        statement
    }
}
