//! Where components' standard output goes: a log file per component and stream, named as Spin names them, and the terminal.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::OUTPUT_LINE_BYTES_MAX;
use crate::ports::Output;

/// Writes whole lines to `<folder>/<component>_stdout.txt` and `_stderr.txt`, and to the engine's standard error as
/// `[component] line`, so that lines of components that write at the same time are not mixed up.
pub struct ComponentOutput {
    folder: Option<PathBuf>,
    quiet: bool,
    streams: Mutex<HashMap<String, Streams>>,
    terminal: Mutex<Box<dyn Write + Send>>,
}

/// A component's standard output and standard error.
type Streams = [Arc<Mutex<Stream>>; 2];

/// A file, and the beginning of a line that has no end yet.
#[derive(Default)]
struct Stream {
    file: Option<File>,
    pending: Vec<u8>,
}

impl ComponentOutput {
    /// Output to log files in `folder` (none: no files), which is created, and unless `quiet` to the terminal.
    pub fn new(folder: Option<PathBuf>, quiet: bool) -> std::io::Result<Self> {
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).map_err(|error| {
                let text = format!("the log folder {} can't be created: {error}", folder.display());
                std::io::Error::new(error.kind(), text)
            })?;
        }
        let terminal = Mutex::new(Box::new(std::io::stderr()) as Box<dyn Write + Send>);
        Ok(Self {
            folder,
            quiet,
            streams: Mutex::default(),
            terminal,
        })
    }

    fn stream(&self, component: &str, stream: u8) -> Arc<Mutex<Stream>> {
        let mut streams = guard(&self.streams);
        if !streams.contains_key(component) {
            let open = |suffix| {
                let file = self
                    .folder
                    .as_deref()
                    .and_then(|folder| self.open(folder, component, suffix));
                Arc::new(Mutex::new(Stream {
                    file,
                    pending: Vec::new(),
                }))
            };
            streams.insert(component.to_owned(), [open("stdout"), open("stderr")]);
        }
        let index = usize::from(stream == 2);
        Arc::clone(&streams[component][index])
    }

    /// A log file that can't be opened is said once, on the terminal: output must not fail a component.
    fn open(&self, folder: &Path, component: &str, suffix: &str) -> Option<File> {
        let kept = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        let name: String = component.chars().map(|c| if kept(c) { c } else { '_' }).collect();
        let path = folder.join(format!("{name}_{suffix}.txt"));
        match File::options().create(true).append(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) => {
                let text = format!(
                    "the log file {} can't be opened, this output is lost: {error}\n",
                    path.display()
                );
                self.show("selvedge", text.as_bytes());
                None
            }
        }
    }

    /// Writes whole lines.
    fn emit(&self, component: &str, file: &mut Option<File>, lines: &[u8]) {
        if let Some(Err(error)) = file.as_mut().map(|file| file.write_all(lines)) {
            *file = None;
            let text = format!("the log file of {component} can't be written any more: {error}\n");
            self.show("selvedge", text.as_bytes());
        }
        if !self.quiet {
            self.show(component, lines);
        }
    }

    fn show(&self, component: &str, lines: &[u8]) {
        let mut text = Vec::with_capacity(lines.len() + 2 * (component.len() + 3));
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(b"[");
            text.extend_from_slice(component.as_bytes());
            text.extend_from_slice(b"] ");
            text.extend_from_slice(line);
        }
        // A terminal that went away is no reason to stop.
        let _ = guard(&self.terminal).write_all(&text);
    }
}

fn guard<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output for ComponentOutput {
    fn write(&self, component: &str, stream: u8, bytes: &[u8]) {
        let stream = self.stream(component, stream);
        let mut stream = guard(&stream);
        let Stream { file, pending } = &mut *stream;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
        if whole > 0 {
            if pending.is_empty() {
                self.emit(component, file, &bytes[..whole]);
            } else {
                pending.extend_from_slice(&bytes[..whole]);
                self.emit(component, file, pending);
                pending.clear();
            }
        }
        for part in bytes[whole..].chunks(OUTPUT_LINE_BYTES_MAX) {
            pending.extend_from_slice(part);
            if pending.len() >= OUTPUT_LINE_BYTES_MAX {
                pending.push(b'\n');
                self.emit(component, file, pending);
                pending.clear();
            }
        }
    }
}

impl Drop for ComponentOutput {
    fn drop(&mut self) {
        let streams = std::mem::take(self.streams.get_mut().unwrap_or_else(PoisonError::into_inner));
        for (component, streams) in &streams {
            for stream in streams {
                let Stream { file, pending } = &mut *guard(stream);
                if !pending.is_empty() {
                    pending.push(b'\n');
                    self.emit(component, file, pending);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that a test can read.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            guard(&self.0).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(guard(&self.0).clone()).unwrap()
        }
    }

    fn output(folder: &Path, quiet: bool) -> (ComponentOutput, Screen) {
        let mut output = ComponentOutput::new(Some(folder.join("logs")), quiet).unwrap();
        let screen = Screen::default();
        output.terminal = Mutex::new(Box::new(screen.clone()));
        (output, screen)
    }

    #[test]
    fn lines_are_put_together_and_kept_apart_by_component_and_stream() {
        let folder = tempfile::tempdir().unwrap();
        let (output, screen) = output(folder.path(), false);
        output.write("todos", 1, b"one li");
        output.write("relay", 1, b"other\n");
        output.write("todos", 2, b"trouble\n");
        output.write("todos", 1, b"ne\ntwo\nthr");
        assert_eq!(
            screen.text(),
            "[relay] other\n[todos] trouble\n[todos] one line\n[todos] two\n"
        );
        drop(output);
        assert!(
            screen.text().ends_with("[todos] thr\n"),
            "the last line has no end but isn't lost"
        );
        let log = |name: &str| std::fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        assert_eq!(log("todos_stdout.txt"), "one line\ntwo\nthr\n");
        assert_eq!(log("todos_stderr.txt"), "trouble\n");
        assert_eq!(log("relay_stdout.txt"), "other\n");
    }

    #[test]
    fn quiet_writes_files_only_and_a_second_start_appends() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let (output, screen) = output(folder.path(), true);
            output.write("todos", 1, b"line\n");
            assert_eq!(screen.text(), "");
        }
        let log = std::fs::read_to_string(folder.path().join("logs/todos_stdout.txt")).unwrap();
        assert_eq!(log, "line\nline\n");
    }

    #[test]
    fn a_line_without_end_is_cut_and_a_name_stays_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (output, screen) = output(folder.path(), false);
        output.write("../up", 1, &vec![b'x'; 2 * OUTPUT_LINE_BYTES_MAX + 5]);
        assert_eq!(screen.text().lines().count(), 2);
        assert!(
            screen
                .text()
                .lines()
                .all(|line| line.len() <= OUTPUT_LINE_BYTES_MAX + "[../up] ".len())
        );
        assert!(folder.path().join("logs/.._up_stdout.txt").exists());
        assert!(!folder.path().join("up_stdout.txt").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = ComponentOutput::new(Some(file.join("logs")), true).err().unwrap();
        assert!(error.to_string().contains("file/logs"), "{error}");
    }
}
