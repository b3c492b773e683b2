//! Sum of three embeddings, and the scatter-add that is its gradient.
//!
//! Forward: `out[t] = word[ids[t]] + position[positions[t]] + segment[segments[t]]`
//! (Devlin et al. 2019, figure 2).
//! Backward, per table: `d_table[r] += Σ d_out[t]` over the tokens t that looked up row r.
//! The host groups tokens by row ([`group_rows`]), so each row's columns have one owner who adds the
//! tokens in their order: no atomics, and the same bits on every run.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`embedding_forward`].
pub struct EmbeddingForward<'a> {
    /// Word table `[V, H]`, f32, bf16 or f16.
    pub word: &'a Buffer,
    /// Position table `[P, H]`, like `word`.
    pub position: &'a Buffer,
    /// Segment table `[S, H]`, like `word`.
    pub segment: &'a Buffer,
    /// Word of each token `[T]` u32, below V.
    pub ids: &'a Buffer,
    /// Position of each token `[T]` u32, below P.
    pub positions: &'a Buffer,
    /// Segment of each token `[T]` u32, below S.
    pub segments: &'a Buffer,
    /// Sums `[T, H]`, like `word`.
    pub out: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// Operands of [`embedding_backward`].
pub struct EmbeddingBackward<'a> {
    /// Gradient of the sums `[T, H]`, f32, bf16 or f16.
    pub d_out: &'a Buffer,
    /// Token indices grouped by row `[T]` u32.
    pub order: &'a Buffer,
    /// The table row of each of the U groups `[U]` u32, no row twice.
    pub rows: &'a Buffer,
    /// Where each group begins in `order`, and the end `[U + 1]` u32.
    pub offsets: &'a Buffer,
    /// Gradient of the table `[V, H]` f32, added to.
    pub d_table: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// Tokens grouped by the table row they look up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowGroups {
    /// Token indices, group after group, ascending within a group.
    pub order: Vec<u32>,
    /// The table row of each group, ascending.
    pub rows: Vec<u32>,
    /// Where each group begins in `order`; one more entry marks the end.
    pub offsets: Vec<u32>,
}

/// Groups token indices by `ids`, stably, rows ascending.
pub fn group_rows(ids: &[u32]) -> RowGroups {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    let mut groups = RowGroups::default();
    for (place, &token) in order.iter().enumerate() {
        let row = ids[token as usize];
        if groups.rows.last() != Some(&row) {
            groups.rows.push(row);
            groups.offsets.push(place as u32);
        }
    }
    groups.offsets.push(order.len() as u32);
    groups.order = order;
    groups
}

/// `out[t] = word[ids[t]] + position[positions[t]] + segment[segments[t]]`, added in f32.
///
/// An index at or above its table's rows reads unspecified values: callers check ids.
///
/// # Errors
///
/// Lengths or types that do not fit together, or H = 0.
pub fn embedding_forward(ctx: &Context, args: EmbeddingForward<'_>) -> Result<(), KernelError> {
    const OP: &str = "embedding_forward";
    let EmbeddingForward { word, position, segment, ids, positions, segments, out, hidden } = args;
    expect_act(OP, "word", word)?;
    for (operand, table) in [("word", word), ("position", position), ("segment", segment)] {
        table.expect_dtype(OP, operand, word.dtype())?;
        expect_rows(OP, table, hidden)?;
    }
    let tokens = ids.len();
    for (operand, index) in [("ids", ids), ("positions", positions), ("segments", segments)] {
        index.expect_dtype(OP, operand, DType::U32)?;
        index.expect_len(OP, operand, tokens)?;
    }
    out.expect_dtype(OP, "out", word.dtype())?;
    out.expect_len(OP, "out", tokens * hidden)?;
    if tokens == 0 {
        return Ok(());
    }
    let width = lanes(ctx, word.dtype(), hidden);
    let columns = hidden / width;
    let spread = spread(ctx, tokens * columns);
    with_act!(word.dtype(), E => embedding_sum::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        word.arg(),
        position.arg(),
        segment.arg(),
        ids.arg(),
        positions.arg(),
        segments.arg(),
        out.arg(),
        tokens * columns,
        columns,
        spread.contiguous,
    ));
    Ok(())
}

