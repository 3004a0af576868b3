//! What components print, kept for the story of a failed run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use selvedge_engine::ports::Output;

/// Keeps every line that a component prints.
#[derive(Debug, Default)]
pub struct KeptOutput(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    /// What each component's streams have printed since their last line's end: one line may take several writes.
    begun: BTreeMap<(String, u8), String>,
}

impl KeptOutput {
    /// Every whole line printed so far, as `[component] text`, in the order in which they ended.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output for KeptOutput {
    fn write(&self, component: &str, stream: u8, bytes: &[u8]) {
        let mut kept = self.lock();
        let mut text = kept.begun.remove(&(component.to_owned(), stream)).unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(bytes));
        let (whole, rest) = text
            .rsplit_once('\n')
            .map_or((None, &*text), |(whole, rest)| (Some(whole), rest));
        let lines = whole.into_iter().flat_map(|whole| whole.split('\n'));
        kept.lines.extend(lines.map(|line| format!("[{component}] {line}")));
        if !rest.is_empty() {
            kept.begun.insert((component.to_owned(), stream), rest.to_owned());
        }
    }
}
