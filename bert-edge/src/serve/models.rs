//! The models that are served, and their replacement while they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use bert_core::{Model, ScratchVec, Session};
use self_cell::self_cell;

self_cell!(
    struct Checked {
        owner: Vec<u8>,
        #[covariant]
        dependent: Model,
    }
);

/// A model file in memory of its own, so that nothing that happens to the file matters any more.
pub struct Loaded {
    checked: Checked,
    /// CRC-32 of the whole file, to tell one from another.
    pub crc: u32,
    /// Bytes of the file.
    pub bytes: usize,
    /// When it was read.
    pub since: SystemTime,
}

impl Loaded {
    /// Reads a file, checks every byte and runs its self-test.
    ///
    /// # Errors
    /// What is wrong with it; the message names the file.
    pub fn read(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        if !fs::metadata(path).with_context(name)?.is_file() {
            bail!("{}: not a file", name());
        }
        let file = fs::read(path).with_context(name)?;
        let (crc, bytes) = (crc32fast::hash(&file), file.len());
        let checked = Checked::try_new(file, |file| Model::parse(file)).with_context(name)?;
        let model = checked.borrow_dependent();
        let mut scratch = ScratchVec::of(model);
        Session::new(model, &mut scratch).with_context(name)?.self_test().with_context(name)?;
        Ok(Loaded { checked, crc, bytes, since: SystemTime::now() })
    }

    /// The model.
    pub fn model(&self) -> &Model<'_> {
        self.checked.borrow_dependent()
    }
}

/// A model by its name: what answers now, and how it comes to be replaced.
pub struct Entry {
    /// The name in requests.
    pub name: String,
    path: PathBuf,
    current: RwLock<Arc<Loaded>>,
    /// Held while a file is read and tested, so that one reload runs at a time.
    reloading: Mutex<()>,
    history: Mutex<History>,
}

/// What became of reloads.
#[derive(Clone, Default)]
pub struct History {
    /// Files that took over.
    pub done: u64,
    /// Files that were refused.
    pub failed: u64,
    /// Why the last one was refused; none once another took over.
    pub error: Option<String>,
    /// What the file looked like when it was read last.
    seen: Option<Signature>,
}

/// What changes when a file is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Signature {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Signature {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Signature { modified: metadata.modified().ok(), bytes: metadata.len(), inode })
    }
}

impl Entry {
    fn open(name: String, path: PathBuf) -> Result<Self> {
        let seen = Signature::of(&path);
        let current = RwLock::new(Arc::new(Loaded::read(&path)?));
        let history = Mutex::new(History { seen, ..History::default() });
        Ok(Entry { name, path, current, reloading: Mutex::new(()), history })
    }

    /// The model that answers now. Whoever holds it keeps it whatever comes.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of reloads.
    pub fn history(&self) -> History {
        self.lock().clone()
    }

    /// Reads the file anew; the old model answers until the new one passed its self-test, and goes
    /// on if it does not. Takes as long as reading and testing take.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn reload(&self) -> Result<Arc<Loaded>> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Signature::of(&self.path);
        let outcome = Loaded::read(&self.path).map(Arc::new);
        let mut history = self.lock();
        history.seen = seen;
        match &outcome {
            Ok(loaded) => {
                history.done += 1;
                history.error = None;
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::clone(loaded);
            }
            Err(error) => {
                history.failed += 1;
                history.error = Some(format!("{error:#}"));
            }
        }
        outcome
    }

    /// Whether the file is there and not what was read last.
    pub fn changed(&self) -> bool {
        let now = Signature::of(&self.path);
        now.is_some() && now != self.lock().seen
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every model that is served, in the order of the command line.
pub struct Models(Vec<Entry>);

impl Models {
    /// Reads `PATH` or `NAME=PATH`; without a name, it is the file's without its extension.
    ///
    /// # Errors
    /// What is wrong with a file, or two models of one name.
    pub fn open(arguments: &[String]) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for argument in arguments {
            let (name, path) = named(argument)?;
            if entries.iter().any(|entry| entry.name == name) {
                bail!("two models are called {name}: give one another name, as in NAME={argument}");
            }
            entries.push(Entry::open(name, path)?);
        }
        Ok(Models(entries))
    }

    /// The model of this name, or the only one.
    pub fn find(&self, name: Option<&str>) -> Option<&Entry> {
        match (name, &*self.0) {
            (Some(name), entries) => entries.iter().find(|entry| entry.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

fn named(argument: &str) -> Result<(String, PathBuf)> {
    let (name, path) = match argument.split_once('=') {
        Some((name, path)) if !name.contains(['/', '\\']) => (name.to_owned(), PathBuf::from(path)),
        _ => {
            let path = PathBuf::from(argument);
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            (stem.unwrap_or_default(), path)
        }
    };
    // It stands in addresses, in logs and in metrics.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        bail!(
            "{name:?} is no name for a model (letters, digits, . _ -): give one, as in NAME={argument}"
        );
    }
    Ok((name, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_or_the_files_own() {
        let name =
            |argument| named(argument).map(|(name, path)| (name, path.display().to_string()));
        assert!(matches!(name("a/b.bert"), Ok((n, p)) if n == "b" && p == "a/b.bert"));
        assert!(matches!(name("x=a/b.bert"), Ok((n, p)) if n == "x" && p == "a/b.bert"));
        assert!(name("a/c=d.bert").is_err());
        assert!(matches!(name("y=a/c=d.bert"), Ok((n, p)) if n == "y" && p == "a/c=d.bert"));
        for bad in ["a b.bert", "=a.bert", "é.bert", ""] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
