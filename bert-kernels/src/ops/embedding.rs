//! Sum of three embeddings, and the scatter-add that is its gradient.
//!
//! Forward: `out[t] = word[ids[t]] + position[positions[t]] + segment[segments[t]]`
//! (Devlin et al. 2019, figure 2).
//! Backward, per table: `d_table[r] += Σ d_out[t]` over the tokens t that looked up row r.
//! The host puts tokens in the order of their rows ([`group_rows`]). A few tokens have a row of their own
//! and half of all share a segment, so it is not rows that units take but runs of [`EMBEDDING_RUN`] places
//! of that order. A row that ends where it began, within a run, is added to its table at once; of one that
//! goes on, each run leaves a partial sum, and the run in which it began adds them in their order. No
//! atomics, and the same bits every time.

use cubecl::prelude::*;

use super::IGNORE;
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
    /// Token indices in the order of their rows `[P]` u32, each below T.
    pub order: &'a Buffer,
    /// The table row of each of these `[P]` u32, ascending, or [`IGNORE`](super::IGNORE) for places of
    /// no token, which come last.
    pub rows: &'a Buffer,
    /// For each run of [`EMBEDDING_RUN`] places, how many of the next ones go on with the row that begins
    /// in it and is its last `[⌈P / EMBEDDING_RUN⌉]` u32.
    pub more_runs: &'a Buffer,
    /// Gradient of the table `[V, H]` f32, added to.
    pub d_table: &'a Buffer,
    /// Scratch of [`embedding_workspace_len`] f32.
    pub workspace: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// Places of the order that a unit adds up.
pub const EMBEDDING_RUN: usize = 32;
/// Places whose gradients a unit loads before it adds the first.
const AT_ONCE: usize = 8;

/// Elements of [`EmbeddingBackward::workspace`] for `places` places and rows of width `hidden`.
pub fn embedding_workspace_len(places: usize, hidden: usize) -> usize {
    2 * places.div_ceil(EMBEDDING_RUN) * hidden
}

/// Tokens in the order of the table rows they look up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowGroups {
    /// Token indices, group after group, ascending within a group.
    pub order: Vec<u32>,
    /// The table row of each, ascending.
    pub rows: Vec<u32>,
    /// For each run of [`EMBEDDING_RUN`] of them, how many of the next ones go on with the row that begins
    /// in it and is its last.
    pub more_runs: Vec<u32>,
}

