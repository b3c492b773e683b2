//! `regress`: the numbers of each text or pair.

use std::io::Write;

use anyhow::{Context, Result, bail};
use bert_core::{Head, ScratchVec, Session};
use serde_json::json;

use super::{exact, output, print_json};
use crate::args::TextsOrPairs;
use crate::file::{map, parse};
use crate::input::{Input, each_input};

/// Prints numbers and texts, or `{"results": […]}`.
pub fn regress(args: &TextsOrPairs) -> Result<()> {
    let TextsOrPairs { texts, pair } = args;
    let file = &texts.file;
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let config = model.config();
    if matches!(config.head, Head::Regress { .. }) && *pair && config.segments < 2 {
        bail!("{}: the model takes one text: leave out --pair", file.model.display());
    }
    let mut scratch = ScratchVec::of(&model);
    let name = || file.model.display().to_string();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let mut out = output();
    let mut results = Vec::new();
    each_input(&texts.texts, *pair, |input| {
        let answer = match input {
            Input::One(text) => session.regress(text),
            Input::Two(a, b) => session.regress_pair(a, b),
        };
        let answer = answer.with_context(name)?;
        if file.json {
            let mut object = input.to_json();
            object["values"] = answer.values.iter().copied().map(exact).collect();
            object["tokens"] = json!(answer.tokens);
            object["truncated"] = json!(answer.truncated);
            results.push(object);
            return Ok(());
        }
        for value in answer.values {
            write!(out, "{value}\t")?;
        }
        writeln!(out, "{input}")?;
        Ok(())
    })?;
    if file.json {
        print_json(&json!({ "results": results }))?;
    }
    Ok(())
}
