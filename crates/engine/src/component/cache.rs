//! Compiled components on disk, so that each is compiled once.
//!
//! A file holds machine code that is mapped, not read: a start costs next to nothing, and only the pages that run take
//! memory. Whoever can write into the folder can run code as this process, as with any compiler's cache.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::limits;

/// How a file of the cache is called; others are left alone.
const EXTENSION: &str = "compiled";

/// A folder with compiled components.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in this folder, which is made with the first file.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The code of the component in `bytes`. What can't be kept is compiled all the same: a cache is no reason to fail.
    pub fn load(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let path = self.path(engine, bytes);
        if let Some(component) = open(engine, &path) {
            return Ok(component);
        }
        let component = Component::new(engine, bytes)?;
        match self.keep(&path, &component.serialize()?) {
            // The compiler's own copy is in memory whole, the file's isn't.
            Ok(()) => Ok(open(engine, &path).unwrap_or(component)),
            Err(_) => Ok(component),
        }
    }

    /// Named after what goes into it: the component, and the compiler with its settings.
    fn path(&self, engine: &Engine, bytes: &[u8]) -> PathBuf {
        let mut settings = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let component = Sha256::digest(bytes);
        let component: String = component[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{component}-{:016x}.{EXTENSION}", settings.finish());
        self.folder.join(name)
    }

    /// Whole or not at all: others may look for it at the same moment.
    fn keep(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(code)?;
        file.persist(path)?;
        self.make_room();
        Ok(())
    }

    /// Removes the files that were made longest ago. One that is in use stays usable until its process ends.
    fn make_room(&self) {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut compiled: Vec<(SystemTime, PathBuf)> = files
            .filter(|file| file.path().extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
            .collect();
        compiled.sort_unstable();
        let surplus = compiled.len().saturating_sub(limits::COMPILED_COMPONENTS_MAX);
        for (_, path) in compiled.drain(..surplus) {
            // Another process may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The code in a file of the cache; `None` when there is none, or when another version of the compiler made it.
fn open(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file was made by `Component::serialize`, is never changed after it got its name, and whoever may write
    // into the folder is trusted with this process (see above).
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn files(folder: &Path) -> Vec<PathBuf> {
        let files = std::fs::read_dir(folder).expect("a folder");
        files.map(|file| file.expect("a file").path()).collect()
    }

    #[test]
    fn what_was_compiled_is_found_again_and_what_is_broken_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = Engine::default();
        let cache = Cache::new(folder.path().join("components"));
        cache.load(&engine, COMPONENT).expect("a component");
        let made = files(&folder.path().join("components"));
        let [file] = &made[..] else {
            panic!("one file, not {made:?}");
        };
        assert!(open(&engine, file).is_some(), "it is found again");

        std::fs::write(file, b"not machine code").expect("written");
        assert!(open(&engine, file).is_none(), "it is refused");
        cache.load(&engine, COMPONENT).expect("compiled anew");
        assert!(open(&engine, file).is_some(), "and kept anew");
    }

    #[test]
    fn a_folder_that_cant_be_written_is_no_reason_to_fail() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let cache = Cache::new(file.path().join("below-a-file"));
        cache.load(&Engine::default(), COMPONENT).expect("compiled");
    }

    #[test]
    fn the_oldest_make_room() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("of-someone-else"), "").expect("written");
        let cache = Cache::new(folder.path().to_owned());
        for number in 0..limits::COMPILED_COMPONENTS_MAX + 3 {
            let path = folder.path().join(format!("{number:04}.{EXTENSION}"));
            cache.keep(&path, b"code").expect("kept");
        }
        let left = files(folder.path());
        assert_eq!(left.len(), limits::COMPILED_COMPONENTS_MAX + 1);
        assert!(left.contains(&folder.path().join("of-someone-else")));
    }
}
