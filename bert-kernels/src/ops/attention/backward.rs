//! The backward pass. One kernel owns blocks of keys and adds up d_k and d_v over all queries; one
//! owns blocks of queries and adds up d_q over all keys. Where every sequence fits into one block of
//! keys, the first has all of d_S at hand and finishes d_q too.

use cubecl::prelude::*;

use super::row_dots::row_dots;
use super::tiles::{
    Owner, Rows, add_weighted, add_weighted_transposed, clear, first_owner, meet, member, owner,
    score, store, teams, transpose,
};
use super::{Sizes, Tiling, tensor};
use crate::lanes::{exp_nonpositive, iota, with_act};
use crate::ops::dropout::{DeviceDropout, DropMask, Mask};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`attention_backward`].
pub struct AttentionBackward<'a> {
    /// Queries, keys and values `[T, 3H]` of the forward pass, f32, bf16 or f16.
    pub qkv: &'a Buffer,
    /// First token of each sequence, and T `[B + 1]` u32, ascending.
    pub cu_seqlens: &'a Buffer,
    /// Sequence of each token `[T]` u32.
    pub token_sequence: &'a Buffer,
    /// Result of the forward pass `[T, H]`, like `qkv`.
    pub out: &'a Buffer,
    /// `lse` of the forward pass `[T, A]` f32.
    pub lse: &'a Buffer,
    /// Gradient of `out` `[T, H]`, like `qkv`.
    pub d_out: &'a Buffer,
    /// Scratch `[T, A]` f32.
    pub delta: &'a Buffer,
    /// Gradient of `qkv` `[T, 3H]`, like `qkv`.
    pub d_qkv: &'a Buffer,
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
    /// The dropout of the forward pass.
    pub dropout: Option<&'a DeviceDropout>,
}

/// Gradients of queries, keys and values.
///
/// # Errors
///
/// Lengths or types that do not fit together, a size of zero, a probability outside [0, 1), or a
/// head too wide for the device's shared memory.
pub fn attention_backward(ctx: &Context, args: AttentionBackward<'_>) -> Result<(), KernelError> {
    const OP: &str = "attention_backward";
    let AttentionBackward {
        qkv,
        cu_seqlens,
        token_sequence,
        out,
        lse,
        d_out,
        delta,
        d_qkv,
        tokens,
        sequences,
        heads,
        head_width,
        max_length,
        dropout,
    } = args;
    let sizes = Sizes { tokens, sequences, heads, head_width, max_length };
    sizes.check(OP, qkv, cu_seqlens, token_sequence, out, lse)?;
    d_out.expect_dtype(OP, "d_out", qkv.dtype())?;
    d_out.expect_len(OP, "d_out", out.len())?;
    delta.expect_dtype(OP, "delta", DType::F32)?;
    delta.expect_len(OP, "delta", lse.len())?;
    d_qkv.expect_dtype(OP, "d_qkv", qkv.dtype())?;
    d_qkv.expect_len(OP, "d_qkv", qkv.len())?;
    let mask = Mask::new(OP, dropout, (tokens * heads, max_length))?;
    if tokens == 0 || sequences == 0 {
        return Ok(());
    }
    let tiling = Tiling::new(ctx, qkv, sizes, mask.drops(), |tiling| {
        tiling.width * (4 * tiling.keys + tiling.queries) + 2 * tiling.stripe * tiling.keys + 1
    })?;
    let scale = 1.0 / (head_width as f32).sqrt();
    row_dots(ctx, out, d_out, delta, tiling);
    if tensor::backward(ctx, &args, sizes, &mask) {
        return Ok(());
    }
    let one_block = max_length <= tiling.keys;
    let owners = tiling.owners(sizes, tiling.keys);
    let (count, dim) = tiling.grid(ctx, owners);
    with_act!(qkv.dtype(), E => differentiate_keys::launch::<E>(
        ctx.client(),
        count,
        dim,
        tiling.lanes,
        qkv.arg(),
        cu_seqlens.arg(),
        lse.arg(),
        d_out.arg(),
        delta.arg(),
        d_qkv.arg(),
        owners,
        max_length.div_ceil(tiling.keys),
        scale,
        mask.launch(),
        one_block,
        tiling,
    ));
    if one_block {
        return Ok(());
    }
    let owners = tiling.owners(sizes, tiling.queries);
    let (count, dim) = tiling.grid(ctx, owners);
    with_act!(qkv.dtype(), E => differentiate_queries::launch::<E>(
        ctx.client(),
        count,
        dim,
        tiling.lanes,
        qkv.arg(),
        cu_seqlens.arg(),
        lse.arg(),
        d_out.arg(),
        delta.arg(),
        d_qkv.arg(),
        owners,
        max_length.div_ceil(tiling.queries),
        scale,
        mask.launch(),
        tiling,
    ));
    Ok(())
}

