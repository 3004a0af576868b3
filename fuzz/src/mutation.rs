//! One input made from others: a few small changes, as damage and malice make them.

use rand::rngs::StdRng;
use rand::{RngExt, seq::IndexedRandom};

/// The largest input that mutations make.
pub const INPUT_BYTES_MAX: usize = 4 * 1024;
/// Changes to one input.
const CHANGES_MAX: u32 = 6;
/// How often a repeated piece stands there afterwards: deep nesting, long lists.
const REPEATS_MAX: usize = 300;

/// Bytes at the edges of what parsers tell apart.
const EDGE_BYTES: &[u8] = b"\0\x01\t\n\r \"%'*+,-./09:;<=>?@AZ[\\]_az{|}~\x7f\x80\xbf\xc2\xe2\xff";
/// Texts at the edges of what numbers, times and texts can be.
const EDGE_TEXTS: &[&str] = &[
    "0",
    "-1",
    "1e308",
    "-0.0",
    "NaN",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "2147483648",
    "999999999999999999999999",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "1970-01-01T00:00:00.000000001+23:59",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "e\u{301}",
    "𝄞",
    "\u{ffff}",
    "\\u0000",
    "\\ud800",
    "%00",
    "%2e%2e",
    "%ff",
    "../",
    "//",
    "\r\n",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[[[[[[[",
    "{\"a\":",
    "'",
    "';--",
    "${x}",
    "{{x}}",
    "=?utf-8?q?x?=",
];

/// Changes a copy of `input`, one to [`CHANGES_MAX`] times. `other` is something to take pieces from.
pub fn mutate(random: &mut StdRng, input: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=CHANGES_MAX) {
        change(random, &mut bytes, other, words);
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let at = random.random_range(0..=bytes.len());
    let piece = at..(at + piece_length(random)).min(bytes.len());
    match random.random_range(0..11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = edge_byte(random),
        2 => bytes.insert(at, edge_byte(random)),
        3 => drop(bytes.drain(piece)),
        4 => {
            let copy = bytes[piece].to_vec();
            let to = random.random_range(0..=bytes.len());
            insert(bytes, to, &copy);
        }
        5 => {
            let copy = bytes[piece].to_vec();
            let times = random
                .random_range(1..=REPEATS_MAX)
                .min(INPUT_BYTES_MAX / copy.len().max(1));
            insert(bytes, at, &copy.repeat(times));
        }
        6 => {
            let from = random.random_range(0..=other.len());
            let to = (from + piece_length(random)).min(other.len());
            bytes.splice(piece, other[from..to].iter().copied());
        }
        7 => insert(bytes, at, text(random, words).as_bytes()),
        8 => drop(bytes.splice(piece, text(random, words).bytes())),
        9 => {
            let value = value_around(bytes, at);
            bytes.splice(value, text(random, words).bytes());
        }
        10 => {
            let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            let (first, second) = (
                random.random_range(0..=lines.len()),
                random.random_range(0..=lines.len()),
            );
            if first < lines.len() && second < lines.len() {
                let mut lines = lines;
                lines.swap(first, second);
                *bytes = lines.concat();
            }
        }
        _ => bytes.push(edge_byte(random)),
    }
}

/// Mostly short, sometimes long.
fn piece_length(random: &mut StdRng) -> usize {
    let bits = random.random_range(0..8);
    random.random_range(0..=1_usize << bits)
}

fn edge_byte(random: &mut StdRng) -> u8 {
    match random.random_range(0..4) {
        0 => random.random(),
        _ => *EDGE_BYTES.choose(random).expect("there are some"),
    }
}

fn text<'w>(random: &mut StdRng, words: &[&'w str]) -> &'w str {
    let edge = *EDGE_TEXTS.choose(random).expect("there are some");
    match random.random_range(0..3) {
        0 => edge,
        _ => words.choose(random).copied().unwrap_or(edge),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// The letters, digits and the like around a place: a value, a key, a number.
fn value_around(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    let start = bytes[..at]
        .iter()
        .rposition(|byte| !is_inside(byte))
        .map_or(0, |place| place + 1);
    let end = bytes[at..]
        .iter()
        .position(|byte| !is_inside(byte))
        .map_or(bytes.len(), |place| at + place);
    start..end
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_they_are_bounded() {
        let inputs = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut input = b"a: b\nc: 12\n".to_vec();
            let next = |_| {
                input = mutate(&mut random, &input, b"other", &["word"]);
                assert!(input.len() <= INPUT_BYTES_MAX);
                input.clone()
            };
            (0..2_000).map(next).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn a_value_ends_where_something_else_begins() {
        assert_eq!(value_around(b"a: 12.5,", 4), 3..7);
        assert_eq!(value_around(b"", 0), 0..0);
        assert_eq!(value_around(b"ab", 2), 0..2);
    }
}
