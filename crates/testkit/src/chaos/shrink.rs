//! Makes a failing run small enough to be read.

use super::Bounds;

/// Makes a failing run smaller for as long as it fails: fewer commands, then fewer faults.
pub fn shrink(start: Bounds, mut fails: impl FnMut(Bounds) -> bool) -> Bounds {
    let with_commands = |bounds: Bounds, commands| Bounds { commands, ..bounds };
    let with_faults = |bounds: Bounds, faults| Bounds { faults, ..bounds };
    let fewer_commands = halve(start.commands, |commands| fails(with_commands(start, commands)));
    let start = with_commands(start, fewer_commands);
    with_faults(start, halve(start.faults, |faults| fails(with_faults(start, faults))))
}

/// The least number that still fails, looked for in halves: a failure may come and go in between, so it is small rather
/// than least.
fn halve(start: usize, mut fails: impl FnMut(usize) -> bool) -> usize {
    let mut least = start;
    let mut step = start / 2;
    while step > 0 {
        let smaller = least.saturating_sub(step);
        if smaller < least && fails(smaller) {
            least = smaller;
        } else {
            step /= 2;
        }
    }
    least
}
