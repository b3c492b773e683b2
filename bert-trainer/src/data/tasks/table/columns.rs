//! Where in a row of TSV or CSV the wanted fields stand.

use super::delimited::Row;
use super::{Fields, LABEL_NAMES, LABEL_SEPARATOR, SECOND_NAMES, TEXT_NAMES, Wanted};
use super::{listed, split_labels};
use crate::data::DataError;
use crate::data::tasks::count;

/// Indices of columns from 0, and how many columns a row has.
pub(super) struct Columns {
    text: usize,
    second: Option<usize>,
    label: Option<usize>,
    many_labels: bool,
    width: Width,
}

enum Width {
    /// As many as the format of this project has; the text names them.
    House(usize, String),
    /// As many as the header has.
    Header(usize),
    AtLeast(usize),
}

impl Wanted {
    /// Whether the first line of TSV or CSV names the columns.
    pub(super) fn is_headed(&self) -> bool {
        let names = |(_, choice): (_, Option<&str>)| choice.is_some_and(|c| !is_number(c));
        self.has_header || self.columns.all().any(names)
    }
}

fn is_number(choice: &str) -> bool {
    !choice.is_empty() && choice.bytes().all(|byte| byte.is_ascii_digit())
}

impl Columns {
    /// The columns of a table that begins with a header.
    pub(super) fn of_header(header: &Row<'_>, wanted: &Wanted) -> Result<Self, DataError> {
        let columns = &wanted.columns;
        let chosen = |option, choice: &Option<String>| match choice {
            Some(choice) if is_number(choice) => {
                let column = number(option, choice)?;
                if column < header.cells.len() {
                    return Ok(Some(column));
                }
                let expected = format!("a column {choice} (--{option})");
                Err(header.error(expected, count(header.cells.len(), "column")))
            }
            Some(choice) => named(header, choice, option).map(Some),
            None => Ok(None),
        };
        let usual = |names: &[&str]| names.iter().find_map(|name| position(header, name));
        let missing = |names: &[&str], option| {
            let expected = format!("a column {} in the header, or --{option}", listed_or(names));
            header.error(expected, listed(header.cells.iter().copied()))
        };
        let text = chosen("text-column", &columns.text)?
            .or_else(|| usual(&TEXT_NAMES))
            .ok_or_else(|| missing(&TEXT_NAMES, "text-column"))?;
        let mut second = chosen("second-column", &columns.second)?;
        if second.is_none() && wanted.second != Some(false) {
            second = usual(&SECOND_NAMES);
        }
        if second.is_none() && wanted.second == Some(true) {
            return Err(missing(&SECOND_NAMES, "second-column"));
        }
        let names = &LABEL_NAMES[..if wanted.many_labels { 2 } else { 1 }];
        let label = chosen("label-column", &columns.label)?.or_else(|| usual(names));
        if wanted.label && label.is_none() {
            return Err(missing(names, "label-column"));
        }
        let width = Width::Header(header.cells.len());
        Self { text, second, label, many_labels: wanted.many_labels, width }.distinct()
    }

    /// The columns of a table without a header, of which this is the first row.
    pub(super) fn of_first_row(row: &Row<'_>, wanted: &Wanted) -> Result<Self, DataError> {
        let columns = &wanted.columns;
        let chosen = |option, choice: &Option<String>| {
            choice.as_ref().map(|choice| number(option, choice)).transpose()
        };
        // Without a choice, the first row tells what its file has.
        let is_house = columns.is_empty();
        let (has_second, labelled) = match (is_house, wanted.second) {
            (false, second) => (second == Some(true), wanted.label),
            (true, Some(second)) => {
                let texts = 1 + usize::from(second);
                (second, wanted.label || row.cells.len() != texts)
            }
            (true, None) => (row.cells.len() > 2, wanted.label || row.cells.len() > 1),
        };
        let first = usize::from(labelled || !is_house);
        let text = chosen("text-column", &columns.text)?.unwrap_or(first);
        let second = chosen("second-column", &columns.second)?;
        let second = second.or_else(|| has_second.then_some(first + 1));
        let label = chosen("label-column", &columns.label)?.or_else(|| labelled.then_some(0));
        let width = if is_house {
            let names = [(label, "label"), (Some(text), "text"), (second, "second text")];
            let names: Vec<&str> =
                names.into_iter().filter_map(|(column, name)| column.map(|_| name)).collect();
            Width::House(names.len(), names.join(row.separator))
        } else {
            let all = [Some(text), second, label];
            Width::AtLeast(1 + all.into_iter().flatten().max().unwrap_or(text))
        };
        Self { text, second, label, many_labels: wanted.many_labels, width }.distinct()
    }

    /// Refuses one column for two fields.
    fn distinct(self) -> Result<Self, DataError> {
        let twice = |option, column: usize| {
            Err(DataError::option(option, "a column of its own", format!("column {}", column + 1)))
        };
        match (self.text, self.second, self.label) {
            (text, Some(second), _) if text == second => twice("second-column", second),
            (text, _, Some(label)) if text == label => twice("label-column", label),
            (_, Some(second), Some(label)) if second == label => twice("label-column", label),
            _ => Ok(self),
        }
    }

    /// What a row has in the columns.
    pub(super) fn fields(&self, row: &Row<'_>) -> Result<Fields, DataError> {
        let expected = match &self.width {
            Width::House(width, names) if row.cells.len() != *width => {
                Some(format!("{} `{names}`", count(*width, "column")))
            }
            Width::Header(width) if row.cells.len() != *width => {
                Some(format!("{} as in the header", count(*width, "column")))
            }
            Width::AtLeast(width) if row.cells.len() < *width => {
                Some(format!("{width} or more columns"))
            }
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(row.error(expected, count(row.cells.len(), "column")));
        }
        let filled = |what, column: usize| match row.cells[column].trim() {
            "" => Err(row.error(format!("{what} in column {}", column + 1), "an empty one")),
            cell => Ok(cell.to_owned()),
        };
        let second = self.second.map(|column| filled("a second text", column)).transpose()?;
        let mut fields = Fields {
            text: filled("a text", self.text)?,
            second,
            line: row.line,
            ..Fields::default()
        };
        match self.label {
            Some(column) if self.many_labels => {
                let labels = split_labels(row.cells[column]);
                fields.labels = labels.ok_or_else(|| {
                    let expected =
                        format!("labels separated by {LABEL_SEPARATOR} in column {}", column + 1);
                    row.error(expected, "an empty one")
                })?;
            }
            Some(column) => fields.label = Some(filled("a label", column)?),
            None => {}
        }
        Ok(fields)
    }
}

/// Index of the one column of this name.
fn named(header: &Row<'_>, name: &str, option: &str) -> Result<usize, DataError> {
    let times = header.cells.iter().filter(|cell| cell.trim() == name.trim()).count();
    match position(header, name) {
        Some(column) if times == 1 => Ok(column),
        _ => {
            let expected = format!("one column {name:?} in the header (--{option})");
            Err(header.error(expected, listed(header.cells.iter().copied())))
        }
    }
}

fn position(header: &Row<'_>, name: &str) -> Option<usize> {
    header.cells.iter().position(|cell| cell.trim() == name.trim())
}

/// Index of a column that is chosen by number.
fn number(option: &'static str, choice: &str) -> Result<usize, DataError> {
    let number = choice.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    number.ok_or_else(|| DataError::option(option, "a name, or a number from 1", choice))
}

/// `"a", "b" or "c"`
fn listed_or(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => {
            format!("{} or {last:?}", listed(first.iter().copied()))
        }
        _ => listed(names.iter().copied()),
    }
}
