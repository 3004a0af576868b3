//! Which code an input reached.
//!
//! A build by `cargo xtask fuzz` counts, with LLVM's inline counters, how often every edge of the project's own code is
//! taken (fuzz/instrument sets the flags). Any other build has no counters: then there is no feedback, and everything else
//! works all the same.

use std::sync::Mutex;

/// The counters of one compilation unit.
#[derive(Clone, Copy)]
struct Region {
    start: *mut u8,
    length: usize,
}

// SAFETY: the counters are static memory. They are only touched by the thread that runs a campaign and by the code that
// this thread runs.
unsafe impl Send for Region {}

static REGIONS: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// Called by instrumented code before `main`, once per compilation unit.
///
/// # Safety
/// `start..end` is the unit's array of counters, which lives as long as the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let length = end as usize - start as usize;
    if let Ok(mut regions) = REGIONS.lock()
        && !regions.iter().any(|region| region.start == start)
    {
        regions.push(Region { start, length });
    }
}

/// What was reached so far: per edge, which orders of magnitude of "how often" were seen.
pub struct Coverage {
    regions: Vec<Region>,
    seen: Vec<u8>,
}

impl Coverage {
    /// Nothing reached yet.
    pub fn new() -> Self {
        let regions = REGIONS.lock().map(|regions| regions.clone()).unwrap_or_default();
        let edges = regions.iter().map(|region| region.length).sum();
        Self {
            regions,
            seen: vec![0; edges],
        }
    }

    /// Whether this build counts at all.
    pub fn is_measured(&self) -> bool {
        !self.regions.is_empty()
    }

    /// Edges that were taken at least once.
    pub fn edges(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }

    /// Sets all counters to zero: what follows is one execution.
    pub fn begin(&self) {
        for region in &self.regions {
            // SAFETY: see `Region`.
            unsafe { std::ptr::write_bytes(region.start, 0, region.length) };
        }
    }

    /// Ends an execution; says whether it reached something new.
    pub fn end(&mut self) -> bool {
        let mut is_new = false;
        let mut offset = 0;
        for region in &self.regions {
            // SAFETY: see `Region`.
            let counters = unsafe { std::slice::from_raw_parts(region.start, region.length) };
            let seen = &mut self.seen[offset..offset + region.length];
            offset += region.length;
            let (blocks, _) = counters.as_chunks::<64>();
            for (index, block) in blocks.iter().enumerate() {
                // Nearly all code is idle in nearly all executions.
                if block.iter().any(|count| *count != 0) {
                    is_new |= merge(block, &mut seen[index * 64..(index + 1) * 64]);
                }
            }
            let rest = blocks.len() * 64;
            is_new |= merge(&counters[rest..], &mut seen[rest..]);
        }
        is_new
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds counts to what was seen, in libFuzzer's buckets.
fn merge(counters: &[u8], seen: &mut [u8]) -> bool {
    let mut is_new = false;
    for (count, seen) in counters.iter().zip(seen) {
        let bucket = match count {
            0 => 0,
            1 => 1,
            2 => 2,
            3 => 4,
            4..=7 => 8,
            8..=15 => 16,
            16..=31 => 32,
            32..=127 => 64,
            128..=255 => 128,
        };
        is_new |= *seen & bucket != bucket;
        *seen |= bucket;
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_magnitude_is_new_once() {
        let mut seen = [0; 2];
        assert!(!merge(&[0, 0], &mut seen));
        assert!(merge(&[1, 0], &mut seen));
        assert!(!merge(&[1, 0], &mut seen));
        assert!(merge(&[9, 0], &mut seen));
        assert!(!merge(&[15, 0], &mut seen), "the same bucket as 9");
        assert!(merge(&[1, 200], &mut seen));
    }
}
