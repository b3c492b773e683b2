//! Files of fine-tuning tasks: reading, label sets, features, batches.
//!
//! ```text
//! file ─► RawExample ─► TaskLabels ─► TaskData (ids, windows, targets) ─► TaskBatch
//! ```
//!
//! | task | file | a line |
//! |---|---|---|
//! | classify | TSV, CSV, JSON lines | `label<TAB>text` |
//! | multi-label | the same | `label|label<TAB>text` |
//! | pair | the same | `label<TAB>a<TAB>b` |
//! | regress | the same | `number<TAB>text` or `number<TAB>a<TAB>b` |
//! | tag | CoNLL | `token<TAB>tag`, a blank line between sentences |
//! | joint | TSV | `intent<TAB>tokens<TAB>BIO tags`, tokens and tags separated by spaces |
//! | span | JSON of SQuAD v1.1 or v2.0 | |

mod encode;
mod example;
mod features;
mod joint;
mod kind;
mod labelled;
mod labels;
pub mod squad;
pub mod table;
mod tag;
mod texts;
mod windows;

use std::path::Path;

use self::table::{ColumnChoice, TableFormat};
use super::DataError;
pub use example::{Gold, RawExample};
pub use features::{ContextTokens, EncodeOptions, Target, TaskData, TaskExample};
pub use kind::TaskKind;
pub use labels::{Labels, TaskLabels};
pub use squad::GoldAnswer;
pub use texts::{read_texts, texts_of_task};

/// How the files of a task are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Column of CoNLL files that holds the tag, from 1; the token is in the first.
    pub tag_column: usize,
    /// Columns of tables.
    pub columns: ColumnChoice,
    /// Whether the first line of a table names its columns.
    pub has_header: bool,
    /// How tables are written; by the file's name if `None`.
    pub format: Option<TableFormat>,
    /// Whether rows of tables that are not as they should be are left out, see
    /// [`table::read_damaged_table`], rather than an error.
    pub leave_out_broken_rows: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        let columns = ColumnChoice::default();
        Self {
            tag_column: 2,
            columns,
            has_header: false,
            format: None,
            leave_out_broken_rows: false,
        }
    }
}

/// Reads the examples of a task file, plain or compressed.
///
/// # Errors
/// [`DataError`] with file, line and expectation: wrong number of columns, an empty label or text,
/// as many tags as tokens missed, invalid UTF-8, no example at all, an unreadable file.
pub fn read(
    path: &Path,
    kind: TaskKind,
    options: &ReadOptions,
) -> Result<Vec<RawExample>, DataError> {
    let examples = match kind {
        TaskKind::Tag => tag::read(path, options.tag_column)?,
        TaskKind::Joint => joint::read(path)?,
        TaskKind::Span => labelled::read_questions(path)?,
        _ => labelled::read_labelled(path, kind, options)?,
    };
    if examples.is_empty() {
        let expected = match kind {
            TaskKind::Tag => "lines `token<TAB>tag`",
            TaskKind::Joint => "lines `intent<TAB>tokens<TAB>tags`",
            _ => "examples",
        };
        return Err(DataError::file(path, expected, "no example"));
    }
    Ok(examples)
}

/// `1 column`, `2 columns`.
fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::TextTokenizer;
    use crate::data::tests::data_file;
    use crate::data::tokenizer::TokenizerConfig;

    /// Runs `f` on a file with the given bytes.
    pub(super) fn with_file<T>(bytes: &[u8], f: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.tsv");
        std::fs::write(&path, bytes).unwrap();
        f(&path)
    }

    /// Checks that the message has both parts and is one line.
    pub(super) fn check_error<T: std::fmt::Debug>(
        result: Result<T, DataError>,
        expected: &str,
        found: &str,
    ) {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains(found), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    /// A vocabulary of five words.
    pub(super) fn tokenizer() -> TextTokenizer {
        let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        let words = ["play", "un", "##play", "##ed", "jazz", "stop"];
        let config = TokenizerConfig {
            lower_case: true,
            strip_accents: true,
            split_chinese: true,
            max_word_chars: 100,
        };
        let pieces = pieces.iter().chain(&words).map(|&piece| piece.to_owned()).collect();
        TextTokenizer::from_pieces(pieces, config).unwrap()
    }

    #[test]
    fn real_files_have_the_counts_of_their_descriptions() {
        let files = [
            (TaskKind::Classify, "banking77", [("train.tsv", 10_003), ("test.tsv", 3_080)]),
            (TaskKind::Tag, "ud_ewt", [("train.conll", 12_544), ("test.conll", 2_077)]),
            (TaskKind::Joint, "snips", [("train.tsv", 13_084), ("test.tsv", 700)]),
        ];
        for (kind, folder, counts) in files {
            let mut labels = None;
            for (name, count) in counts {
                let Some(path) = data_file(&format!("{folder}/{name}")) else { return };
                let raw = read(&path, kind, &ReadOptions::default()).unwrap();
                assert_eq!(raw.len(), count, "{folder}/{name}");
                let labels = labels.get_or_insert_with(|| TaskLabels::collect(kind, &raw));
                let options = EncodeOptions::new(64);
                let data = TaskData::encode(&path, &raw, kind, labels, &tokenizer(), options);
                let data = data.unwrap();
                // One word of SNIPS (line 8427) is a row of U+FFFD, which BERT drops.
                let invisible = usize::from((folder, name) == ("snips", "train.tsv"));
                assert_eq!(data.invisible_words, invisible);
            }
            let labels: TaskLabels = labels.unwrap();
            let classes = labels.classes.map_or(0, |classes| classes.len());
            let tags = labels.tags.map_or(0, |tags| tags.len());
            let expected = match kind {
                TaskKind::Classify => (77, 0),
                TaskKind::Tag => (0, 17),
                _ => (7, 72),
            };
            assert_eq!((classes, tags), expected);
        }
    }

    #[test]
    fn a_file_without_examples_is_an_error() {
        for kind in [TaskKind::Classify, TaskKind::Tag, TaskKind::Joint] {
            let result = with_file(b"\n \n", |path| read(path, kind, &ReadOptions::default()));
            check_error(result, "expected ", "no ");
        }
        check_error(
            read(Path::new("/none.tsv"), TaskKind::Tag, &ReadOptions::default()),
            "/none.tsv",
            "cannot read",
        );
    }
}
