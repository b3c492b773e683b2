//! `inspect`: what is in a model file.

use std::io::Write;

use anyhow::Result;
use bert_core::format::{Encoding, Kind};
use bert_core::{Head, Model, Pooling, fast_scratch_bytes};
use serde_json::json;

use super::{output, print_json};
use crate::args::File;
use crate::file::{map, parse};

/// Prints sizes, names, memory and sections.
pub fn inspect(file: &File) -> Result<()> {
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    if file.json { print_json(&to_json(&model, bytes.len())) } else { print(&model, bytes.len()) }
}

/// The task in the words of `bert-trainer finetune --task`.
pub fn task(head: Head) -> &'static str {
    match head {
        Head::Classify { .. } => "classify",
        Head::Tag { .. } => "tag",
        Head::Joint { .. } => "joint",
        Head::PairClassify { .. } => "pair",
        Head::Regress { .. } => "regress",
        Head::Span => "span",
        Head::Embed { .. } => "embed",
        Head::MultiLabel { .. } => "multi-label",
        _ => "other",
    }
}

/// How many numbers a regression gives.
fn outputs(head: Head) -> Option<u16> {
    match head {
        Head::Regress { outputs } => Some(outputs),
        _ => None,
    }
}

/// The pooling a model was trained for, in the words of `embed --pooling`.
fn pooling(head: Head) -> Option<&'static str> {
    match head {
        Head::Embed { pooling: Pooling::Mean } => Some("mean"),
        Head::Embed { pooling: Pooling::First } => Some("cls"),
        _ => None,
    }
}

fn to_json(model: &Model<'_>, bytes: usize) -> serde_json::Value {
    let c = model.config();
    let sections: Vec<_> = model
        .sections()
        .map(|s| {
            json!({
                "kind": s.kind,
                "name": s.name(),
                "index": s.index,
                "encoding": s.encoding,
                "offset": s.offset,
                "bytes": s.length,
            })
        })
        .collect();
    json!({
        "task": task(c.head),
        "layers": c.layers,
        "hidden": c.hidden,
        "heads": c.heads,
        "feed_forward": c.feed_forward,
        "vocabulary": c.vocabulary,
        "segments": c.segments,
        "max_length": c.max_length,
        "activation": format!("{:?}", c.activation),
        "pooler": c.pooler,
        "lower_case": c.tokenizer.lower_case,
        "labels": model.labels().iter().collect::<Vec<_>>(),
        "tags": model.tags().iter().collect::<Vec<_>>(),
        "outputs": outputs(c.head),
        "pooling": pooling(c.head),
        "arithmetic": c.arithmetic,
        "bytes": bytes,
        "scratch_bytes": model.scratch_bytes(c.max_length as usize),
        "fast_scratch_bytes": fast_scratch_bytes(&c.shape(), c.max_length as usize),
        "self_tests": model.self_tests().count(),
        "sections": sections,
    })
}

fn print(model: &Model<'_>, bytes: usize) -> Result<()> {
    let c = model.config();
    let mut out = output();
    let names = |names: &bert_core::format::Labels<'_>| names.iter().collect::<Vec<_>>().join(" ");
    writeln!(out, "task          {}", task(c.head))?;
    writeln!(
        out,
        "model         {} layers, hidden {}, {} heads, feed-forward {}, {:?}",
        c.layers, c.hidden, c.heads, c.feed_forward, c.activation
    )?;
    let case = if c.tokenizer.lower_case { "lower-cased" } else { "cased" };
    writeln!(out, "vocabulary    {} pieces, {case}", c.vocabulary)?;
    writeln!(out, "max length    {} tokens", c.max_length)?;
    if !model.labels().is_empty() {
        writeln!(out, "labels        {}: {}", model.labels().len(), names(model.labels()))?;
    }
    if !model.tags().is_empty() {
        writeln!(out, "tags          {}: {}", model.tags().len(), names(model.tags()))?;
    }
    if let Some(outputs) = outputs(c.head) {
        let texts = if c.segments < 2 { "one text" } else { "one text or two" };
        writeln!(out, "outputs       {outputs}, for {texts}")?;
    }
    if let Some(pooling) = pooling(c.head) {
        writeln!(out, "pooling       {pooling}")?;
    }
    let tests = model.self_tests().count();
    writeln!(out, "self-test     {tests} texts, arithmetic revision {}", c.arithmetic)?;
    writeln!(out, "file          {bytes} bytes")?;
    for tokens in [16, 32, 64, 128, 256, 512] {
        if tokens < c.max_length as usize {
            let scratch = model.scratch_bytes(tokens);
            writeln!(out, "scratch       {scratch} bytes at {tokens} tokens")?;
        }
    }
    let scratch = model.scratch_bytes(c.max_length as usize);
    writeln!(out, "scratch       {scratch} bytes at {} tokens", c.max_length)?;
    let fast = fast_scratch_bytes(&c.shape(), c.max_length as usize);
    writeln!(out, "              {fast} bytes to be fastest there, as this program takes")?;
    writeln!(out, "\n  offset      bytes  section")?;
    for s in model.sections() {
        let name = s.name();
        let layered = (Kind::QueryKeyValue as u16..=Kind::FeedForwardNorm as u16).contains(&s.kind);
        let place = if layered { format!("layer {} ", s.index) } else { String::new() };
        let half = if s.encoding == Encoding::Float16Rows as u16 { ", f16" } else { "" };
        writeln!(out, "{:8}  {:9}  {place}{name}{half}", s.offset, s.length)?;
    }
    Ok(())
}
