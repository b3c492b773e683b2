//! Rows of `ops/embedding.rs`.

use super::{Bound, Case, CaseFailure, Random, check_gradient, compare, expect, upload, widen};
use crate::ops::embedding::reference;
use crate::ops::{self, EmbeddingBackward, EmbeddingForward, embedding_workspace_len, group_rows};
use crate::{Context, DType};

/// Two f32 additions of values up to 1 each: at most 2 roundings of half an ulp of the largest
/// partial sum.
const EMBEDDING_SUM_ERROR: f64 = 2.0 * 5.97e-8;
/// A sum of n terms rounds n times at most half an ulp of the largest partial sum; rows here have
/// below 2,000 tokens whose sums stay within a tenth of n of the largest row sum.
const EMBEDDING_SCATTER_ERROR: f64 = 200.0 * 5.97e-8;

const WORDS: usize = 50;
const SEGMENTS: usize = 2;

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (tokens, hidden) in [(1, 8), (3, 24), (129, 128), (17, 130), (40, 768), (1500, 16)] {
            let name = format!("forward T={tokens} H={hidden}");
            rows.push(Case::new("embedding", name, dtype, move |ctx| {
                forward(ctx, tokens, hidden, dtype)
            }));
        }
        // Up to as many words as a batch has, or as few as it has segments.
        for (tokens, hidden, words) in [
            (1, 8, WORDS),
            (3, 24, WORDS),
            (129, 128, WORDS),
            (17, 130, WORDS),
            (40, 768, WORDS),
            (1500, 16, WORDS),
            (1500, 20, SEGMENTS),
            (257, 8, 1),
        ] {
            let name = format!("backward T={tokens} H={hidden} V={words}");
            rows.push(Case::new("embedding", name, dtype, move |ctx| {
                backward(ctx, tokens, hidden, words, dtype)
            }));
        }
    }
    rows
}

fn forward(ctx: &Context, tokens: usize, hidden: usize, dtype: DType) -> Result<(), CaseFailure> {
    let mut random = Random::new((tokens * hidden) as u64);
    let sizes = [WORDS, tokens, SEGMENTS];
    let tables = sizes.map(|rows| random.values(rows * hidden, 1.0, dtype));
    let indices = sizes.map(|rows| random.indices(tokens, rows));
    let out = ctx.empty(dtype, tokens * hidden);
    ops::embedding_forward(
        ctx,
        EmbeddingForward {
            word: &upload(ctx, &tables[0], dtype),
            position: &upload(ctx, &tables[1], dtype),
            segment: &upload(ctx, &tables[2], dtype),
            ids: &ctx.upload_u32(&indices[0]),
            positions: &ctx.upload_u32(&indices[1]),
            segments: &ctx.upload_u32(&indices[2]),
            out: &out,
            hidden,
        },
    )?;
    let found = ctx.read_f32(&out)?;
    let wide = tables.each_ref().map(|table| widen(table));
    let pairs: Vec<(&[f64], &[u32])> = wide
        .iter()
        .zip(&indices)
        .map(|(table, index)| (table.as_slice(), index.as_slice()))
        .collect();
    let bound = Bound::of_max("EMBEDDING_SUM_ERROR", EMBEDDING_SUM_ERROR).stored_as(dtype);
    compare("out", &found, &reference::forward(&pairs, hidden), bound)
}

fn backward(
    ctx: &Context,
    tokens: usize,
    hidden: usize,
    words: usize,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((tokens * hidden + 1) as u64);
    let d_out = random.values(tokens * hidden, 1.0, dtype);
    let ids = random.indices(tokens, words);
    let before = random.values(words * hidden, 1.0, DType::F32);
    let mut groups = group_rows(&ids);
    let found_rows = groups.rows.clone();
    // Places of no token, as where a list is filled up.
    groups.order.extend([0; 70]);
    groups.rows.extend([ops::IGNORE; 70]);
    let places = groups.order.len();
    groups.more_runs.resize(places.div_ceil(ops::EMBEDDING_RUN), 0);
    let d_table = ctx.upload_f32(&before);
    ops::embedding_backward(
        ctx,
        EmbeddingBackward {
            d_out: &upload(ctx, &d_out, dtype),
            order: &ctx.upload_u32(&groups.order),
            rows: &ctx.upload_u32(&groups.rows),
            more_runs: &ctx.upload_u32(&groups.more_runs),
            d_table: &d_table,
            workspace: &ctx.empty(DType::F32, embedding_workspace_len(places, hidden)),
            hidden,
        },
    )?;
    let found = ctx.read_f32(&d_table)?;
    let gradient = reference::backward(&widen(&d_out), &ids, words, hidden);
    let expected: Vec<f64> = gradient
        .iter()
        .zip(&before)
        .map(|(gradient, before)| gradient + f64::from(*before))
        .collect();
    let bound = Bound::of_max("EMBEDDING_SCATTER_ERROR", EMBEDDING_SCATTER_ERROR);
    compare("d_table", &found, &expected, bound)?;

    // Rows that nobody looked up keep their gradient bit for bit.
    let untouched = (0..words).filter(|row| !found_rows.contains(&(*row as u32)));
    for row in untouched {
        let columns = row * hidden..(row + 1) * hidden;
        expect(found[columns.clone()] == before[columns], || {
            format!("row {row} changed without a token")
        })?;
    }
    let table = widen(&random.values(words * hidden, 1.0, DType::F32));
    let d_out = widen(&d_out);
    let loss = |table: &[f64]| {
        let out = reference::forward(&[(table, &ids)], hidden);
        out.iter().zip(&d_out).map(|(out, d)| out * d).sum()
    };
    check_gradient("d_table", loss, &table, &gradient)
}
