//! Files and directories that are there whole or not at all (invariant 8).
//!
//! Everything is first written under a temporary name beside its place, `.NAME.tmp-PID`, forced
//! to the disk, and then renamed; the rename is atomic, and it is forced to the disk as well.
//! A process killed at any moment leaves the old content or the new one under the final name,
//! and at worst a temporary beside it, which [`clean_leftovers`] removes the next time.
//!
//! Replacing a *directory* takes two renames, old away to `.NAME.old-PID` and new in.
//! A kill between them leaves no directory under the final name; [`clean_leftovers`] then puts
//! the old one back. What must be readable at every moment (a checkpoint being trained) is
//! therefore never replaced as a directory, see [`crate::checkpoint`].

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

/// A file or directory could not be written; what stood there before still stands.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {}", path.display(), reason(source))]
pub struct WriteError {
    /// What was to be written, under its final name.
    pub path: PathBuf,
    /// What was being done, as in "cannot …".
    pub action: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

impl WriteError {
    /// Names the path and the action of an error of the operating system.
    pub fn new(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self { path: path.to_owned(), action, source }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        _ => error.to_string(),
    }
}

/// Writes `bytes` as the file `path`, replacing it if it exists.
///
/// # Errors
/// The operating system refuses; the old file, if any, is untouched.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_file_with(path, |out| out.write_all(bytes))
}

/// Writes the file `path` as a stream, replacing it if it exists.
///
/// # Errors
/// `fill` or the operating system fails; the old file, if any, is untouched.
pub fn write_file_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let fail = |source| WriteError::new(path, "write the file", source);
    let temporary = Temporary::beside(path).map_err(fail)?;
    let mut out =
        BufWriter::with_capacity(BUFFER_BYTES, File::create(&temporary.path).map_err(fail)?);
    fill(&mut out).map_err(fail)?;
    let file = out.into_inner().map_err(|error| fail(error.into_error()))?;
    file.sync_all().map_err(fail)?;
    drop(file);
    fs::rename(&temporary.path, path).map_err(fail)?;
    temporary.renamed();
    sync_directory(parent(path)).map_err(fail)
}

/// Makes the directory `path` with what `fill` puts into the empty directory it is given.
/// Missing parents are made.
/// If `path` exists it is replaced as a whole, but only if every entry in it has a successor of
/// the same name in the new one: a mistyped output directory costs nobody their files.
///
/// # Errors
/// `fill` or the operating system fails, or the directory holds something else; the old
/// directory, if any, is untouched.
pub fn write_directory<E: From<WriteError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let fail = |source| WriteError::new(path, "write the directory", source);
    fs::create_dir_all(parent(path)).map_err(fail)?;
    clean_leftovers_of(path)?;
    let temporary = Temporary::beside(path).map_err(fail)?;
    fs::create_dir(&temporary.path).map_err(fail)?;
    fill(&temporary.path)?;
    sync_tree(&temporary.path).map_err(fail)?;
    if path.exists() {
        refuse_to_lose(path, &temporary.path).map_err(fail)?;
        let old = sibling(path, OLD).map_err(fail)?;
        fs::rename(path, &old).map_err(fail)?;
        if let Err(error) = fs::rename(&temporary.path, path) {
            // Put it back as it was; if even that fails, the next clean-up does it.
            let _ = fs::rename(&old, path);
            return Err(fail(error).into());
        }
        temporary.renamed();
        sync_directory(parent(path)).map_err(fail)?;
        fs::remove_dir_all(&old).map_err(fail)?;
    } else {
        fs::rename(&temporary.path, path).map_err(fail)?;
        temporary.renamed();
        sync_directory(parent(path)).map_err(fail)?;
    }
    Ok(())
}

/// Fails if `old` holds an entry whose name `new` lacks.
fn refuse_to_lose(old: &Path, new: &Path) -> io::Result<()> {
    for entry in fs::read_dir(old)? {
        let name = entry?.file_name();
        if !new.join(&name).exists() {
            let message = format!(
                "it holds {}, which would be lost; remove it or choose another place",
                name.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    Ok(())
}

/// Removes what killed processes left in `directory`: temporaries of files and directories, and
/// old directories whose replacement is in place. An old directory without a replacement gets
/// its name back. Leftovers of a process that still runs are its own business and stay.
/// A missing `directory` has none.
///
/// # Errors
/// The operating system refuses.
pub fn clean_leftovers(directory: &Path) -> Result<(), WriteError> {
    clean(directory, None)
}

/// [`clean_leftovers`], of the one file or directory `path` only.
///
/// # Errors
/// The operating system refuses.
pub fn clean_leftovers_of(path: &Path) -> Result<(), WriteError> {
    clean(parent(path), path.file_name().and_then(|name| name.to_str()))
}

fn clean(directory: &Path, only: Option<&str>) -> Result<(), WriteError> {
    let fail = |source| WriteError::new(directory, "remove what a killed run left", source);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(fail)?,
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let file_name = entry.file_name();
        let Some((name, kind, process)) = file_name.to_str().and_then(split_leftover) else {
            continue;
        };
        if only.is_some_and(|only| only != name) || runs_elsewhere(process) {
            continue;
        }
        let target = directory.join(name);
        if kind == OLD && !target.exists() {
            fs::rename(entry.path(), target).map_err(fail)?;
        } else {
            remove(&entry.path()).map_err(fail)?;
        }
    }
    Ok(())
}

const TEMPORARY: &str = "tmp";
const OLD: &str = "old";

/// `.NAME.KIND-PID`
fn sibling(path: &Path, kind: &str) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no last part"));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{kind}-{}", std::process::id()));
    Ok(parent(path).join(hidden))
}