/// Groups token indices by `ids`, stably, rows ascending.
pub fn group_rows(ids: &[u32]) -> RowGroups {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    let rows: Vec<u32> = order.iter().map(|&token| ids[token as usize]).collect();
    let mut more_runs = vec![0; rows.len().div_ceil(EMBEDDING_RUN)];
    let mut first = 0;
    for group in rows.chunk_by(|row, next| row == next) {
        let last = first + group.len() - 1;
        more_runs[first / EMBEDDING_RUN] = (last / EMBEDDING_RUN - first / EMBEDDING_RUN) as u32;
        first += group.len();
    }
    RowGroups { order, rows, more_runs }
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

/// `d_table[rows[p]] += d_out[order[p]]` over all places p.
///
/// # Errors
///
/// Lengths or types that do not fit together, or H = 0.
pub fn embedding_backward(ctx: &Context, args: EmbeddingBackward<'_>) -> Result<(), KernelError> {
    const OP: &str = "embedding_backward";
    let EmbeddingBackward { d_out, order, rows, more_runs, d_table, workspace, hidden } = args;
    expect_act(OP, "d_out", d_out)?;
    for (operand, list) in [("order", order), ("rows", rows), ("more_runs", more_runs)] {
        list.expect_dtype(OP, operand, DType::U32)?;
    }
    d_table.expect_dtype(OP, "d_table", DType::F32)?;
    expect_rows(OP, d_table, hidden)?;
    expect_rows(OP, d_out, hidden)?;
    let places = order.len();
    let runs = places.div_ceil(EMBEDDING_RUN);
    rows.expect_len(OP, "rows", places)?;
    more_runs.expect_len(OP, "more_runs", runs)?;
    workspace.expect_dtype(OP, "workspace", DType::F32)?;
    workspace.expect_len(OP, "workspace", embedding_workspace_len(places, hidden))?;
    if places == 0 {
        return Ok(());
    }
    let width = lanes(ctx, d_out.dtype(), hidden);
    let columns = hidden / width;
    let items = runs * columns;
    let spread = spread(ctx, items);
    with_act!(d_out.dtype(), E => sum_runs::launch::<E>(
        ctx.client(),
        spread.count.clone(),
        spread.dim,
        width,
        d_out.arg(),
        order.arg(),
        rows.arg(),
        d_table.arg(),
        workspace.arg(),
        places,
        items,
        columns,
        spread.contiguous,
    ));
    join_runs::launch(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        rows.arg(),
        more_runs.arg(),
        workspace.arg(),
        d_table.arg(),
        places,
        items,
        columns,
        spread.contiguous,
    );
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

/// Adds up each run, a vector of columns a unit. The workspace has two rows for a run: its part of a row
/// that began before it, and of one that begins in it and goes on.
#[cube(launch)]
fn sum_runs<E: Float, N: Size>(
    d_out: &[Vector<E, N>],
    order: &[u32],
    rows: &[u32],
    d_table: &mut [Vector<f32, N>],
    partial: &mut [Vector<f32, N>],
    places: usize,
    items: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(items, contiguous);
    let mut i = items.first;
    while i < items.end {
        let run = i / columns;
        let column = i % columns;
        let first = run * EMBEDDING_RUN;
        let end = min(first + EMBEDDING_RUN, places);
        let mut row = rows[first];
        let mut began_here = true.runtime();
        if first > 0 {
            began_here = rows[first - 1] != row;
        }
        let mut sum = Vector::<f32, N>::new(0.0f32);
        let mut at = first;
        while at < end {
            // All loads are on their way before the first is added.
            let mut held = Array::<Vector<f32, N>>::new(AT_ONCE);
            let mut next_rows = Array::<u32>::new(AT_ONCE);
            #[unroll]
            for j in 0..AT_ONCE {
                let place = min(at + j, end - 1);
                held[j] = Vector::cast_from(d_out[order[place] as usize * columns + column]);
                next_rows[j] = rows[min(place + 1, places - 1)];
            }
            #[unroll]
            for j in 0..AT_ONCE {
                let place = at + j;
                if place < end {
                    sum += held[j];
                    let ends = place + 1 == places || next_rows[j] != row;
                    if (ends || place + 1 == end) && row != IGNORE {
                        if ends && began_here {
                            d_table[row as usize * columns + column] += sum;
                        } else {
                            let part = select(began_here, 1usize.runtime(), 0usize.runtime());
                            partial[(2 * run + part) * columns + column] = sum;
                        }
                    }
                    if ends {
                        row = next_rows[j];
                        began_here = true;
                        sum = Vector::new(0.0f32);
                    }
                }
            }
            at += AT_ONCE;
        }
        i += items.step;
    }
}

/// Adds the parts of each row that goes on from run to run, in their order.
#[cube(launch)]
fn join_runs<N: Size>(
    rows: &[u32],
    more_runs: &[u32],
    partial: &[Vector<f32, N>],
    d_table: &mut [Vector<f32, N>],
    places: usize,
    items: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(items, contiguous);
    let mut i = items.first;
    while i < items.end {
        let run = i / columns;
        let column = i % columns;
        let more = more_runs[run] as usize;
        if more > 0 {
            let mut sum = partial[(2 * run + 1) * columns + column];
            let mut next = run + 1;
            let end = next + more;
            while next < end {
                let mut held = Array::<Vector<f32, N>>::new(AT_ONCE);
                #[unroll]
                for j in 0..AT_ONCE {
                    held[j] = partial[2 * min(next + j, end - 1) * columns + column];
                }
                #[unroll]
                for j in 0..AT_ONCE {
                    if next + j < end {
                        sum += held[j];
                    }
                }
                next += AT_ONCE;
            }
            let row = rows[min(run * EMBEDDING_RUN + EMBEDDING_RUN, places) - 1] as usize;
            d_table[row * columns + column] += sum;
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
        assert_eq!(groups.rows, [0, 2, 2, 5, 5, 5]);
        assert_eq!(groups.order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(groups.more_runs, [0]);
        assert_eq!(group_rows(&[]), RowGroups::default());
    }

    #[test]
    fn a_row_that_goes_on_is_counted_in_the_run_where_it_begins() {
        // Row 0 ends with the first run, row 1 fills two and a half, row 2 ends what is left.
        let ids = [
            vec![0; EMBEDDING_RUN],
            vec![1; 2 * EMBEDDING_RUN + EMBEDDING_RUN / 2],
            vec![2; EMBEDDING_RUN],
        ]
        .concat();
        assert_eq!(group_rows(&ids).more_runs, [0, 2, 0, 1, 0]);
        // A row of one place less, and the next begins in the first run.
        let ids = [vec![0; EMBEDDING_RUN - 1], vec![1; EMBEDDING_RUN]].concat();
        assert_eq!(group_rows(&ids).more_runs, [1, 0]);
    }
}