/// `d_table[rows[u]] += Σ d_out[order[i]]` over `offsets[u] ≤ i < offsets[u + 1]`.
///
/// # Errors
///
/// Lengths or types that do not fit together, or H = 0.
pub fn embedding_backward(ctx: &Context, args: EmbeddingBackward<'_>) -> Result<(), KernelError> {
    const OP: &str = "embedding_backward";
    let EmbeddingBackward { d_out, order, rows, offsets, d_table, hidden } = args;
    expect_act(OP, "d_out", d_out)?;
    order.expect_dtype(OP, "order", DType::U32)?;
    rows.expect_dtype(OP, "rows", DType::U32)?;
    offsets.expect_dtype(OP, "offsets", DType::U32)?;
    d_table.expect_dtype(OP, "d_table", DType::F32)?;
    expect_rows(OP, d_table, hidden)?;
    d_out.expect_len(OP, "d_out", order.len() * hidden)?;
    offsets.expect_len(OP, "offsets", rows.len() + 1)?;
    if rows.is_empty() {
        return Ok(());
    }
    let width = lanes(ctx, DType::F32, hidden);
    let columns = hidden / width;
    let items = rows.len() * columns;
    let spread = spread(ctx, items);
    with_act!(d_out.dtype(), E => embedding_scatter::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        d_out.arg(),
        order.arg(),
        rows.arg(),
        offsets.arg(),
        d_table.arg(),
        items,
        columns,
    ));
    Ok(())
}

/// Whether a table consists of whole rows.
fn expect_rows(op: &'static str, table: &Buffer, hidden: usize) -> Result<(), KernelError> {
    if hidden > 0 && table.len().is_multiple_of(hidden) {
        return Ok(());
    }
    Err(KernelError::Size {
        op,
        what: "hidden",
        expected: "a divisor of every table's length",
        found: hidden,
    })
}

#[cube(launch)]
fn embedding_sum<E: Float, N: Size>(
    word: &[Vector<E, N>],
    position: &[Vector<E, N>],
    segment: &[Vector<E, N>],
    ids: &[u32],
    positions: &[u32],
    segments: &[u32],
    out: &mut [Vector<E, N>],
    vectors: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let token = i / columns;
        let column = i % columns;
        let sum = Vector::<f32, N>::cast_from(word[ids[token] as usize * columns + column])
            + Vector::<f32, N>::cast_from(position[positions[token] as usize * columns + column])
            + Vector::<f32, N>::cast_from(segment[segments[token] as usize * columns + column]);
        out[i] = Vector::cast_from(sum);
        i += items.step;
    }
}

/// Groups differ in size by orders of magnitude (a segment has half of all tokens), so units take
/// every so manieth column of all groups rather than neighbouring ones.
#[cube(launch)]
fn embedding_scatter<E: Float, N: Size>(
    d_out: &[Vector<E, N>],
    order: &[u32],
    rows: &[u32],
    offsets: &[u32],
    d_table: &mut [Vector<f32, N>],
    items: usize,
    columns: usize,
) {
    let items = my_items(items, false);
    let mut i = items.first;
    while i < items.end {
        let group = i / columns;
        let column = i % columns;
        let mut sum = Vector::<f32, N>::new(0.0f32);
        for place in offsets[group]..offsets[group + 1] {
            let token = order[place as usize] as usize;
            sum += Vector::<f32, N>::cast_from(d_out[token * columns + column]);
        }
        // A group without tokens may name a row that another has.
        if offsets[group] < offsets[group + 1] {
            let at = rows[group] as usize * columns + column;
            d_table[at] += sum;
        }
        i += items.step;
    }
}

/// Both passes in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    /// `out[t] = Σ table[index[t]]` over (table, index) pairs.
    pub(crate) fn forward(tables: &[(&[f64], &[u32])], hidden: usize) -> Vec<f64> {
        let tokens = tables[0].1.len();
        (0..tokens * hidden)
            .map(|at| {
                let (token, column) = (at / hidden, at % hidden);
                tables
                    .iter()
                    .map(|(table, index)| table[index[token] as usize * hidden + column])
                    .sum()
            })
            .collect()
    }

    /// The gradient of one table.
    pub(crate) fn backward(d_out: &[f64], ids: &[u32], rows: usize, hidden: usize) -> Vec<f64> {
        let mut d_table = vec![0.0; rows * hidden];
        for (token, &row) in ids.iter().enumerate() {
            for column in 0..hidden {
                d_table[row as usize * hidden + column] += d_out[token * hidden + column];
            }
        }
        d_table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_stable_and_ascending() {
        let groups = group_rows(&[5, 2, 5, 0, 2, 5]);
        assert_eq!(groups.rows, [0, 2, 5]);
        assert_eq!(groups.offsets, [0, 1, 3, 6]);
        assert_eq!(groups.order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(group_rows(&[]).offsets, [0]);
    }
}
