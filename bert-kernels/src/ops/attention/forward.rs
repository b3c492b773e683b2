//! The forward pass: one owner has a block of queries of one sequence and head.

use cubecl::prelude::*;

use super::tiles::{
    Owner, add_weighted, clear, first_owner, meet, member, owner, score, store, teams, transpose,
};
use super::{Sizes, Tiling, tensor};
use crate::lanes::{exp_nonpositive, iota, max_lanes, sum_lanes, with_act};
use crate::ops::dropout::{DeviceDropout, DropMask, Mask};
use crate::{Buffer, Context, KernelError};

/// Operands of [`attention_forward`].
pub struct AttentionForward<'a> {
    /// Queries, keys and values `[T, 3H]`, f32, bf16 or f16: row = q(H) k(H) v(H), head h at columns h·D.
    pub qkv: &'a Buffer,
    /// First token of each sequence, and T `[B + 1]` u32, ascending.
    pub cu_seqlens: &'a Buffer,
    /// Sequence of each token `[T]` u32.
    pub token_sequence: &'a Buffer,
    /// Result `[T, H]`, like `qkv`.
    pub out: &'a Buffer,
    /// log Σ exp of the scores of each query and head `[T, A]` f32, written for the backward pass.
    pub lse: &'a Buffer,
    /// T.
    pub tokens: usize,
    /// B.
    pub sequences: usize,
    /// A.
    pub heads: usize,
    /// D = H / A.
    pub head_width: usize,
    /// Tokens of the longest sequence, or more.
    pub max_length: usize,
    /// Dropout of the probabilities.
    pub dropout: Option<&'a DeviceDropout>,
}

/// `out = dropout(softmax(q kᵀ / √D)) v` within each sequence.
///
/// # Errors
///
/// Lengths or types that do not fit together, a size of zero, a probability outside [0, 1), or a
/// head too wide for the device's shared memory.
pub fn attention_forward(ctx: &Context, args: AttentionForward<'_>) -> Result<(), KernelError> {
    const OP: &str = "attention_forward";
    let AttentionForward {
        qkv,
        cu_seqlens,
        token_sequence,
        out,
        lse,
        tokens,
        sequences,
        heads,
        head_width,
        max_length,
        dropout,
    } = args;
    let sizes = Sizes { tokens, sequences, heads, head_width, max_length };
    sizes.check(OP, qkv, cu_seqlens, token_sequence, out, lse)?;
    let mask = Mask::new(OP, dropout, (tokens * heads, max_length))?;
    if tokens == 0 || sequences == 0 {
        return Ok(());
    }
    if tensor::forward(ctx, &args, sizes, &mask) {
        return Ok(());
    }
    let tiling = Tiling::new(ctx, qkv, sizes, mask.drops(), |tiling| {
        tiling.width * (tiling.keys + tiling.queries)
            + tiling.stripe * tiling.keys
            + 3 * tiling.queries
    })?;
    let owners = tiling.owners(sizes, tiling.queries);
    let (count, dim) = tiling.grid(ctx, owners);
    with_act!(qkv.dtype(), E => attend::launch::<E>(
        ctx.client(),
        count,
        dim,
        tiling.lanes,
        qkv.arg(),
        cu_seqlens.arg(),
        out.arg(),
        lse.arg(),
        owners,
        max_length.div_ceil(tiling.queries),
        1.0 / (head_width as f32).sqrt(),
        mask.launch(),
        tiling,
    ));
    Ok(())
}

#[cube(launch)]
fn attend<E: Float, N: Size>(
    qkv: &[Vector<E, N>],
    cu_seqlens: &[u32],
    out: &mut [Vector<E, N>],
    lse: &mut [f32],
    owners: usize,
    blocks: usize,
    scale: f32,
    mask: DropMask,
    #[comptime] tiling: Tiling,
) {
    let keys_len = comptime!(tiling.width * tiling.key_vectors());
    let scores_len = comptime!(tiling.stripe * tiling.key_vectors());
    let sums_len = comptime!(tiling.queries * tiling.row_vectors());
    let rows = tiling.queries;
    let mut index = first_owner(tiling.team);
    // A team of one keeps its tiles to itself; a cube shares them.
    if comptime!(tiling.team == 1) {
        let mut keys = Array::<Vector<f32, N>>::new(keys_len);
        let mut scores = Array::<Vector<f32, N>>::new(scores_len);
        let mut sums = Array::<Vector<f32, N>>::new(sums_len);
        let mut peaks = Array::<f32>::new(rows);
        let mut totals = Array::<f32>::new(rows);
        let mut shrink = Array::<f32>::new(rows);
        while index < owners {
            let owner = owner(index, blocks, cu_seqlens, tiling.queries, tiling);
            attend_block::<E, N>(
                &owner,
                qkv,
                out,
                lse,
                scale,
                &mask,
                &mut keys[..],
                &mut scores[..],
                &mut sums[..],
                &mut peaks[..],
                &mut totals[..],
                &mut shrink[..],
                tiling,
            );
            index += teams(tiling.team);
        }
    } else {
        let mut keys = Shared::<[Vector<f32, N>]>::new_slice(keys_len);
        let mut scores = Shared::<[Vector<f32, N>]>::new_slice(scores_len);
        let mut sums = Shared::<[Vector<f32, N>]>::new_slice(sums_len);
        let mut peaks = Shared::<[f32]>::new_slice(rows);
        let mut totals = Shared::<[f32]>::new_slice(rows);
        let mut shrink = Shared::<[f32]>::new_slice(rows);
        while index < owners {
            let owner = owner(index, blocks, cu_seqlens, tiling.queries, tiling);
            attend_block::<E, N>(
                &owner,
                qkv,
                out,
                lse,
                scale,
                &mask,
                &mut keys,
                &mut scores,
                &mut sums,
                &mut peaks,
                &mut totals,
                &mut shrink,
                tiling,
            );
            index += teams(tiling.team);
        }
    }
}

