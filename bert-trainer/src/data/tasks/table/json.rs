//! Rows of JSON lines.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    Fields, LABEL_NAMES, SECOND_NAMES, TEXT_NAMES, Wanted, listed, push_label, split_labels,
};
use crate::data::DataError;
use crate::data::corpus::Lines;

/// Reads an object a line; `refused` gets what is wrong with one.
pub(super) fn read(
    path: &Path,
    wanted: &Wanted,
    refused: &mut impl FnMut(DataError) -> Result<(), DataError>,
) -> Result<Vec<Fields>, DataError> {
    let mut lines = Lines::open(path)?;
    let mut rows = Vec::new();
    let mut line = 0;
    while let Some(text) = lines.next_line()? {
        line += 1;
        if text.trim().is_empty() {
            continue;
        }
        let error = |Wrong { expected, found }| DataError::line(path, line, expected, found);
        let object = object(text).map_err(error)?;
        match fields(&object, wanted) {
            Ok(fields) => rows.push(Fields { line, ..fields }),
            Err(wrong) => refused(error(wrong))?,
        }
    }
    Ok(rows)
}

struct Wrong {
    expected: String,
    found: String,
}

fn wrong(expected: impl Into<String>, found: impl Into<String>) -> Wrong {
    Wrong { expected: expected.into(), found: found.into() }
}

fn object(text: &str) -> Result<Map<String, Value>, Wrong> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(wrong("a JSON object a line", kind(&other))),
        Err(error) => {
            let message = error.to_string();
            // The parser's line is always 1.
            let message = message.split(" at line ").next().unwrap_or(&message);
            Err(wrong("a JSON object a line", format!("{message} at column {}", error.column())))
        }
    }
}

fn fields(object: &Map<String, Value>, wanted: &Wanted) -> Result<Fields, Wrong> {
    let columns = &wanted.columns;
    let text = string(object, columns.text.as_deref(), &TEXT_NAMES)?;
    let chosen = columns.second.as_deref();
    let has_second = match wanted.second {
        Some(wanted) => wanted || chosen.is_some(),
        None => chosen.is_some() || find(object, None, &SECOND_NAMES).is_some(),
    };
    let second = has_second.then(|| string(object, chosen, &SECOND_NAMES)).transpose()?;
    let mut fields = Fields { text, second, ..Fields::default() };
    let names = &LABEL_NAMES[..if wanted.many_labels { 2 } else { 1 }];
    let chosen = columns.label.as_deref();
    match find(object, chosen, names) {
        Some((name, value)) if wanted.many_labels => fields.labels = labels(name, value)?,
        Some((name, value)) => fields.label = Some(label(name, value)?),
        None if wanted.label || chosen.is_some() => return Err(missing(object, chosen, names)),
        None => {}
    }
    Ok(fields)
}

/// The first of the names that the object has; a null is no value.
fn find<'a>(
    object: &'a Map<String, Value>,
    chosen: Option<&'a str>,
    usual: &[&'a str],
) -> Option<(&'a str, &'a Value)> {
    let has = |name: &'a str| object.get(name).filter(|v| !v.is_null()).map(|value| (name, value));
    match chosen {
        Some(name) => has(name),
        None => usual.iter().find_map(|&name| has(name)),
    }
}

fn missing(object: &Map<String, Value>, chosen: Option<&str>, usual: &[&str]) -> Wrong {
    let names = match chosen {
        Some(name) => format!("{name:?}"),
        None => listed(usual.iter().copied()).replace(", ", " or "),
    };
    let filled = object.iter().filter(|(_, value)| !value.is_null());
    wrong(format!("a field {names}"), listed(filled.map(|(name, _)| name.as_str())))
}

fn string(
    object: &Map<String, Value>,
    chosen: Option<&str>,
    usual: &[&str],
) -> Result<String, Wrong> {
    match find(object, chosen, usual) {
        Some((name, Value::String(text))) if text.trim().is_empty() => {
            Err(wrong(format!("a text in {name:?}"), "an empty one"))
        }
        Some((_, Value::String(text))) => Ok(text.trim().to_owned()),
        Some((name, other)) => Err(wrong(format!("a string in {name:?}"), kind(other))),
        None => Err(missing(object, chosen, usual)),
    }
}

/// A string, or a number or truth value as it is written.
fn label(name: &str, value: &Value) -> Result<String, Wrong> {
    match value {
        Value::String(label) if label.trim().is_empty() => {
            Err(wrong(format!("a label in {name:?}"), "an empty one"))
        }
        Value::String(label) => Ok(label.trim().to_owned()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(wrong(format!("a string or number in {name:?}"), kind(other))),
    }
}

fn labels(name: &str, value: &Value) -> Result<Vec<String>, Wrong> {
    let mut labels = Vec::new();
    match value {
        Value::Array(values) => {
            for value in values {
                // Not empty, as `label` has seen.
                push_label(&mut labels, &label(name, value)?);
            }
        }
        Value::String(field) => {
            labels = split_labels(field)
                .ok_or_else(|| wrong(format!("labels in {name:?}"), "an empty one"))?;
        }
        one => labels.push(label(name, one)?),
    }
    Ok(labels)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
