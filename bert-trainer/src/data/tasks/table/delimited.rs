//! Rows of TSV and CSV.

use std::path::Path;

use super::columns::Columns;
use super::{Fields, Wanted};
use crate::data::DataError;
use crate::data::corpus::{Lines, MAX_LINE_BYTES};

/// A row with its place.
pub(super) struct Row<'a> {
    pub(super) path: &'a Path,
    /// Number of the row's first line, from 1.
    pub(super) line: u64,
    /// How a person writes what separates the cells.
    pub(super) separator: &'static str,
    pub(super) cells: Vec<&'a str>,
}

impl Row<'_> {
    pub(super) fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> DataError {
        DataError::line(self.path, self.line, expected, found)
    }

    /// A row of white space alone says nothing.
    fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| cell.trim().is_empty())
    }
}

/// Something that is done with each row.
type EachRow<'a> = &'a mut dyn FnMut(&Row<'_>) -> Result<(), DataError>;

/// Reads the rows that `for_each_row` finds; `refused` gets what is wrong with one.
pub(super) fn read(
    path: &Path,
    for_each_row: impl Fn(&Path, EachRow<'_>) -> Result<(), DataError>,
    wanted: &Wanted,
    refused: &mut impl FnMut(DataError) -> Result<(), DataError>,
) -> Result<Vec<Fields>, DataError> {
    let mut columns: Option<Columns> = None;
    let mut rows = Vec::new();
    for_each_row(path, &mut |row| {
        let columns = match &columns {
            Some(columns) => columns,
            None if wanted.is_headed() => {
                columns = Some(Columns::of_header(row, wanted)?);
                return Ok(());
            }
            None => columns.insert(Columns::of_first_row(row, wanted)?),
        };
        match columns.fields(row) {
            Ok(fields) => rows.push(fields),
            Err(error) => refused(error)?,
        }
        Ok(())
    })?;
    Ok(rows)
}

/// The rows of a TSV file that are not blank.
pub(super) fn for_each_tsv_row(path: &Path, each: EachRow<'_>) -> Result<(), DataError> {
    let mut lines = Lines::open(path)?;
    let mut line = 0;
    while let Some(text) = lines.next_line()? {
        line += 1;
        let row = Row { path, line, separator: "<TAB>", cells: text.split('\t').collect() };
        if !row.is_blank() {
            each(&row)?;
        }
    }
    Ok(())
}

/// The rows of a CSV file that are not blank.
///
/// The file is read whole. Line ends within quotes become LF.
pub(super) fn for_each_csv_row(path: &Path, each: EachRow<'_>) -> Result<(), DataError> {
    let mut lines = Lines::open(path)?;
    let mut text = String::new();
    while let Some(line) = lines.next_line()? {
        text.push_str(line);
        text.push('\n');
    }
    let mut reader = csv_reader(&text);
    let mut record = csv::StringRecord::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        // The reader's own line numbers are off where blank lines are skipped.
        let mut start = reader.position().byte() as usize;
        start += text[start..].bytes().take_while(|&byte| byte == b'\n').count();
        line += text[counted..start].bytes().filter(|&byte| byte == b'\n').count() as u64;
        counted = start;
        let more = reader.read_record(&mut record);
        if !more.map_err(|error| DataError::file(path, "CSV (RFC 4180)", error.to_string()))? {
            return Ok(());
        }
        let row = Row { path, line, separator: ",", cells: record.iter().collect() };
        let end = reader.position().byte() as usize;
        if end == text.len() && is_left_open(&text[start..end]) {
            return Err(row.error("a closing quote for each opening one", "the end of the file"));
        }
        if end - start > MAX_LINE_BYTES {
            let expected = format!("a row of at most {} MiB", MAX_LINE_BYTES >> 20);
            return Err(row.error(expected, "a longer one: is a quote left open?"));
        }
        if !row.is_blank() {
            each(&row)?;
        }
    }
}

fn csv_reader(text: &str) -> csv::Reader<&[u8]> {
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n'));
    builder.from_reader(text.as_bytes())
}

/// Whether the last row of a file would go on if the file did; the parser takes such a row for whole.
fn is_left_open(row: &str) -> bool {
    csv_reader(&format!("{row}\nx")).records().count() == 1
}
