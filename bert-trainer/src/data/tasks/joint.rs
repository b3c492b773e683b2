use std::path::Path;

use super::{Gold, RawExample, count};
use crate::data::DataError;
use crate::data::corpus::Lines;

/// Reads TSV `intent<TAB>tokens<TAB>BIO tags`; blank lines are skipped.
pub(super) fn read(path: &Path) -> Result<Vec<RawExample>, DataError> {
    const EXPECTED: &str = "3 columns `intent<TAB>tokens<TAB>tags`";
    let mut lines = Lines::open(path)?;
    let mut examples = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let [intent, tokens, tags] = columns[..] else {
            let found = count(columns.len(), "column");
            return Err(lines.error(EXPECTED, found));
        };
        if intent.trim().is_empty() {
            return Err(lines.error("an intent before the first tab", "an empty one"));
        }
        let tokens: Vec<&str> = tokens.split_whitespace().collect();
        let tags: Vec<&str> = tags.split_whitespace().collect();
        if tokens.is_empty() {
            return Err(lines.error("tokens between the tabs", "none"));
        }
        if tokens.len() != tags.len() {
            let expected = format!("a tag for each of {}", count(tokens.len(), "token"));
            let found = count(tags.len(), "tag");
            return Err(lines.error(expected, found));
        }
        let mut example = RawExample::new("", 0);
        example.gold = Gold::Label(intent.trim().to_owned());
        for (token, tag) in tokens.iter().zip(&tags) {
            example.push_word(token, tag);
        }
        example.line = lines.line();
        examples.push(example);
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{check_error, with_file};
    use super::*;

    #[test]
    fn intents_tokens_and_tags() {
        let examples = with_file(b"Play\tplay  jazz\tO B-genre\n", read).unwrap();
        assert_eq!(examples[0].label(), Some("Play"));
        assert_eq!(examples[0].text, "play jazz");
        assert_eq!((examples[0].word(1), examples[0].tags[1].as_str()), ("jazz", "B-genre"));
    }

    #[test]
    fn errors_say_what_was_expected() {
        let read = |bytes: &[u8]| with_file(bytes, read);
        check_error(read(b"a\tb\tO\na\tb c\tO\n"), ":2: expected a tag for each of 2", "1 tag");
        check_error(read(b"a\tb c\n"), ":1: expected 3 columns", "found 2 columns");
        check_error(read(b"\tb\tO\n"), ":1: expected an intent", "empty");
        check_error(read(b"a\t \tO\n"), ":1: expected tokens", "none");
    }
}
