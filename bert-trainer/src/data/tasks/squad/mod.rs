//! Questions about texts: the JSON of SQuAD v1.1 (Rajpurkar et al. 2016) and v2.0 (Rajpurkar et al.
//! 2018), plain or compressed.
//!
//! ```text
//! { "version": "v2.0", "data": [
//!   { "title": "…", "paragraphs": [
//!     { "context": "…", "qas": [
//!       { "id": "…", "question": "…", "is_impossible": false,
//!         "answers": [ { "text": "…", "answer_start": 0 } ] } ] } ] } ] }
//! ```
//!
//! `version`, `title`, `is_impossible` and `answers` may be absent; everything that is not named
//! here, as `plausible_answers`, is not looked at.
//! In the file an answer begins at a character (code point); here it begins at a byte.

mod node;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::data::DataError;
use crate::data::corpus::open_decompressed;
use node::Node;

/// The largest file that is read, in bytes after decompression.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// An answer that people gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldAnswer {
    /// The answer, not blank.
    pub text: String,
    /// Byte of the context where the answer begins; `None` if the file points to a place where
    /// something else stands. Such an answer serves for scoring, but not for training.
    pub start: Option<u32>,
}

/// A question about a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Name of the question, unique in the file.
    pub id: String,
    /// The question.
    pub question: String,
    /// The text that may answer it, shared by the questions of a paragraph; less than 4 GiB.
    pub context: Arc<str>,
    /// What people answered; none if the question is impossible, or if the file does not tell.
    pub answers: Vec<GoldAnswer>,
    /// Whether the context does not answer the question (v2.0); then there are no answers.
    pub is_impossible: bool,
    /// Title of the article; empty if it has none.
    pub title: String,
    /// Number of the question in the file, from 1.
    pub number: u64,
}

/// The questions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquadFile {
    /// The version that the file says it has; empty if it does not say.
    pub version: String,
    /// The questions in the order of the file, at least one.
    pub questions: Vec<Question>,
    /// How many answers do not stand where the file says, over all questions.
    pub misplaced_answers: usize,
}

/// Reads a file of questions.
///
/// # Errors
/// [`DataError`] with the file: invalid UTF-8 or JSON with its line; else what is not as above with
/// its place, as in `data[3].paragraphs[0].qas[2].answers[0].answer_start`: another type, a missing
/// field, a blank context or answer, an id that occurs twice, answers to an impossible question; no
/// question at all; more than [`MAX_FILE_BYTES`]; an unreadable file.
pub fn read_squad(path: &Path) -> Result<SquadFile, DataError> {
    let text = read_text(path)?;
    let root: Value = serde_json::from_str(&text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let found = format!("{message} at column {}", error.column());
        DataError::line(path, error.line() as u64, "JSON", found)
    })?;
    drop(text);
    let root = Node::root(path, &root);
    let version = match root.optional("version")? {
        Some(version) => version.text_or_number()?,
        None => String::new(),
    };
    let mut squad = SquadFile { version, questions: Vec::new(), misplaced_answers: 0 };
    let mut places = HashMap::new();
    let data = root.field("data")?;
    for article in data.items()? {
        let title = match article.optional("title")? {
            Some(title) => title.text()?,
            None => "",
        };
        let paragraphs = article.field("paragraphs")?;
        for paragraph in paragraphs.items()? {
            squad.add_paragraph(&paragraph, title, &mut places)?;
        }
    }
    if squad.questions.is_empty() {
        return Err(DataError::file(path, "questions in data[].paragraphs[].qas", "none"));
    }
    Ok(squad)
}

impl SquadFile {
    /// Adds the questions of a paragraph; `places` has the place of each id so far.
    fn add_paragraph(
        &mut self,
        paragraph: &Node<'_>,
        title: &str,
        places: &mut HashMap<String, String>,
    ) -> Result<(), DataError> {
        let context = Context::new(paragraph.field("context")?.filled()?);
        let shared: Arc<str> = context.text.into();
        let questions = paragraph.field("qas")?;
        for node in questions.items()? {
            let question = self.question(&node, title, &context, &shared)?;
            let id = node.field("id")?;
            if let Some(before) = places.insert(question.id.clone(), id.path()) {
                return Err(id.error("an id of its own", format!("that of {before}")));
            }
            self.questions.push(question);
        }
        Ok(())
    }

    fn question(
        &mut self,
        node: &Node<'_>,
        title: &str,
        context: &Context<'_>,
        shared: &Arc<str>,
    ) -> Result<Question, DataError> {
        let is_impossible = match node.optional("is_impossible")? {
            Some(flag) => flag.truth()?,
            None => false,
        };
        let mut answers = Vec::new();
        if let Some(gold) = node.optional("answers")? {
            for answer in gold.items()? {
                if is_impossible {
                    return Err(answer.error("no answer to an impossible question", "one"));
                }
                let text = answer.field("text")?.filled()?;
                let start = context.find(text, answer.field("answer_start")?.integer()?);
                self.misplaced_answers += usize::from(start.is_none());
                answers.push(GoldAnswer { text: text.to_owned(), start });
            }
        }
        Ok(Question {
            id: node.field("id")?.text_or_number()?,
            question: node.field("question")?.text()?.to_owned(),
            context: Arc::clone(shared),
            answers,
            is_impossible,
            title: title.to_owned(),
            number: self.questions.len() as u64 + 1,
        })
    }
}

/// A text with the places of its characters.
struct Context<'a> {
    text: &'a str,
    /// Byte of each character; empty if each has one byte.
    starts: Vec<u32>,
}

impl<'a> Context<'a> {
    fn new(text: &'a str) -> Self {
        let starts = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(byte, _)| byte as u32).collect()
        };
        Self { text, starts }
    }

    /// The byte at which `answer` stands, if it stands at that character.
    fn find(&self, answer: &str, character: i128) -> Option<u32> {
        let character = usize::try_from(character).ok()?;
        let byte =
            if self.starts.is_empty() { character } else { *self.starts.get(character)? as usize };
        self.text.get(byte..)?.starts_with(answer).then_some(byte as u32)
    }
}

/// The whole file, decompressed, without a byte order mark.
fn read_text(path: &Path) -> Result<String, DataError> {
    let mut bytes = Vec::new();
    open_decompressed(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| DataError::io(path, "read", error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let expected = format!("at most {} MiB", MAX_FILE_BYTES >> 20);
        return Err(DataError::file(path, expected, "more"));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let (bytes, at) = (error.as_bytes(), error.utf8_error().valid_up_to());
        let before = &bytes[..at];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        let found = format!("byte 0x{:02x} at column {column}", bytes[at]);
        DataError::line(path, line as u64, "UTF-8", found)
    })
}

#[cfg(test)]
mod tests;
