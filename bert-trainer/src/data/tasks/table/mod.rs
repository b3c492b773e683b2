//! Rows of tables: TSV, CSV or JSON lines, with columns chosen by name or number.
//!
//! | format | a row | the columns |
//! |---|---|---|
//! | [`TableFormat::Tsv`] | a line; tabs separate, nothing is quoted | by header or number |
//! | [`TableFormat::Csv`] | RFC 4180: commas separate, `"…"` may hold commas, quotes and line ends | by header or number |
//! | [`TableFormat::JsonLines`] | an object a line | by the object's keys |
//!
//! Where no column is chosen and there is no header the format is the one of this project: the
//! label first, then the text, then the second text.
//! A column that is not chosen in a table with names is looked for under the usual ones:
//! [`TEXT_NAMES`], [`SECOND_NAMES`], [`LABEL_NAMES`].
//!
//! Files may be compressed; blank lines are skipped, and so is a byte order mark at the start.
//! White space around texts and labels is not part of them.

mod columns;
mod delimited;
mod json;

use std::path::Path;

use crate::data::DataError;

/// Names under which a text is looked for, in this order.
pub const TEXT_NAMES: [&str; 4] = ["text", "sentence", "sentence1", "premise"];

/// Names under which a second text is looked for, in this order.
pub const SECOND_NAMES: [&str; 3] = ["second", "sentence2", "hypothesis"];

/// Names under which a label is looked for; `labels` where an example may have many.
pub const LABEL_NAMES: [&str; 2] = ["label", "labels"];

/// What separates the labels of a row of TSV or CSV where there may be many.
pub const LABEL_SEPARATOR: char = '|';

/// Which fields of a table an example is made of, by header name or by number from 1.
///
/// What consists of digits is a number, except in JSON lines, which have names only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnChoice {
    /// The text; `None` if it was not chosen, as for all of them.
    pub text: Option<String>,
    /// The second text of a pair.
    pub second: Option<String>,
    /// The label, or the labels.
    pub label: Option<String>,
}

impl ColumnChoice {
    fn is_empty(&self) -> bool {
        self.all().all(|(_, choice)| choice.is_none())
    }

    /// The choices with the options of the command line that make them.
    fn all(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        [
            ("text-column", &self.text),
            ("second-column", &self.second),
            ("label-column", &self.label),
        ]
        .into_iter()
        .map(|(option, choice)| (option, choice.as_deref()))
    }
}

/// How a table is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum TableFormat {
    /// Tabs separate columns; there is no quoting, as in the files of GLUE.
    #[default]
    Tsv,
    /// RFC 4180.
    Csv,
    /// A JSON object a line.
    #[value(name = "jsonl")]
    JsonLines,
}

impl TableFormat {
    /// The format that a file's name tells: `.csv`, `.jsonl`, `.ndjson` or `.json`, with `.gz`, `.xz`
    /// or `.zst` behind it or not, in any case; all others are TSV.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let mut parts: Vec<&str> = name.split('.').skip(1).collect();
        if matches!(parts.last(), Some(&("gz" | "xz" | "zst"))) {
            parts.pop();
        }
        match parts.last() {
            Some(&"csv") => Self::Csv,
            Some(&("jsonl" | "ndjson" | "json")) => Self::JsonLines,
            _ => Self::Tsv,
        }
    }

    /// The format's name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tsv => "TSV",
            Self::Csv => "CSV",
            Self::JsonLines => "JSON lines",
        }
    }
}

/// What the rows must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The columns to take; those chosen are required, whatever is said below.
    pub columns: ColumnChoice,
    /// Whether the first line names the columns. It does in any case if one is chosen by name; JSON
    /// lines have no header.
    pub has_header: bool,
    /// Whether a row has a second text: always, never (unless it is chosen), or as the file has it.
    pub second: Option<bool>,
    /// Whether a row must have a label. If not, and none is chosen, it is taken where there is one.
    pub label: bool,
    /// Whether a row has any number of labels, also none: an array in JSON, else separated by
    /// [`LABEL_SEPARATOR`].
    pub many_labels: bool,
}

impl Default for Wanted {
    /// One text a row, and a label where there is one.
    fn default() -> Self {
        Self {
            columns: ColumnChoice::default(),
            has_header: false,
            second: Some(false),
            label: false,
            many_labels: false,
        }
    }
}

