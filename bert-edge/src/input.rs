//! The texts to answer: from the command line, from lines of standard input, from a file.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// One text, or two.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    One(&'a str),
    Two(&'a str, &'a str),
}

impl<'a> Input<'a> {
    /// Two texts out of one with a tab between.
    ///
    /// # Errors
    /// There is no tab, or more than one.
    pub fn pair(text: &'a str) -> Result<Self> {
        match text.split_once('\t') {
            Some((a, b)) if !b.contains('\t') => Ok(Input::Two(a, b)),
            _ => {
                let tabs = text.matches('\t').count();
                bail!("two texts with one tab between expected, {tabs} tabs found")
            }
        }
    }

    /// A JSON object with the key `text`, or with `a` and `b`.
    pub fn to_json(self) -> Value {
        match self {
            Input::One(text) => json!({ "text": text }),
            Input::Two(a, b) => json!({ "a": a, "b": b }),
        }
    }
}

/// The last columns of a line, whatever is in the texts.
impl fmt::Display for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::One(text) => f.write_str(&column(text)),
            Input::Two(a, b) => write!(f, "{}\t{}", column(a), column(b)),
        }
    }
}

/// A text without what separates columns and lines.
pub fn column(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// Hands each text to `answer`: the arguments in order, `-` being the lines of standard input.
///
/// # Errors
/// Those of `answer`, and lines that cannot be read, with their number.
pub fn each_text(texts: &[String], mut answer: impl FnMut(&str) -> Result<()>) -> Result<()> {
    each_line(texts, |text, _| answer(text))
}

/// As [`each_text`], for texts that are two each if `pair` says so.
///
/// # Errors
/// As [`each_text`]; also texts that are not two, with their place.
pub fn each_input(
    texts: &[String],
    pair: bool,
    mut answer: impl FnMut(Input<'_>) -> Result<()>,
) -> Result<()> {
    each_line(texts, |text, place| match pair {
        true => answer(Input::pair(text).with_context(|| place.to_string())?),
        false => answer(Input::One(text)),
    })
}

/// Where a text stands, counted from 1.
enum Place {
    Argument(usize),
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Argument(number) => write!(f, "text {number}"),
            Place::Line(number) => write!(f, "standard input, line {number}"),
        }
    }
}

fn each_line(texts: &[String], mut answer: impl FnMut(&str, Place) -> Result<()>) -> Result<()> {
    for (number, text) in texts.iter().enumerate() {
        if text != "-" {
            answer(text, Place::Argument(number + 1))?;
            continue;
        }
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = input.read_until(b'\n', &mut line).context("standard input")?;
            if read == 0 {
                break;
            }
            let Ok(line) = str::from_utf8(&line) else {
                bail!("standard input, line {number}: not valid UTF-8");
            };
            answer(line.trim_end_matches(['\n', '\r']), Place::Line(number))?;
        }
    }
    Ok(())
}

/// The whole of a file, or of standard input if the path is `-`.
///
/// # Errors
/// It cannot be read or is not UTF-8; the message names it.
pub fn whole(path: &Path) -> Result<String> {
    let (name, bytes) = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("standard input")?;
        ("standard input".into(), bytes)
    } else {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("{name}: cannot read"))?;
        (name, bytes)
    };
    String::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!("{name}: not valid UTF-8 at byte {}", error.utf8_error().valid_up_to())
    })
}
