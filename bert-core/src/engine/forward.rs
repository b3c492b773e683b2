//! BERT's forward pass, layer by layer: int8 matrices, f32 residual stream.
//!
//! x = LN(word + position + segment); in every layer
//! x ← LN(x + W₀·attention(x)), x ← LN(x + W₂·gelu(W₁·x)).
//! Source: Devlin et al., *BERT*, 2018.

use super::scratch::{Memory, TILE};
use crate::Error;
use crate::format::{Layer, Matrix, Model};
use crate::math::tanh;
use crate::ops::{
    AttentionRow, Row, activate, attention_row, embedding_row, layer_norm_row, linear,
    quantize_heads, quantize_row,
};

/// Which rows of the last layer are wanted. A row's value does not depend on the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// That of `[CLS]`: enough for a label of the text, and faster.
    First,
    /// Those of all tokens.
    All,
}

/// Runs the first `tokens` ids of `memory`; `segment` gives the segment of a token. Ids and segments
/// were checked against the tables. The result lies in `memory.x`.
pub(crate) fn forward(
    model: &Model<'_>,
    memory: &mut Memory<'_>,
    tokens: usize,
    segment: impl Fn(usize) -> usize,
    rows: Rows,
) -> Result<(), Error> {
    forward_to(model, memory, tokens, segment, rows, model.config().layers, |_, _| {})
}