/// What a row has to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The text, not empty.
    pub text: String,
    /// The second text, not empty, if one is wanted.
    pub second: Option<String>,
    /// The label, not empty; `None` if there is none, and where there may be many.
    pub label: Option<String>,
    /// The labels in the order of the row, each once, where there may be many.
    pub labels: Vec<String>,
    /// Number of the row's first line in the file, from 1.
    pub line: u64,
}

/// Reads the rows of a table.
///
/// # Errors
/// [`DataError`] with file, line, expectation and what was found: a column that the header or the
/// object lacks (the error lists those there are), another number of columns than the first line
/// has, an empty text or label, malformed CSV or JSON, invalid UTF-8, no row at all, an unreadable
/// file.
///
/// ```
/// use bert_trainer::data::tasks::table::{ColumnChoice, TableFormat, Wanted, read_table};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("reviews.csv");
/// std::fs::write(&path, "id,review,stars\n7,\"Good, really.\",5\n")?;
/// let columns = ColumnChoice {
///     text: Some("review".into()),
///     second: None,
///     label: Some("stars".into()),
/// };
/// let wanted = Wanted { columns, label: true, ..Wanted::default() };
/// let rows = read_table(&path, TableFormat::of(&path), &wanted)?;
/// assert_eq!((rows[0].text.as_str(), rows[0].label.as_deref()), ("Good, really.", Some("5")));
/// # Ok(())
/// # }
/// ```
pub fn read_table(
    path: &Path,
    format: TableFormat,
    wanted: &Wanted,
) -> Result<Vec<Fields>, DataError> {
    read(path, format, wanted, Err)
}

/// Reads the rows of a table that is known to be damaged, leaving out the rows that are not as they
/// should be; also gives the errors about them.
///
/// Some rows of QQP in GLUE are broken by line ends within a question.
///
/// # Errors
/// As [`read_table`], but for rows with another number of columns or an empty field.
pub fn read_damaged_table(
    path: &Path,
    format: TableFormat,
    wanted: &Wanted,
) -> Result<(Vec<Fields>, Vec<DataError>), DataError> {
    let mut left_out = Vec::new();
    let rows = read(path, format, wanted, |error| {
        left_out.push(error);
        Ok(())
    })?;
    Ok((rows, left_out))
}

/// Reads a table; `refused` gets what is wrong with a row, and may let it pass.
fn read(
    path: &Path,
    format: TableFormat,
    wanted: &Wanted,
    mut refused: impl FnMut(DataError) -> Result<(), DataError>,
) -> Result<Vec<Fields>, DataError> {
    let rows = match format {
        TableFormat::Tsv => {
            delimited::read(path, delimited::for_each_tsv_row, wanted, &mut refused)
        }
        TableFormat::Csv => {
            delimited::read(path, delimited::for_each_csv_row, wanted, &mut refused)
        }
        TableFormat::JsonLines => json::read(path, wanted, &mut refused),
    }?;
    if rows.is_empty() {
        return Err(DataError::file(path, format!("rows of {}", format.name()), "no row"));
    }
    Ok(rows)
}

/// The labels of a field that may have many; `None` if one of them is empty.
fn split_labels(field: &str) -> Option<Vec<String>> {
    if field.trim().is_empty() {
        return Some(Vec::new());
    }
    let mut labels = Vec::new();
    for label in field.split(LABEL_SEPARATOR) {
        push_label(&mut labels, label)?;
    }
    Some(labels)
}

/// Adds a label if it is new; `None` if it is empty.
fn push_label(labels: &mut Vec<String>, label: &str) -> Option<()> {
    let label = label.trim();
    if !labels.iter().any(|known| known == label) {
        labels.push(label.to_owned());
    }
    (!label.is_empty()).then_some(())
}

/// `"a", "b"`, cut where it gets long.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let mut names = names.into_iter();
    let shown: Vec<String> = names.by_ref().take(SHOWN).map(|name| format!("{name:?}")).collect();
    let more = names.count();
    match (shown.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        _ => format!("{}, … ({} in all)", shown.join(", "), SHOWN + more),
    }
}

#[cfg(test)]
mod tests;