/// The inverse of [`sibling`]: name, kind and process.
fn split_leftover(file_name: &str) -> Option<(&str, &str, u32)> {
    let (rest, process) = file_name.strip_prefix('.')?.rsplit_once('-')?;
    let (name, kind) = rest.rsplit_once('.')?;
    let known = !name.is_empty() && (kind == TEMPORARY || kind == OLD);
    known.then_some((name, kind, process.parse().ok()?))
}

/// True if `process` is another one and alive. Where `/proc` does not exist nobody can tell, and
/// one directory is taken to have one writer.
fn runs_elsewhere(process: u32) -> bool {
    process != std::process::id() && Path::new("/proc").join(process.to_string()).exists()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Forces a directory and everything in it to the disk.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_directory(directory)
}

/// Forces the names in a directory to the disk. Only Unix can open a directory.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// A temporary that vanishes with its scope unless it got its final name.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let path = sibling(path, TEMPORARY)?;
        if path.symlink_metadata().is_ok() {
            remove(&path)?;
        }
        Ok(Self { path })
    }

    fn renamed(self) {
        std::mem::forget(self);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may not exist yet, and a failure here must not hide the one being reported.
        let _ = remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn disk_full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.bert");
        write_file(&path, b"old").unwrap();
        let error = write_file_with(&path, |out| {
            out.write_all(&[0; 4096])?;
            Err(disk_full())
        })
        .unwrap_err();
        assert!(error.to_string().ends_with("model.bert: cannot write the file: the disk is full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["model.bert"]);
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["model.bert"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_directory_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/tokenizer");
        let fill =
            |text: &'static str| move |at: &Path| write_file(&at.join(text), text.as_bytes());
        write_directory(&path, fill("one")).unwrap();
        write_directory(&path, |at| {
            write_file(&at.join("half"), b"")?;
            Err(WriteError::new(at, "test", disk_full()))
        })
        .unwrap_err();
        assert_eq!(names(&path), ["one"]);
        write_directory(&path, |at| {
            write_file(&at.join("two"), b"")?;
            write_file(&at.join("one"), b"new")
        })
        .unwrap();
        assert_eq!(names(&path), ["one", "two"]);
        assert_eq!(fs::read(path.join("one")).unwrap(), b"new");
        assert_eq!(names(&dir.path().join("deep")), ["tokenizer"]);
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis.tex"), "years").unwrap();
        let error =
            write_directory(&path, |at| write_file(&at.join("vocab.txt"), b"")).unwrap_err();
        assert!(error.to_string().contains("it holds thesis.tex"), "{error}");
        assert_eq!(names(&path), ["thesis.tex"]);
        assert_eq!(names(dir.path()), ["home"]);
    }

    #[test]
    fn leftovers_of_dead_processes_go_and_a_lost_directory_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // No process has this id: Linux stops at 2^22.
        fs::write(at(".vocab.txt.tmp-4294967295"), "half").unwrap();
        fs::create_dir(at(".data.tmp-4294967295")).unwrap();
        fs::create_dir(at(".data.old-4294967295")).unwrap();
        fs::write(at(".data.old-4294967295").join("shard"), "kept").unwrap();
        fs::create_dir(at(".model.old-4294967295")).unwrap();
        fs::create_dir(at("model")).unwrap();
        fs::write(at(".notes-7"), "not ours").unwrap();
        fs::write(at(".tmp-7"), "not ours").unwrap();
        clean_leftovers(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".notes-7", ".tmp-7", "data", "model"]);
        assert_eq!(fs::read(at("data").join("shard")).unwrap(), b"kept");
        clean_leftovers(&at("absent")).unwrap();
    }

    #[test]
    fn leftovers_of_a_running_process_stay() {
        let dir = tempfile::tempdir().unwrap();
        let parent = std::os::unix::process::parent_id();
        let name = format!(".model.tmp-{parent}");
        fs::write(dir.path().join(&name), "in use").unwrap();
        clean_leftovers(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [name]);
    }

    #[test]
    fn a_missing_parent_is_an_error_that_names_the_file() {
        let error = write_file(Path::new("/nonexistent-directory/file"), b"").unwrap_err();
        assert!(
            error.to_string().starts_with("/nonexistent-directory/file: cannot write the file")
        );
    }
}
