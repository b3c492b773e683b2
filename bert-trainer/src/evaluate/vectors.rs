//! Vectors as a file: NumPy's format, JSON lines or safetensors, by the ending of its name.
//!
//! How many vectors there are is known before the first is computed, so a file is written from front to
//! back, and has its name only when it is whole ([`crate::atomic`]). `bert-edge` does not know it, goes
//! back to the head when it has read all texts, and so has its own writer of NumPy's format; the two
//! have the 128 bytes of the head in common, which are fixed by `numpy/lib/format.py`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::TextVector;
use crate::{atomic, checkpoint};

/// Name of the one tensor in a safetensors file.
pub const TENSOR: &str = "embeddings";

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorFormat {
    /// `.npy`: a matrix of f32, a row a text.
    Npy,
    /// `.jsonl`: an object a text.
    JsonLines,
    /// `.safetensors`: the same matrix as the tensor [`TENSOR`].
    Safetensors,
}

impl VectorFormat {
    /// The format that the ending of a name stands for.
    ///
    /// # Errors
    ///
    /// Another ending.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Ok(match ending.as_str() {
            "npy" => Self::Npy,
            "jsonl" => Self::JsonLines,
            "safetensors" => Self::Safetensors,
            _ => bail!(
                "{}: expected a name that ends in .npy, .jsonl or .safetensors",
                path.display()
            ),
        })
    }
}

/// A line of JSON. Written without the detour over a JSON value, so that f32 keeps its few digits.
#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    vector: &'a [f32],
    tokens: usize,
    truncated: bool,
}

/// The JSON object of a text with its vector, on one line.
///
/// # Errors
///
/// Never for finite numbers and text.
pub fn json_line(text: &str, vector: &TextVector) -> serde_json::Result<String> {
    let TextVector { values, tokens, truncated } = vector;
    serde_json::to_string(&Line { text, vector: values, tokens: *tokens, truncated: *truncated })
}

/// Where the vectors of a file go, one after another.
pub struct VectorSink<'a> {
    out: &'a mut dyn Write,
    format: VectorFormat,
}

impl VectorSink<'_> {
    /// Appends a vector.
    ///
    /// # Errors
    ///
    /// What the operating system reports.
    pub fn push(&mut self, text: &str, vector: &TextVector) -> io::Result<()> {
        match self.format {
            VectorFormat::JsonLines => writeln!(self.out, "{}", json_line(text, vector)?),
            _ => self.out.write_all(bytemuck::cast_slice(&vector.values)),
        }
    }
}

/// Writes a file of `rows` vectors of `width` numbers, which `fill` pushes.
///
/// # Errors
///
/// What `fill` returns; what the operating system reports, with the path. What stood there before
/// still stands.
pub fn write_vectors(
    path: &Path,
    rows: usize,
    width: usize,
    fill: impl FnOnce(&mut VectorSink<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let format = VectorFormat::of(path)?;
    let mut failure = None;
    let written = atomic::write_file_with(path, |out| {
        match format {
            VectorFormat::Npy => out.write_all(&npy_head(rows, width))?,
            VectorFormat::Safetensors => {
                checkpoint::write_header(out, None, &[(TENSOR, &[rows, width])])?;
            }
            VectorFormat::JsonLines => {}
        }
        // A failure of the model is not one of the file, and must not be told as one.
        fill(&mut VectorSink { out, format }).map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => error,
            Err(error) => {
                failure = Some(error);
                io::Error::other("the vectors stopped")
            }
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(written?),
    }
}

const NPY_HEAD_BYTES: usize = 128;

/// Magic, version 1.0, the length of the text that follows, the text, spaces and a line feed.
fn npy_head(rows: usize, width: usize) -> [u8; NPY_HEAD_BYTES] {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let mut head = [b' '; NPY_HEAD_BYTES];
    head[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    head[8..10].copy_from_slice(&(NPY_HEAD_BYTES as u16 - 10).to_le_bytes());
    // At most 58 bytes and the digits of two numbers of 64 bits.
    head[10..10 + text.len()].copy_from_slice(text.as_bytes());
    head[NPY_HEAD_BYTES - 1] = b'\n';
    head
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ending_decides() {
        let format = |name: &str| VectorFormat::of(Path::new(name));
        assert_eq!(format("a/v.npy").unwrap(), VectorFormat::Npy);
        assert_eq!(format("v.JSONL").unwrap(), VectorFormat::JsonLines);
        assert_eq!(format("v.x.safetensors").unwrap(), VectorFormat::Safetensors);
        for name in ["v", "npy", "v.npz", "v.npy.gz"] {
            assert!(format(name).unwrap_err().to_string().contains(".npy, .jsonl"), "{name}");
        }
    }

    #[test]
    fn the_head_is_that_of_numpy() {
        // numpy.lib.format.write_array_header_1_0 pads to a multiple of 64 as well.
        for (rows, width) in [(0, 1), (3, 128), (usize::MAX, usize::MAX)] {
            let head = npy_head(rows, width);
            let text = str::from_utf8(&head[10..]).unwrap();
            assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': ("));
            assert!(text.trim_end().ends_with(&format!("({rows}, {width}), }}")));
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn a_failure_of_the_model_is_told_as_such_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.npy");
        let error = write_vectors(&path, 1, 1, |_| bail!("the model fell over")).unwrap_err();
        assert_eq!(error.to_string(), "the model fell over");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = write_vectors(&path, 1, 1, |_| Err(full().into())).unwrap_err();
        assert!(error.to_string().contains("v.npy: cannot write the file"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
