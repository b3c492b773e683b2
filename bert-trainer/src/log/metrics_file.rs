//! `metrics.jsonl`: one JSON object a line, each with its `step`, in ascending order.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::WriteError;

/// Name of the file inside an output directory.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The metrics of a run, appended to as it goes.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

/// What every line has.
#[derive(Deserialize)]
struct Stepped {
    step: u64,
}

impl MetricsFile {
    /// Opens `directory/metrics.jsonl` for a run that has done `step` steps, making what is
    /// missing. Lines of later steps, which a killed run wrote after its last checkpoint, are cut
    /// off; the resumed run writes them again.
    ///
    /// # Errors
    /// The operating system refuses, or a line is no JSON object with a `step`.
    pub fn open(directory: &Path, step: u64) -> Result<Self, WriteError> {
        let path = directory.join(METRICS_FILE);
        let fail = |source| WriteError::new(&path, "open the metrics", source);
        fs::create_dir_all(directory).map_err(fail)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        let text = fs::read(&path).map_err(fail)?;
        let kept = length_up_to(&text, step).map_err(fail)?;
        file.set_len(kept).map_err(fail)?;
        file.seek(SeekFrom::Start(kept)).map_err(fail)?;
        Ok(Self { path, file })
    }

    /// Writes `line`, which must have a field `step`, as one line; it is with the operating
    /// system when this returns.
    ///
    /// # Errors
    /// `line` is no JSON object, or the operating system refuses.
    pub fn append(&mut self, line: &impl Serialize) -> Result<(), WriteError> {
        let mut text = serde_json::to_vec(line).map_err(|error| self.failed(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| self.failed(error))
    }

    /// Forces the lines to the disk. To be called before a checkpoint that counts on them.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::new(&self.path, "write the metrics", source)
    }
}

/// Bytes of the whole lines of steps up to `last`. A line without an end was never finished.
fn length_up_to(text: &[u8], last: u64) -> io::Result<u64> {
    let mut length = 0;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        let stepped: Stepped = serde_json::from_slice(line).map_err(|error| {
            let message = format!("line {}: expected an object with a step: {error}", index + 1);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        if stepped.step > last {
            break;
        }
        length += line.len() as u64;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn line(step: u64) -> serde_json::Value {
        json!({"step": step, "loss": 1.0 / step as f64})
    }

    #[test]
    fn a_resumed_run_writes_the_file_of_an_undisturbed_one() {
        let dir = tempfile::tempdir().unwrap();
        let (calm, killed) = (dir.path().join("calm"), dir.path().join("killed"));
        let mut file = MetricsFile::open(&calm, 0).unwrap();
        (1..=9).for_each(|step| file.append(&line(step)).unwrap());
        file.sync().unwrap();

        let mut file = MetricsFile::open(&killed, 0).unwrap();
        (1..=6).for_each(|step| file.append(&line(step)).unwrap());
        file.file.write_all(b"{\"step\":7,\"lo").unwrap();
        let mut file = MetricsFile::open(&killed, 4).unwrap();
        (5..=9).for_each(|step| file.append(&line(step)).unwrap());
        let read = |at: &Path| fs::read_to_string(at.join(METRICS_FILE)).unwrap();
        assert_eq!(read(&killed), read(&calm));

        // A run from the beginning has nothing to keep.
        MetricsFile::open(&killed, 0).unwrap();
        assert_eq!(read(&killed), "");
    }

    #[test]
    fn a_strange_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(METRICS_FILE), "{\"step\":1}\nhello\n").unwrap();
        let error = MetricsFile::open(dir.path(), 5).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: cannot open the metrics: line 2"), "{error}");
        assert!(!error.contains('\n'));
    }
}