#[cube(launch)]
fn differentiate_keys<E: Float, N: Size>(
    qkv: &[Vector<E, N>],
    cu_seqlens: &[u32],
    lse: &[f32],
    d_out: &[Vector<E, N>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, N>],
    owners: usize,
    blocks: usize,
    scale: f32,
    mask: DropMask,
    #[comptime] one_block: bool,
    #[comptime] tiling: Tiling,
) {
    let transposed_len = comptime!(tiling.width * tiling.key_vectors());
    let scores_len = comptime!(tiling.stripe * tiling.key_vectors());
    let sums_len = comptime!(tiling.keys * tiling.row_vectors());
    let stripe_len = comptime!(tiling.stripe * tiling.row_vectors());
    let mut index = first_owner(tiling.team);
    if comptime!(tiling.team == 1) {
        let mut keys = Array::<Vector<f32, N>>::new(transposed_len);
        let mut values = Array::<Vector<f32, N>>::new(transposed_len);
        let mut scores = Array::<Vector<f32, N>>::new(scores_len);
        let mut d_scores = Array::<Vector<f32, N>>::new(scores_len);
        let mut d_keys = Array::<Vector<f32, N>>::new(sums_len);
        let mut d_values = Array::<Vector<f32, N>>::new(sums_len);
        let mut d_queries = Array::<Vector<f32, N>>::new(stripe_len);
        while index < owners {
            let owner = owner(index, blocks, cu_seqlens, tiling.keys, tiling);
            keys_block::<E, N>(
                &owner,
                qkv,
                lse,
                d_out,
                delta,
                d_qkv,
                scale,
                &mask,
                &mut keys[..],
                &mut values[..],
                &mut scores[..],
                &mut d_scores[..],
                &mut d_keys[..],
                &mut d_values[..],
                &mut d_queries[..],
                one_block,
                tiling,
            );
            index += teams(tiling.team);
        }
    } else {
        let mut keys = Shared::<[Vector<f32, N>]>::new_slice(transposed_len);
        let mut values = Shared::<[Vector<f32, N>]>::new_slice(transposed_len);
        let mut scores = Shared::<[Vector<f32, N>]>::new_slice(scores_len);
        let mut d_scores = Shared::<[Vector<f32, N>]>::new_slice(scores_len);
        let mut d_keys = Shared::<[Vector<f32, N>]>::new_slice(sums_len);
        let mut d_values = Shared::<[Vector<f32, N>]>::new_slice(sums_len);
        let mut d_queries = Shared::<[Vector<f32, N>]>::new_slice(stripe_len);
        while index < owners {
            let owner = owner(index, blocks, cu_seqlens, tiling.keys, tiling);
            keys_block::<E, N>(
                &owner,
                qkv,
                lse,
                d_out,
                delta,
                d_qkv,
                scale,
                &mask,
                &mut keys,
                &mut values,
                &mut scores,
                &mut d_scores,
                &mut d_keys,
                &mut d_values,
                &mut d_queries,
                one_block,
                tiling,
            );
            index += teams(tiling.team);
        }
    }
}