/// Below every score, yet far enough from −∞ that differences are no NaN.
pub(super) const NO_PEAK: f32 = -1.0e30;

#[cube]
fn attend_block<E: Float, N: Size>(
    owner: &Owner,
    qkv: &[Vector<E, N>],
    out: &mut [Vector<E, N>],
    lse: &mut [f32],
    scale: f32,
    mask: &DropMask,
    transposed: &mut [Vector<f32, N>],
    scores: &mut [Vector<f32, N>],
    sums: &mut [Vector<f32, N>],
    peaks: &mut [f32],
    totals: &mut [f32],
    shrink: &mut [f32],
    #[comptime] tiling: Tiling,
) {
    let team = tiling.team;
    let lanes = tiling.lanes;
    let row_vectors = comptime!(tiling.row_vectors());
    if owner.start < owner.length {
        let queries = owner.rows(3usize, 0usize, tiling).block(owner.start, tiling.queries);
        let keys = owner.rows(3usize, 1usize, tiling);
        let values = owner.rows(3usize, 2usize, tiling);
        // Register tiles may reach past the last query, but not past the stripe.
        let rows = queries.count.div_ceil(tiling.stripe) * tiling.stripe;
        clear::<N>(sums, rows * row_vectors, team);
        for row in range_stepped(member(team), tiling.queries, team) {
            peaks[row] = NO_PEAK;
            totals[row] = 0.0f32;
        }
        for start in range_stepped(0usize, owner.length, tiling.keys) {
            let block = keys.block(start, tiling.keys);
            let columns = block.count.div_ceil(lanes);
            meet(team);
            transpose::<E, N>(qkv, &block, transposed, tiling);
            for stripe in range_stepped(0usize, queries.count, tiling.stripe) {
                let rows = queries.block(stripe, tiling.stripe);
                meet(team);
                score::<E, N>(qkv, &rows, &*transposed, columns, scores, tiling);
                meet(team);
                for i in range_stepped(member(team), rows.count, team) {
                    let row = stripe + i;
                    let token = owner.token + owner.start + row;
                    softmax_row::<N>(
                        scores,
                        i,
                        columns,
                        block.count,
                        start,
                        scale,
                        mask,
                        (token * tiling.heads + owner.head) as u32,
                        row,
                        peaks,
                        totals,
                        shrink,
                        tiling,
                    );
                }
                meet(team);
                add_weighted::<E, N>(
                    &*scores,
                    rows.count,
                    columns,
                    qkv,
                    &values.block(start, tiling.keys),
                    sums,
                    stripe,
                    &*shrink,
                    true,
                    tiling,
                );
            }
        }
        meet(team);
        for row in range_stepped(member(team), queries.count, team) {
            let inverse = Vector::new(1.0f32 / totals[row]);
            for part in 0..row_vectors {
                let at = row * row_vectors + part;
                sums[at] = sums[at] * inverse;
            }
            let token = owner.token + owner.start + row;
            lse[token * tiling.heads + owner.head] = peaks[row] + crate::math::ln(totals[row]);
        }
        meet(team);
        let rows = owner.rows(1usize, 0usize, tiling).block(owner.start, tiling.queries);
        store::<E, N>(&*sums, out, &rows, tiling);
        meet(team);
    }
}

/// Turns the scores of one query and one block of keys into dropped-out weights relative to the
/// highest score so far, and says by how much earlier sums shrink.
#[cube]
fn softmax_row<N: Size>(
    scores: &mut [Vector<f32, N>],
    i: usize,
    columns: usize,
    count: usize,
    start: usize,
    scale: f32,
    mask: &DropMask,
    draw: u32,
    row: usize,
    peaks: &mut [f32],
    totals: &mut [f32],
    shrink: &mut [f32],
    #[comptime] tiling: Tiling,
) {
    let base = i * comptime!(tiling.key_vectors());
    let lanes = tiling.lanes;
    let mut highest = Vector::<f32, N>::new(NO_PEAK);
    for column in 0..columns {
        let key = iota::<N>() + Vector::new((column * lanes) as u32);
        let score = select_many(
            key.less_than(&Vector::new(count as u32)),
            scores[base + column] * Vector::new(scale),
            Vector::new(NO_PEAK),
        );
        scores[base + column] = score;
        highest = max(highest, score);
    }
    let before = peaks[row];
    let peak = max(before, max_lanes::<N>(highest));
    let mut total = Vector::<f32, N>::new(0.0f32);
    let draws = mask.row(draw);
    for column in 0..columns {
        let mut weight =
            exp_nonpositive::<N>(scores[base + column] - Vector::new(peak), tiling.native_exp);
        total += weight;
        if tiling.drops {
            weight = draws.apply::<N>(weight, (start + column * lanes) as u32);
        }
        scores[base + column] = weight;
    }
    let factor =
        exp_nonpositive::<Const<1>>(Vector::new(before - peak), tiling.native_exp).extract(0usize);
    peaks[row] = peak;
    totals[row] = totals[row] * factor + sum_lanes::<N>(total);
    shrink[row] = factor;
}
