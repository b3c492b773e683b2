//! `tag`: the tag of each word, and the label of the text if the model has both.

use std::io::Write;

use anyhow::{Context, Result};
use bert_core::{Head, ScratchVec, Session, Spans, Tag};
use serde_json::{Value, json};

use super::{number, output, print_json};
use crate::args::File;
use crate::file::{map, parse};
use crate::input::each_text;

/// What a model says about the words of a text.
pub(crate) struct Answer<'m> {
    label: Option<(&'m str, f32)>,
    tags: Vec<Tag<'m>>,
    truncated: bool,
}

/// Prints a line a word, or `{"results": […]}`.
pub fn tag(file: &File, texts: &[String]) -> Result<()> {
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let name = || file.model.display().to_string();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let mut out = output();
    let mut results = Vec::new();
    let mut first = true;
    each_text(texts, |text| {
        let answer = ask(&mut session, text).with_context(name)?;
        if file.json {
            let mut object = json!({ "text": text });
            describe(&mut object, text, &answer);
            results.push(object);
            return Ok(());
        }
        if !std::mem::take(&mut first) {
            writeln!(out)?;
        }
        if let Some((label, probability)) = answer.label {
            writeln!(out, "# {label}\t{probability:.4}")?;
        }
        for tag in &answer.tags {
            let (word, name) = (part(text, tag.start, tag.end), tag.name);
            writeln!(out, "{word}\t{name}\t{:.4}", tag.probability)?;
        }
        Ok(())
    })?;
    if file.json {
        print_json(&json!({ "results": results }))?;
    }
    Ok(())
}

/// Asks for the tags, and for the label of a joint model.
pub(crate) fn ask<'m>(
    session: &mut Session<'m, '_>,
    text: &str,
) -> Result<Answer<'m>, bert_core::Error> {
    if let Head::Joint { .. } = session.model().config().head {
        let joint = session.joint(text)?;
        let label = Some((joint.label.name(), joint.label.probability()));
        let truncated = joint.tags.truncated;
        return Ok(Answer { label, tags: joint.tags.collect(), truncated });
    }
    let tags = session.tag(text)?;
    let truncated = tags.truncated;
    Ok(Answer { label: None, tags: tags.collect(), truncated })
}

fn part(text: &str, start: u32, end: u32) -> &str {
    text.get(start as usize..end as usize).unwrap_or("")
}

/// Adds an answer to a JSON object.
pub(crate) fn describe(object: &mut Value, text: &str, answer: &Answer<'_>) {
    let words: Vec<Value> = answer
        .tags
        .iter()
        .map(|tag| {
            json!({
                "word": part(text, tag.start, tag.end),
                "start": tag.start,
                "end": tag.end,
                "tag": tag.name,
                "probability": number(tag.probability),
            })
        })
        .collect();
    let slots: Vec<Value> = Spans::new(answer.tags.iter().copied())
        .map(|slot| {
            json!({
                "slot": slot.name,
                "text": part(text, slot.start, slot.end),
                "start": slot.start,
                "end": slot.end,
                "probability": number(slot.probability),
            })
        })
        .collect();
    if let Some((label, probability)) = answer.label {
        object["label"] = json!(label);
        object["probability"] = number(probability);
    }
    object["words"] = json!(words);
    object["slots"] = json!(slots);
    object["truncated"] = json!(answer.truncated);
}
