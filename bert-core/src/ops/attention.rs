//! Attention of one row over all T tokens, one head at a time:
//! oₕ = Σⱼ softmax(qₕ·kⱼₕ / √D)ⱼ vⱼₕ.
//!
//! q, k and v are int8 with a scale per token and head. The dot product q·k is exact in i32; the
//! sum over j runs from the first token to the last for every column. One row of T scores is all
//! that lies in memory. Source: Vaswani et al., *Attention Is All You Need*, 2017.

use super::linear::dot;
use super::softmax_row;
use crate::math::sqrt;

/// Operands of [`attention_row`]; k and v are \[T, H\], their scales \[T, A\].
pub struct AttentionRow<'a> {
    /// Query row, H values.
    pub query: &'a [i8],
    /// Scale of each head of the query, A values.
    pub query_scales: &'a [f32],
    /// Keys.
    pub keys: &'a [i8],
    /// Scales of the keys.
    pub key_scales: &'a [f32],
    /// Values.
    pub values: &'a [i8],
    /// Scales of the values.
    pub value_scales: &'a [f32],
    /// D, the width of a head.
    pub head_width: usize,
}

/// Writes the context row into `out` \[H\]; `scores` is room for T floats.
pub fn attention_row(row: &AttentionRow<'_>, scores: &mut [f32], out: &mut [f32]) {
    let (hidden, heads, width) = (row.query.len(), row.query_scales.len(), row.head_width);
    let root = 1.0 / sqrt(width as f32);
    let queries = row.query.chunks_exact(width).zip(row.query_scales);
    for (head, ((query, query_scale), out)) in queries.zip(out.chunks_exact_mut(width)).enumerate()
    {
        let columns = head * width..(head + 1) * width;
        let scale = query_scale * root;
        let keys = row.keys.chunks_exact(hidden).zip(row.key_scales.chunks_exact(heads));
        for (score, (key, key_scales)) in scores.iter_mut().zip(keys) {
            *score = dot(query, &key[columns.clone()]) as f32 * (scale * key_scales[head]);
        }
        let total = softmax_row(scores);
        out.fill(0.0);
        let values = row.values.chunks_exact(hidden).zip(row.value_scales.chunks_exact(heads));
        for (score, (value, value_scales)) in scores.iter().zip(values) {
            let weight = score * value_scales[head];
            for (out, &value) in out.iter_mut().zip(&value[columns.clone()]) {
                *out += weight * value as f32;
            }
        }
        let inverse = 1.0 / total;
        for out in out.iter_mut() {
            *out *= inverse;
        }
    }
}
