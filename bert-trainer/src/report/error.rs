//! What can be wrong with the files of a run.

use std::path::{Path, PathBuf};

use crate::atomic::WriteError;

/// Why a run cannot be read or its report cannot be written.
///
/// Each message is one line that names the file, the line where there is one, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The operating system refused.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is not what the format asks for.
    #[error("{}:{line}: expected {expected}, found {found}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What the format asks for.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A file or directory as a whole is not what was expected.
    #[error("{}: expected {expected}, found {found}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A curve cannot be drawn.
    #[error("cannot draw the curve {title:?}: {problem}")]
    Chart {
        /// Title of the chart.
        title: String,
        /// What the plotting library says.
        problem: String,
    },
    /// The report or the record cannot be written; what was there before still is.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ReportError {
    pub(super) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn line(
        path: &Path,
        line: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self::Line { path: path.to_owned(), line, expected, found }
    }

    pub(super) fn file(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}
