//! What is fuzzed.

/// Takes an input, and panics where the code under test breaks a promise.
pub type Execute = Box<dyn FnMut(&[u8])>;

/// Something that takes bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and the name of its folder in the corpus.
    pub name: &'static str,
    /// Texts that mean something to it. Mutations put them in.
    pub words: &'static [&'static str],
    /// Makes it ready. What it makes can be run any number of times, and gives each input the same start.
    pub prepare: fn() -> Execute,
}
