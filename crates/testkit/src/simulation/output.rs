//! What components print, kept for the story of a failed run.

use std::sync::{Mutex, PoisonError};

use selvedge_engine::ports::Output;

/// Keeps every line that a component prints.
#[derive(Debug, Default)]
pub struct KeptOutput(Mutex<Vec<String>>);

impl KeptOutput {
    /// Everything printed so far, as `[component] text`.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Output for KeptOutput {
    fn write(&self, component: &str, _stream: u8, bytes: &[u8]) {
        let text = format!("[{component}] {}", String::from_utf8_lossy(bytes).trim_end());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}
