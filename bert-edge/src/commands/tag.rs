//! `tag`: the tag of each word, and the label of the text if the model has both.

use std::io::Write;

use anyhow::{Context, Result};
use bert_core::{Head, ScratchVec, Session, Tag};
use serde_json::{Value, json};

use super::{number, output, print_json};
use crate::File;
use crate::file::{each_text, map, parse};

struct Answer<'m> {
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
            results.push(to_json(text, &answer));
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

fn ask<'m>(session: &mut Session<'m, '_>, text: &str) -> Result<Answer<'m>, bert_core::Error> {
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

/// A run of words under one name, from tags in BIO form.
struct Slot<'m> {
    name: &'m str,
    start: u32,
    end: u32,
}

/// Joins `B-x I-x …` to slots; an `I-x` that continues nothing begins one.
fn slots<'m>(tags: &[Tag<'m>]) -> Vec<Slot<'m>> {
    let mut slots: Vec<Slot<'m>> = Vec::new();
    let mut last_word = None;
    for tag in tags {
        let (begins, name) = match tag.name.split_once('-') {
            Some(("B", name)) => (true, name),
            Some(("I", name)) => (false, name),
            _ => continue,
        };
        let continues = !begins && last_word.is_some_and(|word: u32| word + 1 == tag.word);
        last_word = Some(tag.word);
        match slots.last_mut() {
            Some(slot) if continues && slot.name == name => slot.end = tag.end,
            _ => slots.push(Slot { name, start: tag.start, end: tag.end }),
        }
    }
    slots
}

fn to_json(text: &str, answer: &Answer<'_>) -> Value {
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
    let slots: Vec<Value> = slots(&answer.tags)
        .iter()
        .map(|slot| {
            json!({
                "slot": slot.name,
                "text": part(text, slot.start, slot.end),
                "start": slot.start,
                "end": slot.end,
            })
        })
        .collect();
    let mut object = json!({ "text": text });
    if let Some((label, probability)) = answer.label {
        object["label"] = json!(label);
        object["probability"] = number(probability);
    }
    object["words"] = json!(words);
    object["slots"] = json!(slots);
    object["truncated"] = json!(answer.truncated);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tags: &[(u32, &'static str)], expect: &[(&str, u32, u32)]) {
        let tags: Vec<Tag<'static>> = tags
            .iter()
            .map(|&(word, name)| Tag {
                word,
                start: word * 10,
                end: word * 10 + 5,
                tag: 0,
                name,
                probability: 1.0,
            })
            .collect();
        let found: Vec<_> = slots(&tags).iter().map(|s| (s.name, s.start, s.end)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn joins_words_of_a_slot() {
        check(&[(0, "O"), (1, "B-room"), (2, "I-room"), (3, "O")], &[("room", 10, 25)]);
        check(&[(0, "B-a"), (1, "B-a")], &[("a", 0, 5), ("a", 10, 15)]);
        check(&[(0, "I-a"), (1, "I-b")], &[("a", 0, 5), ("b", 10, 15)]);
        check(&[(0, "B-a"), (1, "O"), (2, "I-a")], &[("a", 0, 5), ("a", 20, 25)]);
        check(&[(0, "NOUN"), (1, "X-Y")], &[]);
    }
}
