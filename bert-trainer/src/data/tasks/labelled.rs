//! Texts and pairs with labels or numbers, from rows of a table; questions, from SQuAD's JSON.

use std::path::Path;

use super::squad::{Question, read_squad};
use super::table::{Fields, TableFormat, Wanted, read_damaged_table, read_table};
use super::{Gold, RawExample, ReadOptions, TaskKind};
use crate::data::DataError;

/// Reads the rows of a table as examples of a task whose labels belong to whole texts.
pub(super) fn read_labelled(
    path: &Path,
    kind: TaskKind,
    options: &ReadOptions,
) -> Result<Vec<RawExample>, DataError> {
    let wanted = Wanted {
        columns: options.columns.clone(),
        has_header: options.has_header,
        second: kind.takes_two_texts(),
        label: kind != TaskKind::MultiLabel,
        many_labels: kind == TaskKind::MultiLabel,
    };
    let format = options.format.unwrap_or_else(|| TableFormat::of(path));
    let rows = if options.leave_out_broken_rows {
        read_damaged_table(path, format, &wanted)?.0
    } else {
        read_table(path, format, &wanted)?
    };
    rows.into_iter().map(|row| example(path, kind, row)).collect()
}

fn example(path: &Path, kind: TaskKind, row: Fields) -> Result<RawExample, DataError> {
    let label = row.label.unwrap_or_default();
    let gold = match kind {
        TaskKind::MultiLabel => Gold::Labels(row.labels),
        TaskKind::Regress => match label.parse::<f64>() {
            Ok(value) if value.is_finite() => Gold::Value(value),
            _ => return Err(DataError::line(path, row.line, "a number", format!("{label:?}"))),
        },
        _ => Gold::Label(label),
    };
    Ok(RawExample { second: row.second, gold, ..RawExample::new(row.text, row.line) })
}

/// Reads questions with their contexts and answers. A question without an answer has to say that it
/// is impossible: a file without answers is not one of impossible questions.
pub(super) fn read_questions(path: &Path) -> Result<Vec<RawExample>, DataError> {
    let read = |question: Question| {
        if question.answers.is_empty() && !question.is_impossible {
            let expected = format!("answers of question {:?}, or is_impossible", question.id);
            return Err(DataError::file(path, expected, "neither"));
        }
        Ok(RawExample {
            second: Some(question.context.to_string()),
            gold: Gold::Answers(question.answers),
            id: Some(question.id),
            ..RawExample::new(question.question, question.number)
        })
    };
    read_squad(path)?.questions.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{check_error, with_file};
    use super::*;

    fn read(bytes: &[u8], kind: TaskKind) -> Result<Vec<RawExample>, DataError> {
        with_file(bytes, |path| read_labelled(path, kind, &ReadOptions::default()))
    }

    #[test]
    fn each_task_finds_its_columns() {
        let examples = read(b"a\tone two\r\n\nb x\t three\n", TaskKind::Classify).unwrap();
        assert_eq!(examples.len(), 2);
        assert_eq!((examples[0].label(), examples[1].label()), (Some("a"), Some("b x")));
        assert_eq!((examples[1].text.as_str(), examples[1].line), ("three", 3));

        let examples = read(b"yes\tone\ttwo\n", TaskKind::Pair).unwrap();
        assert_eq!(
            (examples[0].text.as_str(), examples[0].second.as_deref()),
            ("one", Some("two"))
        );

        let examples = read(b"a|b\tone\n\ttwo\n", TaskKind::MultiLabel).unwrap();
        assert_eq!((examples[0].labels().len(), examples[1].labels().len()), (2, 0));

        let examples = read(b"0.5\tone\n-3\ttwo\n", TaskKind::Regress).unwrap();
        assert_eq!((examples[0].value(), examples[1].value()), (Some(0.5), Some(-3.0)));
        let examples = read(b"2\tone\ttwo\n", TaskKind::Regress).unwrap();
        assert_eq!(examples[0].second.as_deref(), Some("two"));
    }

    #[test]
    fn questions_are_answered_or_impossible() {
        let file = |rest: &str| {
            format!(
                r#"{{"data":[{{"paragraphs":[{{"context":"stop jazz","qas":[
                   {{"id":"a","question":"play"{rest}}}]}}]}}]}}"#
            )
        };
        let read = |rest: &str| with_file(file(rest).as_bytes(), read_questions);
        let answered = read(r#","answers":[{"text":"jazz","answer_start":5}]"#).unwrap();
        assert_eq!(answered[0].answers()[0].start, Some(5));
        assert_eq!((answered[0].id.as_deref(), answered[0].line), (Some("a"), 1));
        let impossible = read(r#","is_impossible":true"#).unwrap();
        assert_eq!(impossible[0].gold, Gold::Answers(Vec::new()));
        check_error(read(r#","answers":[]"#), "expected answers of question \"a\"", "neither");
    }

    #[test]
    fn errors_say_what_was_expected() {
        check_error(read(b"a\tb\nno tab\n", TaskKind::Classify), ":2: expected", "1 column");
        check_error(read(b"a\tb\n", TaskKind::Pair), ":1: expected", "2 columns");
        check_error(read(b"1\ta\nnan\tb\n", TaskKind::Regress), ":2: expected a number", "nan");
        check_error(read(b"a\tb\nc\t\xc3\x28\n", TaskKind::Classify), ":2: expected UTF-8", "0xc3");
    }
}
