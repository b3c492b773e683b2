//! A matrix of f32 as NumPy stores it, written row by row.
//!
//! ```text
//!   0  93 'NUMPY'  01 00   magic, version 1.0
//!   8  76 00               bytes of the text that follows: 118
//!  10  {'descr': '<f4', 'fortran_order': False, 'shape': (rows, width), }   spaces   line feed
//! 128  the numbers, row by row, little-endian
//! ```
//!
//! Source: `numpy/lib/format.py`. The crates for this format also read it, with a parser of Python's
//! literals; here a fixed head is all that is needed.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// Bytes before the numbers: a multiple of 64, with room for any number of rows.
const HEADER_BYTES: usize = 128;

/// A file under way. It has its name only when it is whole ([`NpyWriter::finish`]); dropped before
/// that, it leaves nothing.
pub struct NpyWriter {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
    width: usize,
    rows: u64,
}

impl NpyWriter {
    /// Begins a file of rows of `width` numbers that is to replace `path`.
    ///
    /// # Errors
    /// Its directory cannot be written to; the message names the path.
    pub fn create(path: &Path, width: usize) -> Result<Self> {
        let display = path.display();
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            bail!("{display}: cannot write: not the name of a file");
        };
        let prefix = format!(".{}.tmp-", name.to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        // As an ordinary file: what the umask allows, not what suits a secret.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder
            .tempfile_in(parent(path))
            .with_context(|| format!("{display}: cannot write"))?;
        let mut writer =
            NpyWriter { file: BufWriter::new(file), path: path.to_owned(), width, rows: 0 };
        let head = writer.header();
        writer.attempt(|file| file.write_all(&head))?;
        Ok(writer)
    }

    /// Appends a row; it has the width of the file.
    ///
    /// # Errors
    /// It cannot be written; the message names the path.
    pub fn push(&mut self, row: &[f32]) -> Result<()> {
        debug_assert_eq!(row.len(), self.width);
        self.rows += 1;
        self.attempt(|file| row.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())))
    }

    /// Completes the file, forces it to the disk and gives it its name; then the number of rows.
    ///
    /// # Errors
    /// One of these fails; the message names the path, and what stood there still stands.
    pub fn finish(mut self) -> Result<u64> {
        let head = self.header();
        self.attempt(|file| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&head)?;
            file.flush()?;
            file.get_ref().as_file().sync_all()
        })?;
        let NpyWriter { file, path, rows, .. } = self;
        let failed = || format!("{}: cannot write", path.display());
        let file = file.into_inner().map_err(|error| error.into_error()).with_context(failed)?;
        file.persist(&path).map_err(|error| error.error).with_context(failed)?;
        // The name is in the directory, which is a file of its own.
        #[cfg(unix)]
        File::open(parent(&path))
            .and_then(|directory| directory.sync_all())
            .with_context(failed)?;
        Ok(rows)
    }

    fn attempt(
        &mut self,
        write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> std::io::Result<()>,
    ) -> Result<()> {
        write(&mut self.file).with_context(|| format!("{}: cannot write", self.path.display()))
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let shape = format!("({}, {})", self.rows, self.width);
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let mut header = [b' '; HEADER_BYTES];
        header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
        header[8..10].copy_from_slice(&(HEADER_BYTES as u16 - 10).to_le_bytes());
        // At most 58 bytes and the digits of two numbers of 64 bits.
        header[10..10 + text.len()].copy_from_slice(text.as_bytes());
        header[HEADER_BYTES - 1] = b'\n';
        header
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
