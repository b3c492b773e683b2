//! `classify`: the label of each text or pair, or all the labels that hold.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result, bail};
use bert_core::{Classification, Error, Head, Label, MultiLabel, ScratchVec, Session};
use serde_json::{Map, Value, json};

use super::{number, output, print_json};
use crate::args::{Classify, TextsOrPairs};
use crate::file::{map, parse};
use crate::input::{Input, each_input};

/// Prints labels, probabilities and texts, or `{"results": […]}`.
pub fn classify(args: &Classify) -> Result<()> {
    let Classify { texts: TextsOrPairs { texts, pair }, threshold } = args;
    let file = &texts.file;
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let name = || file.model.display().to_string();
    check(model.config().head, *pair, *threshold).with_context(name)?;
    let threshold = threshold.unwrap_or(0.5);
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let mut out = output();
    let mut results = Vec::new();
    each_input(&texts.texts, *pair, |input| {
        let answer = ask(&mut session, input).with_context(name)?;
        if file.json {
            let mut object = input.to_json();
            describe(&mut object, &answer, threshold);
            results.push(object);
            return Ok(());
        }
        match answer {
            Answer::One(label) => {
                writeln!(out, "{}\t{:.4}\t{input}", label.name(), label.probability())?;
            }
            Answer::Several(labels) => {
                let (names, probabilities) = joined(labels.above(threshold));
                writeln!(out, "{names}\t{probabilities}\t{input}")?;
            }
        }
        Ok(())
    })?;
    if file.json {
        print_json(&json!({ "results": results }))?;
    }
    Ok(())
}

/// Says what is wrong with the options for this model, before any text is read.
fn check(head: Head, pair: bool, threshold: Option<f32>) -> Result<()> {
    let several = matches!(head, Head::MultiLabel { .. });
    if threshold.is_some() && !several {
        bail!("--threshold is for models with several labels a text");
    }
    match head {
        Head::PairClassify { .. } if !pair => {
            bail!("the model takes two texts: give --pair, and a tab between them")
        }
        Head::Classify { .. } | Head::Joint { .. } | Head::MultiLabel { .. } if pair => {
            bail!("the model takes one text: leave out --pair")
        }
        _ => Ok(()),
    }
}

/// What a model says about a text or a pair.
pub(crate) enum Answer<'m, 'a> {
    One(Classification<'m, 'a>),
    Several(MultiLabel<'m, 'a>),
}

/// Asks as the model's head wants it.
pub(crate) fn ask<'m, 'a>(
    session: &'a mut Session<'m, '_>,
    input: Input<'_>,
) -> Result<Answer<'m, 'a>, Error> {
    let several = matches!(session.model().config().head, Head::MultiLabel { .. });
    match input {
        Input::One(text) if several => session.classify_labels(text).map(Answer::Several),
        Input::One(text) => session.classify(text).map(Answer::One),
        Input::Two(a, b) => session.classify_pair(a, b).map(Answer::One),
    }
}

/// Names and probabilities, each separated by commas.
fn joined<'m>(labels: impl Iterator<Item = Label<'m>>) -> (String, String) {
    let (mut names, mut probabilities) = (String::new(), String::new());
    for (i, label) in labels.enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(names, "{comma}{}", label.name);
        let _ = write!(probabilities, "{comma}{:.4}", label.probability);
    }
    (names, probabilities)
}

/// Adds an answer to a JSON object.
pub(crate) fn describe(object: &mut Value, answer: &Answer<'_, '_>, threshold: f32) {
    let probabilities: Map<String, Value>;
    match answer {
        Answer::One(label) => {
            object["label"] = json!(label.name());
            object["probability"] = number(label.probability());
            object["tokens"] = json!(label.tokens);
            object["truncated"] = json!(label.truncated);
            let all = label.probabilities();
            probabilities = all.map(|(name, p)| (name.to_string(), number(p))).collect();
        }
        Answer::Several(labels) => {
            let above = labels.above(threshold).map(
                |label| json!({ "label": label.name, "probability": number(label.probability) }),
            );
            object["labels"] = above.collect();
            object["tokens"] = json!(labels.tokens);
            object["truncated"] = json!(labels.truncated);
            let all = labels.all();
            probabilities = all.map(|l| (l.name.to_string(), number(l.probability))).collect();
        }
    }
    object["probabilities"] = json!(probabilities);
}
