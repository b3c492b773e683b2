use std::path::{Path, PathBuf};

/// What can be wrong with files that are read or written by [`crate::data`].
///
/// Each message is one line that names the file, the line where there is one, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused, or a compressed file is damaged or cut short.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: `read`, `write`, `create`, …
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A result could not be written; what was there before still is.
    #[error(transparent)]
    Write(#[from] crate::atomic::WriteError),
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
    /// A file as a whole is not what was expected: empty, truncated, edited, of another version.
    #[error("{}: expected {expected}, found {found}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A label that the training file does not have.
    #[error("{}:{line}: unknown {what} {label:?}; known are {known}", path.display())]
    UnknownLabel {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// `label` or `tag`.
        what: &'static str,
        /// The label as written.
        label: String,
        /// The labels that are known, separated by commas; long lists are cut.
        known: String,
    },
    /// An option has a value that makes no sense, alone or with the data.
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        /// Name of the option as on the command line, without dashes.
        option: &'static str,
        /// What was expected.
        expected: String,
        /// What was given.
        found: String,
    },
}

impl DataError {
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        DataError::Io { path: path.to_owned(), action, source }
    }

    pub(crate) fn line(
        path: &Path,
        line: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        DataError::Line {
            path: path.to_owned(),
            line,
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn file(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        DataError::File { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    pub(crate) fn option(
        option: &'static str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        DataError::Option { option, expected: expected.into(), found: found.to_string() }
    }
}