#[cube(launch)]
fn differentiate_queries<E: Float, N: Size>(
    qkv: &[Vector<E, N>],
    cu_seqlens: &[u32],
    lse: &[f32],
    d_out: &[Vector<E, N>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, N>],
    owners: usize,
    blocks: usize,
    scale: f32,
    mask: DropMask,
    #[comptime] tiling: Tiling,
) {
    let transposed_len = comptime!(tiling.width * tiling.key_vectors());
    let scores_len = comptime!(tiling.stripe * tiling.key_vectors());
    let sums_len = comptime!(tiling.queries * tiling.row_vectors());
    let mut index = first_owner(tiling.team);
    if comptime!(tiling.team == 1) {
        let mut keys = Array::<Vector<f32, N>>::new(transposed_len);
        let mut values = Array::<Vector<f32, N>>::new(transposed_len);
        let mut scores = Array::<Vector<f32, N>>::new(scores_len);
        let mut d_scores = Array::<Vector<f32, N>>::new(scores_len);
        let mut d_queries = Array::<Vector<f32, N>>::new(sums_len);
        while index < owners {
            let owner = owner(index, blocks, cu_seqlens, tiling.queries, tiling);
            queries_block::<E, N>(
                &owner,
                qkv,
                lse,
                d_out,
                delta,
                d_qkv,
                scale,
                &mask,
                &mut keys[..],
                &mut values[..],
                &mut scores[..],
                &mut d_scores[..],
                &mut d_queries[..],
                tiling,
            );
            index += teams(tiling.team);
        }
    } else {
        let mut keys = Shared::<[Vector<f32, N>]>::new_slice(transposed_len);
        let mut values = Shared::<[Vector<f32, N>]>::new_slice(transposed_len);
        let mut scores = Shared::<[Vector<f32, N>]>::new_slice(scores_len);
        let mut d_scores = Shared::<[Vector<f32, N>]>::new_slice(scores_len);
        let mut d_queries = Shared::<[Vector<f32, N>]>::new_slice(sums_len);
        while index < owners {
            let owner = owner(index, blocks, cu_seqlens, tiling.queries, tiling);
            queries_block::<E, N>(
                &owner,
                qkv,
                lse,
                d_out,
                delta,
                d_qkv,
                scale,
                &mask,
                &mut keys,
                &mut values,
                &mut scores,
                &mut d_scores,
                &mut d_queries,
                tiling,
            );
            index += teams(tiling.team);
        }
    }
}

#[cube]
fn keys_block<E: Float, N: Size>(
    owner: &Owner,
    qkv: &[Vector<E, N>],
    lse: &[f32],
    d_out: &[Vector<E, N>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, N>],
    scale: f32,
    mask: &DropMask,
    keys: &mut [Vector<f32, N>],
    values: &mut [Vector<f32, N>],
    scores: &mut [Vector<f32, N>],
    d_scores: &mut [Vector<f32, N>],
    d_keys: &mut [Vector<f32, N>],
    d_values: &mut [Vector<f32, N>],
    d_queries: &mut [Vector<f32, N>],
    #[comptime] one_block: bool,
    #[comptime] tiling: Tiling,
) {
    let team = tiling.team;
    let row_vectors = comptime!(tiling.row_vectors());
    if owner.start < owner.length {
        let key_rows = owner.rows(3usize, 1usize, tiling).block(owner.start, tiling.keys);
        let value_rows = owner.rows(3usize, 2usize, tiling).block(owner.start, tiling.keys);
        let query_rows = owner.rows(3usize, 0usize, tiling);
        let d_out_rows = owner.rows(1usize, 0usize, tiling);
        let columns = key_rows.count.div_ceil(tiling.lanes);
        transpose::<E, N>(qkv, &key_rows, keys, tiling);
        transpose::<E, N>(qkv, &value_rows, values, tiling);
        let sums = columns * comptime!(tiling.lanes * row_vectors);
        clear::<N>(d_keys, sums, team);
        clear::<N>(d_values, sums, team);
        for stripe in range_stepped(0usize, owner.length, tiling.stripe) {
            let rows = query_rows.block(stripe, tiling.stripe);
            let d_rows = d_out_rows.block(stripe, tiling.stripe);
            meet(team);
            score::<E, N>(qkv, &rows, &*keys, columns, scores, tiling);
            score::<E, N>(d_out, &d_rows, &*values, columns, d_scores, tiling);
            if one_block {
                clear::<N>(d_queries, comptime!(tiling.stripe * row_vectors).runtime(), team);
            }
            meet(team);
            differentiate_scores::<N>(
                owner,
                stripe,
                &rows,
                columns,
                key_rows.count,
                owner.start,
                lse,
                delta,
                scale,
                mask,
                scores,
                d_scores,
                tiling,
            );
            meet(team);
            add_weighted_transposed::<E, N>(&*scores, columns, d_out, &d_rows, d_values, tiling);
            add_weighted_transposed::<E, N>(&*d_scores, columns, qkv, &rows, d_keys, tiling);
            if one_block {
                add_weighted::<E, N>(
                    &*d_scores,
                    rows.count,
                    columns,
                    qkv,
                    &key_rows,
                    d_queries,
                    0usize.runtime(),
                    lse,
                    false,
                    tiling,
                );
                meet(team);
                store::<E, N>(&*d_queries, d_qkv, &rows, tiling);
            }
        }
        meet(team);
        store::<E, N>(&*d_keys, d_qkv, &key_rows, tiling);
        store::<E, N>(&*d_values, d_qkv, &value_rows, tiling);
        meet(team);
    }
}

