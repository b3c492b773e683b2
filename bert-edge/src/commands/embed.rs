//! `embed`: each text as a vector.

use std::io::Write;

use anyhow::{Context, Result};
use bert_core::{EmbedOptions, Head, Pooling, ScratchVec, Session};
use serde::Serialize;
use serde_json::json;

use super::{output, print_json};
use crate::args::Embed;
use crate::file::{map, parse};
use crate::input::each_text;
use crate::npy::NpyWriter;

/// A vector on its way out; written without detour, so that f32 keeps its few digits.
#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    vector: &'a [f32],
    tokens: usize,
    truncated: bool,
}

/// Prints a JSON object a line, or `{"results": […]}`, or writes a file.
pub fn embed(args: &Embed) -> Result<()> {
    let file = &args.texts.file;
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let name = || file.model.display().to_string();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    let own = match model.config().head {
        Head::Embed { pooling } => pooling,
        _ => Pooling::Mean,
    };
    let pooling = args.pooling.map_or(own, Pooling::from);
    let options = EmbedOptions { pooling, layers: args.layers };
    let mut vector = vec![0.0; options.out_len(model.config().hidden as usize)];
    // A layer that the model lacks is found before anything is read or written.
    session.embed("", options, &mut vector).with_context(name)?;
    let path = args.output.as_deref();
    let mut npy = path.map(|path| NpyWriter::create(path, vector.len())).transpose()?;
    let mut out = output();
    let mut cut = 0u64;
    let mut results: Vec<String> = Vec::new();
    each_text(&args.texts.texts, |text| {
        let mut embedding = session.embed(text, options, &mut vector).with_context(name)?;
        if args.normalize {
            embedding.normalize();
        }
        let (tokens, truncated) = (embedding.tokens, embedding.truncated);
        cut += u64::from(truncated);
        if let Some(npy) = &mut npy {
            return npy.push(&vector);
        }
        let line = serde_json::to_string(&Line { text, vector: &vector, tokens, truncated })?;
        match file.json {
            true => results.push(line),
            false => writeln!(out, "{line}")?,
        }
        Ok(())
    })?;
    drop(out);
    let width = vector.len();
    match (npy, file.json) {
        (None, false) => Ok(()),
        (None, true) => {
            writeln!(output(), "{{\"results\":[{}]}}", results.join(","))?;
            Ok(())
        }
        (Some(npy), json) => {
            let (path, vectors) = (path.map(|p| p.display().to_string()), npy.finish()?);
            let path = path.unwrap_or_default();
            if json {
                return print_json(&json!({
                    "output": path, "vectors": vectors, "width": width, "truncated": cut,
                }));
            }
            writeln!(output(), "{path}: {vectors} vectors of {width} numbers, {cut} texts cut")?;
            Ok(())
        }
    }
}
