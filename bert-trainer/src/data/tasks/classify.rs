use std::path::Path;

use super::{Gold, RawExample, count};
use crate::data::DataError;
use crate::data::corpus::Lines;

/// Reads TSV `label<TAB>text`; blank lines are skipped.
pub(super) fn read(path: &Path) -> Result<Vec<RawExample>, DataError> {
    const EXPECTED: &str = "2 columns `label<TAB>text`";
    let mut lines = Lines::open(path)?;
    let mut examples = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let [label, text] = columns[..] else {
            let found = count(columns.len(), "column");
            return Err(lines.error(EXPECTED, found));
        };
        let (label, text) = (label.trim(), text.trim());
        if label.is_empty() {
            return Err(lines.error("a label before the tab", "an empty one"));
        }
        if text.is_empty() {
            return Err(lines.error("a text after the tab", "an empty one"));
        }
        let gold = Gold::Label(label.to_owned());
        examples.push(RawExample { gold, ..RawExample::new(text, lines.line()) });
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{check_error, with_file};
    use super::*;

    #[test]
    fn labels_and_texts() {
        let examples = with_file(b"a\tone two\r\n\nb x\t three\n", read).unwrap();
        assert_eq!(examples.len(), 2);
        assert_eq!(examples[0].label(), Some("a"));
        assert_eq!(examples[1].label(), Some("b x"));
        assert_eq!((examples[1].text.as_str(), examples[1].line), ("three", 3));
    }

    #[test]
    fn errors_say_what_was_expected() {
        let read = |bytes: &[u8]| with_file(bytes, read);
        check_error(read(b"a\tb\nno tab\n"), ":2: expected 2 columns", "found 1 column");
        check_error(read(b"a\tb\tc\n"), ":1: expected 2 columns", "found 3 columns");
        check_error(read(b" \tb\n"), ":1: expected a label", "empty");
        check_error(read(b"a\t \n"), ":1: expected a text", "empty");
        check_error(read(b"a\tb\nc\t\xc3\x28\n"), ":2: expected UTF-8", "byte 0xc3 at column 3");
    }
}
