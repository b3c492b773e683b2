//! Texts without a question: what a file says, whatever is to be learned from it.

use std::path::Path;

use super::table::{TableFormat, Wanted, read_table};
use super::{RawExample, ReadOptions, TaskKind};
use crate::data::DataError;
use crate::data::corpus::Lines;

/// The texts of a file of a task, both of a pair, each context as often as it is asked about. Without
/// a task they are what [`read_texts`] finds, second texts included.
///
/// # Errors
/// [`DataError`] as [`super::read`].
pub fn texts_of_task(
    path: &Path,
    kind: Option<TaskKind>,
    options: &ReadOptions,
) -> Result<Vec<String>, DataError> {
    match kind {
        Some(kind) => {
            let both = |example: RawExample| [Some(example.text), example.second];
            Ok(super::read(path, kind, options)?.into_iter().flat_map(both).flatten().collect())
        }
        None => read_texts(path, options, None),
    }
}

/// The texts of a file: a line each, blank ones too, or a row of a table (by the file's name, or since
/// an option asks for one). `second` says whether a row has another one, as [`Wanted::second`].
///
/// # Errors
/// [`DataError`] if there is no text, a row is not as it should be, or the file cannot be read.
pub fn read_texts(
    path: &Path,
    options: &ReadOptions,
    second: Option<bool>,
) -> Result<Vec<String>, DataError> {
    if !is_table(path, options) {
        return lines(path);
    }
    let (columns, has_header) = (options.columns.clone(), options.has_header);
    let wanted = Wanted { columns, has_header, second, ..Wanted::default() };
    let format = options.format.unwrap_or_else(|| TableFormat::of(path));
    let rows = read_table(path, format, &wanted)?;
    Ok(rows.into_iter().flat_map(|row| [Some(row.text), row.second]).flatten().collect())
}

fn is_table(path: &Path, options: &ReadOptions) -> bool {
    let columns = &options.columns;
    let chosen = columns.text.is_some() || columns.second.is_some() || columns.label.is_some();
    let asked = chosen || options.has_header || options.format.is_some();
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    // TSV is what all other names stand for, so its own is looked for.
    let is_tsv = name.split('.').skip(1).any(|part| part == "tsv");
    asked || is_tsv || TableFormat::of(path) != TableFormat::Tsv
}

fn lines(path: &Path) -> Result<Vec<String>, DataError> {
    let mut lines = Lines::open(path)?;
    let mut texts = Vec::new();
    while let Some(line) = lines.next_line()? {
        texts.push(line.to_owned());
    }
    match texts.is_empty() {
        true => Err(DataError::file(path, "a text a line", "none")),
        false => Ok(texts),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(name: &str, text: &str, kind: Option<TaskKind>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        texts_of_task(&path, kind, &ReadOptions::default()).unwrap()
    }

    #[test]
    fn every_text_of_a_file_is_found() {
        let pair = found("a.tsv", "yes\tone\ttwo\n", Some(TaskKind::Pair));
        assert_eq!(pair, ["one", "two"]);
        assert_eq!(found("a.tsv", "yes\tone\ttwo\n", None), ["one", "two"]);
        assert_eq!(found("a.tsv", "yes\tone two\n", None), ["one two"]);
        assert_eq!(found("a.txt", "yes\tone two\n\nthree\n", None), ["yes\tone two", "", "three"]);
        assert_eq!(found("a.jsonl", "{\"text\": \"one\"}\n", None), ["one"]);
        let tagged = found("a.conll", "one\tO\ntwo\tB-x\n\nthree\tO\n", Some(TaskKind::Tag));
        assert_eq!(tagged, ["one two", "three"]);
    }

    #[test]
    fn a_file_without_texts_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "").unwrap();
        let error = texts_of_task(&path, None, &ReadOptions::default()).unwrap_err();
        assert!(
            error.to_string().ends_with("a.txt: expected a text a line, found none"),
            "{error}"
        );
    }
}
