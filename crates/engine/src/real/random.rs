//! The machine's entropy.

use rand::Rng;

use crate::ports::Random;

/// A cryptographically secure generator per thread, seeded and reseeded by the operating system: a component that asks
/// for a few bytes at a time costs no system call each time.
#[derive(Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fills_differ_and_an_empty_one_is_fine() {
        let (mut first, mut second) = ([0u8; 32], [0u8; 32]);
        SystemRandom.fill(&mut first);
        SystemRandom.fill(&mut second);
        assert_ne!(first, second);
        assert_ne!(first, [0u8; 32]);
        SystemRandom.fill(&mut []);
    }
}
