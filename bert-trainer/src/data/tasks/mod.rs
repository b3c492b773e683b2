//! Files of fine-tuning tasks: reading, label sets, features, batches.
//!
//! | task | file | a line |
//! |---|---|---|
//! | classify | TSV | `label<TAB>text` |
//! | tag | CoNLL | `token<TAB>tag`, a blank line between sentences |
//! | joint | TSV | `intent<TAB>tokens<TAB>BIO tags`, tokens and tags separated by spaces |

mod classify;
mod features;
mod joint;
mod labels;
pub mod squad;
pub mod table;
mod tag;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DataError;
pub use features::{TaskData, TaskExample};
pub use labels::{Labels, TaskLabels};

/// What a head predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// One label for the text.
    Classify,
    /// One tag for each word.
    Tag,
    /// One label for the text (the intent) and one tag for each word (the slots).
    Joint,
}

impl TaskKind {
    /// The task as the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::Joint => "joint",
        }
    }

    /// Whether the text has a label.
    pub fn has_label(self) -> bool {
        self != TaskKind::Tag
    }

    /// Whether the words have tags.
    pub fn has_tags(self) -> bool {
        self != TaskKind::Classify
    }
}

/// An example as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawExample {
    /// The text; for tasks with tags, the words joined by one space.
    pub text: String,
    /// Byte ranges of the words in `text`; empty for [`TaskKind::Classify`].
    pub words: Vec<(u32, u32)>,
    /// Label of the text, unless the task is [`TaskKind::Tag`].
    pub label: Option<String>,
    /// Tag of each word, as long as `words`.
    pub tags: Vec<String>,
    /// Number of the example's first line in the file, from 1.
    pub line: u64,
}

impl RawExample {
    /// A text without labels, as `predict` gets it; `has_words` if the task tags them. Words are what
    /// white space separates.
    pub fn unlabelled(text: &str, has_words: bool, line: u64) -> Self {
        let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        let range = |word: &str| (start_of(word) as u32, (start_of(word) + word.len()) as u32);
        let words =
            if has_words { text.split_whitespace().map(range).collect() } else { Vec::new() };
        Self { text: text.to_owned(), words, label: None, tags: Vec::new(), line }
    }

    /// The word at `index`, below `words.len()`.
    pub fn word(&self, index: usize) -> &str {
        let (start, end) = self.words[index];
        &self.text[start as usize..end as usize]
    }

    fn push_word(&mut self, word: &str, tag: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len() as u32;
        self.text.push_str(word);
        self.words.push((start, self.text.len() as u32));
        self.tags.push(tag.to_owned());
    }
}

/// The column of CoNLL files that holds the tag, from 1, unless told otherwise.
pub const DEFAULT_TAG_COLUMN: usize = 2;

/// Reads the examples of a task file, plain or compressed.
///
/// `tag_column` counts from 1 and matters for [`TaskKind::Tag`] only.
///
/// # Errors
/// [`DataError`] with file, line and expectation: wrong number of columns, an empty label or text,
/// as many tags as tokens missed, invalid UTF-8, no example at all, an unreadable file.
pub fn read(path: &Path, kind: TaskKind, tag_column: usize) -> Result<Vec<RawExample>, DataError> {
    let examples = match kind {
        TaskKind::Classify => classify::read(path)?,
        TaskKind::Tag => tag::read(path, tag_column)?,
        TaskKind::Joint => joint::read(path)?,
    };
    if examples.is_empty() {
        let expected = match kind {
            TaskKind::Classify => "lines `label<TAB>text`",
            TaskKind::Tag => "lines `token<TAB>tag`",
            TaskKind::Joint => "lines `intent<TAB>tokens<TAB>tags`",
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
                let raw = read(&path, kind, DEFAULT_TAG_COLUMN).unwrap();
                assert_eq!(raw.len(), count, "{folder}/{name}");
                let labels = labels.get_or_insert_with(|| TaskLabels::collect(kind, &raw));
                let data = TaskData::encode(&path, &raw, labels, &tokenizer(), 64).unwrap();
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
                TaskKind::Joint => (7, 72),
            };
            assert_eq!((classes, tags), expected);
        }
    }

    #[test]
    fn a_file_without_examples_is_an_error() {
        for kind in [TaskKind::Classify, TaskKind::Tag, TaskKind::Joint] {
            let result = with_file(b"\n \n", |path| read(path, kind, DEFAULT_TAG_COLUMN));
            check_error(result, "expected lines `", "no example");
        }
        check_error(read(Path::new("/none.tsv"), TaskKind::Tag, 2), "/none.tsv", "cannot read");
    }
}
