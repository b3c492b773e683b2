//! `classify`: the label of each text.

use std::io::Write;

use anyhow::{Context, Result};
use bert_core::{Classification, ScratchVec, Session};
use serde_json::{Map, Value, json};

use super::{number, output, print_json};
use crate::File;
use crate::file::{each_text, map, parse};

/// Prints label, probability and text, or `{"results": […]}`.
pub fn classify(file: &File, texts: &[String]) -> Result<()> {
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let name = || file.model.display().to_string();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let mut out = output();
    let mut results = Vec::new();
    each_text(texts, |text| {
        let answer = session.classify(text).with_context(name)?;
        if file.json {
            results.push(to_json(text, &answer));
            return Ok(());
        }
        // One line a text, whatever is in it.
        let text = text.replace(['\n', '\r', '\t'], " ");
        writeln!(out, "{}\t{:.4}\t{text}", answer.name(), answer.probability())?;
        Ok(())
    })?;
    if file.json {
        print_json(&json!({ "results": results }))?;
    }
    Ok(())
}

fn to_json(text: &str, answer: &Classification<'_, '_>) -> Value {
    let probabilities: Map<String, Value> =
        answer.probabilities().map(|(name, p)| (name.to_string(), number(p))).collect();
    json!({
        "text": text,
        "label": answer.name(),
        "probability": number(answer.probability()),
        "tokens": answer.tokens,
        "truncated": answer.truncated,
        "probabilities": probabilities,
    })
}
