use std::path::Path;

use super::{RawExample, count};
use crate::data::DataError;
use crate::data::corpus::{Lines, MAX_LINE_BYTES};

/// Reads CoNLL: the token in the first column, the tag in column `tag_column` (from 1), columns
/// separated by tabs, a blank line between sentences.
///
/// A line that starts with `#` and has no tab is a comment, as in CoNLL-U.
/// Blanks within a token become part of the text but not of the alignment: the tag belongs to the
/// first piece of the token.
pub(super) fn read(path: &Path, tag_column: usize) -> Result<Vec<RawExample>, DataError> {
    if tag_column < 2 {
        return Err(DataError::option(
            "tag-column",
            "2 or more (the token is in column 1)",
            tag_column,
        ));
    }
    let mut lines = Lines::open(path)?;
    let mut examples = Vec::new();
    let mut sentence: Option<RawExample> = None;
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            examples.extend(sentence.take());
            continue;
        }
        if line.starts_with('#') && !line.contains('\t') {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let Some(tag) = columns.get(tag_column - 1) else {
            let expected = match tag_column {
                2 => "2 or more columns `token<TAB>tag`".to_owned(),
                n => format!("{n} or more columns, the tag in column {n}"),
            };
            let found = count(columns.len(), "column");
            return Err(lines.error(expected, found));
        };
        let (token, tag) = (columns[0].trim(), tag.trim());
        if token.is_empty() {
            return Err(lines.error("a token in column 1", "an empty one"));
        }
        if tag.is_empty() {
            return Err(lines.error(format!("a tag in column {tag_column}"), "an empty one"));
        }
        let (token, tag) = (token.to_owned(), tag.to_owned());
        let line = lines.line();
        let example = sentence.get_or_insert_with(|| RawExample::new("", line));
        example.push_word(&token, &tag);
        if example.text.len() > MAX_LINE_BYTES {
            let expected = format!("a sentence of at most {} MiB", MAX_LINE_BYTES >> 20);
            return Err(lines.error(expected, "no blank line"));
        }
    }
    examples.extend(sentence);
    Ok(examples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{check_error, with_file};
    use super::*;

    const TEXT: &[u8] = b"# text = A b\nA\tX\tP\nb\tY\tQ\n\n\n#\tSYM\tR\n";

    #[test]
    fn sentences_of_tagged_tokens() {
        let examples = with_file(TEXT, |path| read(path, 2)).unwrap();
        assert_eq!(examples.len(), 2);
        assert_eq!((examples[0].text.as_str(), examples[0].line), ("A b", 2));
        assert_eq!(examples[0].tags, ["X", "Y"]);
        assert_eq!((examples[1].word(0), examples[1].line), ("#", 6));
        let examples = with_file(TEXT, |path| read(path, 3)).unwrap();
        assert_eq!(examples[0].tags, ["P", "Q"]);
    }

    #[test]
    fn errors_say_what_was_expected() {
        let read_column = |bytes: &[u8], column| with_file(bytes, |path| read(path, column));
        check_error(read_column(b"a\tX\nb\n", 2), ":2: expected 2 or more columns", "1 column");
        check_error(read_column(TEXT, 4), ":2: expected 4 or more columns", "3 columns");
        check_error(read_column(b"\tX\n", 2), ":1: expected a token", "empty");
        check_error(read_column(b"a\t\n", 2), ":1: expected a tag in column 2", "empty");
        check_error(read_column(TEXT, 1), "tag-column: expected 2 or more", "found 1");
    }
}