#[cube]
fn queries_block<E: Float, N: Size>(
    owner: &Owner,
    qkv: &[Vector<E, N>],
    lse: &[f32],
    d_out: &[Vector<E, N>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, N>],
    scale: f32,
    mask: &DropMask,
    keys: &mut [Vector<f32, N>],
    values: &mut [Vector<f32, N>],
    scores: &mut [Vector<f32, N>],
    d_scores: &mut [Vector<f32, N>],
    d_queries: &mut [Vector<f32, N>],
    #[comptime] tiling: Tiling,
) {
    let team = tiling.team;
    let row_vectors = comptime!(tiling.row_vectors());
    if owner.start < owner.length {
        let query_rows = owner.rows(3usize, 0usize, tiling).block(owner.start, tiling.queries);
        let d_out_rows = owner.rows(1usize, 0usize, tiling).block(owner.start, tiling.queries);
        let all_keys = owner.rows(3usize, 1usize, tiling);
        let all_values = owner.rows(3usize, 2usize, tiling);
        let rows = query_rows.count.div_ceil(tiling.stripe) * tiling.stripe;
        clear::<N>(d_queries, rows * row_vectors, team);
        for start in range_stepped(0usize, owner.length, tiling.keys) {
            let key_rows = all_keys.block(start, tiling.keys);
            let columns = key_rows.count.div_ceil(tiling.lanes);
            meet(team);
            transpose::<E, N>(qkv, &key_rows, keys, tiling);
            transpose::<E, N>(qkv, &all_values.block(start, tiling.keys), values, tiling);
            for stripe in range_stepped(0usize, query_rows.count, tiling.stripe) {
                let rows = query_rows.block(stripe, tiling.stripe);
                meet(team);
                score::<E, N>(qkv, &rows, &*keys, columns, scores, tiling);
                score::<E, N>(
                    d_out,
                    &d_out_rows.block(stripe, tiling.stripe),
                    &*values,
                    columns,
                    d_scores,
                    tiling,
                );
                meet(team);
                differentiate_scores::<N>(
                    owner,
                    owner.start + stripe,
                    &rows,
                    columns,
                    key_rows.count,
                    start,
                    lse,
                    delta,
                    scale,
                    mask,
                    scores,
                    d_scores,
                    tiling,
                );
                meet(team);
                add_weighted::<E, N>(
                    &*d_scores, rows.count, columns, qkv, &key_rows, d_queries, stripe, lse, false,
                    tiling,
                );
            }
        }
        meet(team);
        store::<E, N>(&*d_queries, d_qkv, &query_rows, tiling);
        meet(team);
    }
}

/// Turns scores into dropped-out probabilities and gradients of those into gradients of the scores,
/// for the queries `rows`, which begin at `first` in their sequence, and `count` keys from `start` on.
#[cube]
fn differentiate_scores<N: Size>(
    owner: &Owner,
    first: usize,
    rows: &Rows,
    columns: usize,
    count: usize,
    start: usize,
    lse: &[f32],
    delta: &[f32],
    scale: f32,
    mask: &DropMask,
    scores: &mut [Vector<f32, N>],
    d_scores: &mut [Vector<f32, N>],
    #[comptime] tiling: Tiling,
) {
    let lanes = tiling.lanes;
    let key_vectors = comptime!(tiling.key_vectors());
    for i in range_stepped(member(tiling.team), rows.count, tiling.team) {
        let row = (owner.token + first + i) * tiling.heads + owner.head;
        let lse_row = Vector::<f32, N>::new(lse[row]);
        let delta_row = Vector::<f32, N>::new(delta[row]);
        let draws = mask.row(row as u32);
        for column in 0..columns {
            let at = i * key_vectors + column;
            let key = iota::<N>() + Vector::new((column * lanes) as u32);
            let probability = select_many(
                key.less_than(&Vector::new(count as u32)),
                exp_nonpositive::<N>(scores[at] * Vector::new(scale) - lse_row, tiling.native_exp),
                Vector::new(0.0f32),
            );
            let mut d_probability = d_scores[at];
            let mut dropped = probability;
            if tiling.drops {
                let factors = draws.factors::<N>((start + column * lanes) as u32);
                d_probability *= factors;
                dropped = probability * factors;
            }
            scores[at] = dropped;
            d_scores[at] = probability * (d_probability - delta_row) * Vector::new(scale);
        }
    }
}