/// As [`forward`], up to layer `depth` of 1 … L, whose rows are wanted then; 0 is the embeddings alone.
/// `after` is called with 0 after the embeddings and with the number of each layer after it.
pub(crate) fn forward_to(
    model: &Model<'_>,
    memory: &mut Memory<'_>,
    tokens: usize,
    segment: impl Fn(usize) -> usize,
    rows: Rows,
    depth: u16,
    mut after: impl FnMut(u16, &mut Memory<'_>),
) -> Result<(), Error> {
    let config = model.config();
    let hidden = config.hidden as usize;
    let norm = model.embedding_norm;
    for (t, x) in memory.x.chunks_exact_mut(hidden).take(tokens).enumerate() {
        let word = Row(&model.word, memory.ids[t] as usize);
        embedding_row(word, Row(&model.position, t), Row(&model.segment, segment(t)), x);
        layer_norm_row(x, norm.gamma, norm.beta, config.epsilon);
    }
    after(0, memory);
    for index in 0..depth {
        let layer = model.layer(index)?;
        let last = index + 1 == depth;
        let wanted = if last && rows == Rows::First { 1 } else { tokens };
        keys_and_values(model, &layer, memory, tokens);
        for start in (0..wanted).step_by(TILE) {
            rows_of_layer(model, &layer, memory, tokens, start..wanted.min(start + TILE));
        }
        after(index + 1, memory);
    }
    Ok(())
}

/// Quantizes rows of `width` values one after the other.
fn quantize_rows(x: &[f32], q: &mut [i8], scales: &mut [f32], width: usize) {
    for ((x, q), scale) in x.chunks_exact(width).zip(q.chunks_exact_mut(width)).zip(scales) {
        *scale = quantize_row(x, q);
    }
}

/// Keys and values of all tokens.
fn keys_and_values(model: &Model<'_>, layer: &Layer<'_>, memory: &mut Memory<'_>, tokens: usize) {
    let (hidden, heads) = (model.config().hidden as usize, model.config().heads as usize);
    let width = hidden / heads;
    let matrix = layer.query_key_value.rows(hidden..3 * hidden);
    for start in (0..tokens).step_by(TILE) {
        let end = tokens.min(start + TILE);
        let count = end - start;
        let q = &mut memory.rows[..count * hidden];
        let scales = &mut memory.row_scales[..count];
        quantize_rows(&memory.x[start * hidden..end * hidden], q, scales, hidden);
        let out = &mut memory.wide[..count * 2 * hidden];
        linear(q, scales, &matrix, out);
        for (t, out) in (start..end).zip(out.chunks_exact(2 * hidden)) {
            let (key, value) = out.split_at(hidden);
            let (row, scales) = (t * hidden..(t + 1) * hidden, t * heads..(t + 1) * heads);
            let key_scales = &mut memory.key_scales[scales.clone()];
            quantize_heads(key, &mut memory.keys[row.clone()], key_scales, width);
            let value_scales = &mut memory.value_scales[scales];
            quantize_heads(value, &mut memory.values[row], value_scales, width);
        }
    }
}

/// Everything else of a layer, for a tile of rows: row t of `memory.x` is read by row t only, so
/// the result takes its place.
fn rows_of_layer(
    model: &Model<'_>,
    layer: &Layer<'_>,
    memory: &mut Memory<'_>,
    tokens: usize,
    range: core::ops::Range<usize>,
) {
    let config = model.config();
    let (hidden, heads) = (config.hidden as usize, config.heads as usize);
    let wide_width = config.feed_forward as usize;
    let count = range.len();
    let x = &mut memory.x[range.start * hidden..range.end * hidden];
    let first = &mut memory.first[..count * hidden];
    let second = &mut memory.second[..count * hidden];
    let wide = &mut memory.wide[..count * wide_width];
    let scales = &mut memory.row_scales[..count];
    let narrow_q = &mut memory.rows[..count * hidden];

    // Queries, then the context of each row.
    quantize_rows(x, narrow_q, scales, hidden);
    linear(narrow_q, scales, &layer.query_key_value.rows(0..hidden), first);
    for (query, context) in first.chunks_exact(hidden).zip(second.chunks_exact_mut(hidden)) {
        let q = &mut narrow_q[..hidden];
        quantize_heads(query, q, memory.query_scales, hidden / heads);
        let row = AttentionRow {
            query: q,
            query_scales: memory.query_scales,
            keys: &memory.keys[..tokens * hidden],
            key_scales: memory.key_scales,
            values: &memory.values[..tokens * hidden],
            value_scales: memory.value_scales,
            head_width: hidden / heads,
        };
        attention_row(&row, &mut memory.scores[..tokens], context);
    }

    // first = LN(x + output projection)
    quantize_rows(second, narrow_q, scales, hidden);
    linear(narrow_q, scales, &layer.attention_output, first);
    add(first, x);
    let norm = layer.attention_norm;
    for row in first.chunks_exact_mut(hidden) {
        layer_norm_row(row, norm.gamma, norm.beta, config.epsilon);
    }

    // x = LN(first + feed-forward part)
    quantize_rows(first, narrow_q, scales, hidden);
    linear(narrow_q, scales, &layer.feed_forward_in, wide);
    activate(wide, config.activation);
    let wide_q = &mut memory.rows[..count * wide_width];
    quantize_rows(wide, wide_q, scales, wide_width);
    linear(wide_q, scales, &layer.feed_forward_out, x);
    add(x, first);
    let norm = layer.feed_forward_norm;
    for row in x.chunks_exact_mut(hidden) {
        layer_norm_row(row, norm.gamma, norm.beta, config.epsilon);
    }
}

fn add(into: &mut [f32], from: &[f32]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into += from;
    }
}

/// Logits of the text (or the numbers of a regression) from row 0: dense layer with tanh where the
/// model has a pooler, class head.
pub(crate) fn label_logits(model: &Model<'_>, memory: &mut Memory<'_>) {
    let Some(head) = &model.class_head else {
        return;
    };
    let hidden = model.config().hidden as usize;
    let q = &mut memory.rows[..hidden];
    let mut scale = quantize_row(&memory.x[..hidden], q);
    if let Some(pooler) = &model.pooler {
        let pooled = &mut memory.first[..hidden];
        linear(q, &[scale], pooler, pooled);
        for value in pooled.iter_mut() {
            *value = tanh(*value);
        }
        scale = quantize_row(pooled, q);
    }
    linear(q, &[scale], head, memory.label_logits);
}

/// Logits of one token (of its tag, or of a span's start and end), from its row of the last layer.
pub(crate) fn token_logits(head: &Matrix<'_>, x: &[f32], q: &mut [i8], out: &mut [f32]) {
    let scale = quantize_row(x, q);
    linear(q, &[scale], head, out);
}
