//! A JSON value with its place in the file, for errors that name it.

use std::path::Path;

use serde_json::{Number, Value};

use crate::data::DataError;

/// A value of the file that knows where it stands.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    file: &'a Path,
    value: &'a Value,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Field(&'a Node<'a>, &'static str),
    Item(&'a Node<'a>, usize),
}

impl<'a> Node<'a> {
    /// The top of a file.
    pub(super) fn root(file: &'a Path, value: &'a Value) -> Self {
        Self { file, value, place: Place::Root }
    }

    /// `data[3].paragraphs[0].context`
    pub(super) fn path(&self) -> String {
        match self.place {
            Place::Root => String::new(),
            Place::Field(Node { place: Place::Root, .. }, name) => name.to_owned(),
            Place::Field(parent, name) => format!("{}.{name}", parent.path()),
            Place::Item(parent, index) => format!("{}[{index}]", parent.path()),
        }
    }

    pub(super) fn error(&self, expected: &str, found: impl Into<String>) -> DataError {
        let place = match self.place {
            Place::Root => "the top".to_owned(),
            _ => self.path(),
        };
        DataError::file(self.file, format!("{expected} at {place}"), found)
    }

    fn wrong(&self, expected: &str) -> DataError {
        self.error(expected, described(self.value))
    }

    /// The field of this name, which must be there.
    pub(super) fn field(&'a self, name: &'static str) -> Result<Node<'a>, DataError> {
        let Some(object) = self.value.as_object() else { return Err(self.wrong("an object")) };
        let place = Place::Field(self, name);
        match object.get(name) {
            Some(value) => Ok(Node { file: self.file, value, place }),
            None => {
                let missing = Node { file: self.file, value: &Value::Null, place };
                Err(missing.error("a field", "none"))
            }
        }
    }

    /// The field of this name, if it is there and not null.
    pub(super) fn optional(&'a self, name: &'static str) -> Result<Option<Node<'a>>, DataError> {
        match self.value.get(name) {
            None | Some(Value::Null) if self.value.is_object() => Ok(None),
            _ => self.field(name).map(Some),
        }
    }

    pub(super) fn items(&'a self) -> Result<impl Iterator<Item = Node<'a>>, DataError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        let node =
            |(index, value)| Node { file: self.file, value, place: Place::Item(self, index) };
        Ok(items.iter().enumerate().map(node))
    }

    pub(super) fn text(&self) -> Result<&'a str, DataError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// A text that is more than white space.
    pub(super) fn filled(&self) -> Result<&'a str, DataError> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return Err(self.error("a text", "a blank one"));
        }
        Ok(text)
    }

    pub(super) fn text_or_number(&self) -> Result<String, DataError> {
        match self.value {
            Value::Number(number) => Ok(number.to_string()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wrong("a string")),
        }
    }

    pub(super) fn truth(&self) -> Result<bool, DataError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub(super) fn integer(&self) -> Result<i128, DataError> {
        let number = self.value.as_number().and_then(Number::as_i128);
        number.ok_or_else(|| self.wrong("an integer"))
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
