//! `bench`: microseconds from text to answer.

use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, Result};
use bert_core::tokenizer::Tokenizer;
use bert_core::{AnswerOptions, Error, Head, Model, ScratchVec, Session};
use serde_json::json;

use super::{output, print_json};
use crate::args::{File, N_BEST};
use crate::file::{map, parse};
use crate::input::Input;

/// Answers `text` over and over, as the command of the model's task does.
pub fn bench(file: &File, text: &str, iterations: u32) -> Result<()> {
    let name = || file.model.display().to_string();
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let scratch_bytes = scratch.len();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let input = match model.config().head {
        Head::PairClassify { .. } | Head::Span => Input::pair(text)?,
        _ => Input::One(text),
    };
    let mut vector = vec![0.0; model.config().hidden as usize];
    let mut times = Vec::new();
    let mut tokens = 0;
    for _ in 0..iterations {
        let start = Instant::now();
        tokens = black_box(ask(&mut session, input, &mut vector).with_context(name)?);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    if let Input::Two(question, context) = input
        && model.config().head == Head::Span
    {
        tokens = tokens_of(&model, question, context).with_context(name)?;
    }
    times.sort_by(f64::total_cmp);
    let (median, least) = (times[times.len() / 2], times[0]);
    if file.json {
        let round = |us: f64| (us * 10.0).round() / 10.0;
        return print_json(&json!({
            "median_us": round(median),
            "min_us": round(least),
            "tokens": tokens,
            "iterations": iterations,
            "model_bytes": bytes.len(),
            "scratch_bytes": scratch_bytes,
        }));
    }
    writeln!(
        output(),
        "median {median:.0} µs, least {least:.0} µs a sentence of {tokens} tokens \
         ({iterations} times; model {} bytes, scratch {scratch_bytes} bytes)",
        bytes.len()
    )?;
    Ok(())
}

/// Computes a whole answer and gives the number of tokens read; 0 where an answer does not say it.
fn ask(
    session: &mut Session<'_, '_>,
    input: Input<'_>,
    vector: &mut [f32],
) -> Result<usize, Error> {
    let text = match input {
        Input::One(text) => text,
        Input::Two(a, b) if session.model().config().head == Head::Span => {
            black_box(session.answer::<N_BEST>(a, b, &AnswerOptions::default())?);
            return Ok(0);
        }
        Input::Two(a, b) => return Ok(session.classify_pair(a, b)?.tokens),
    };
    match session.model().config().head {
        Head::Joint { .. } => {
            let joint = session.joint(text)?;
            let tokens = joint.label.tokens;
            joint.tags.for_each(|tag| {
                black_box(tag);
            });
            Ok(tokens)
        }
        Head::Tag { .. } => {
            let tags = session.tag(text)?;
            let tokens = tags.tokens;
            tags.for_each(|tag| {
                black_box(tag);
            });
            Ok(tokens)
        }
        Head::Regress { .. } => Ok(session.regress(text)?.tokens),
        Head::MultiLabel { .. } => Ok(session.classify_labels(text)?.tokens),
        Head::Embed { pooling } => Ok(session.embed(text, pooling, vector)?.tokens),
        _ => Ok(session.classify(text)?.tokens),
    }
}

/// Tokens of two texts with `[CLS]` and both `[SEP]`, however many windows they are read in.
fn tokens_of(model: &Model<'_>, a: &str, b: &str) -> Result<usize, Error> {
    let tokenizer = Tokenizer::new(*model.vocabulary(), model.config().tokenizer)?;
    let mut count = 3;
    for text in [a, b] {
        tokenizer.tokenize(text, |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
    }
    Ok(count)
}
