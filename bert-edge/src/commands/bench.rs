//! `bench`: microseconds from text to answer.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use bert_core::{Error, Head, ScratchVec, Session};
use serde_json::json;

use super::{output, print_json};
use crate::File;
use crate::file::{map, parse};

/// Answers `text` over and over, as `tag` does (or `classify`, if the model has no tags).
pub fn bench(file: &File, text: &str, iterations: u32) -> Result<()> {
    let name = || file.model.display().to_string();
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let scratch_bytes = scratch.len();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let mut times = Vec::new();
    let mut tokens = 0;
    for _ in 0..iterations {
        let start = Instant::now();
        tokens = black_box(ask(&mut session, text).with_context(name)?);
        times.push(start.elapsed().as_secs_f64() * 1e6);
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

/// Computes a whole answer and gives the number of tokens read.
fn ask(session: &mut Session<'_, '_>, text: &str) -> Result<usize, Error> {
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
        _ => Ok(session.classify(text)?.tokens),
    }
}
