//! Quantization-aware training: what a device rounds to int8 is rounded here too (Jacob et al. 2018).
//!
//! As `bert-core` does it, symmetric and without calibration: weights by output channel and embedding
//! tables by row; the input of every linear layer by token; queries, keys and values by token and
//! head; the residual stream between two layers by groups of a token's values. Sums, layer norms,
//! softmax and biases stay as they are.
//!
//! The gradient of rounding is that of the identity (the straight-through estimator of Bengio et al.
//! 2013): backward passes read the rounded values and give their gradients to the unrounded ones.

use bert_kernels::{Buffer, Context, KernelError, ops};

use super::parameters::{PROJECTION, ParameterTable};

/// Neighbouring matrices of one width in the flat buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matrices {
    range: std::ops::Range<usize>,
    width: usize,
    /// Whether a device has them; what only training needs keeps its values.
    rounds: bool,
}

/// All matrices and tables of a model. Neighbours without a gap are one: rows are rounded one by one,
/// and query, key and value of an odd size do not begin where a slice may.
pub(super) fn matrices(table: &ParameterTable) -> Vec<Matrices> {
    let mut found: Vec<Matrices> = Vec::new();
    for parameter in table.parameters() {
        let [_, width] = parameter.shape[..] else { continue };
        let (range, rounds) = (parameter.range(), rounds(&parameter.name));
        match found.last_mut() {
            Some(last)
                if last.range.end == range.start
                    && (last.width, last.rounds) == (width, rounds) =>
            {
                last.range.end = range.end;
            }
            _ => found.push(Matrices { range, width, rounds }),
        }
    }
    found
}

/// Whether a device has the tensor or the layer of this name, and so rounds it and its input.
pub(super) fn rounds(name: &str) -> bool {
    !name.starts_with(PROJECTION)
}

/// Writes the matrices of `from` into `into`, rounded.
pub(super) fn refresh(
    ctx: &Context,
    matrices: &[Matrices],
    from: &Buffer,
    into: &Buffer,
) -> Result<(), KernelError> {
    for Matrices { range, width, rounds } in matrices {
        let (x, out) = (from.slice(range.clone()), into.slice(range.clone()));
        if *rounds {
            let (rows, width) = (x.len() / width, *width);
            ops::fake_quantize_rows(
                ctx,
                ops::FakeQuantizeRows { x: &x, out: &out, rows, width, group: width },
            )?;
        } else {
            ops::cast(ctx, &x, &out)?;
        }
    }
    Ok(())
}

/// `x: [rows, width]`, rounded by row in memory of its own.
pub(super) fn rounded(ctx: &Context, x: &Buffer, width: usize) -> Result<Buffer, KernelError> {
    let out = ctx.empty(x.dtype(), x.len());
    let rows = x.len() / width;
    ops::fake_quantize_rows(
        ctx,
        ops::FakeQuantizeRows { x, out: &out, rows, width, group: width },
    )?;
    Ok(out)
}

/// Rounds `x: [rows, width]` by row where it lies.
pub(super) fn round(ctx: &Context, x: &Buffer, width: usize) -> Result<(), KernelError> {
    let rows = x.len() / width;
    ops::fake_quantize_rows(ctx, ops::FakeQuantizeRows { x, out: x, rows, width, group: width })
}

/// Rounds the residual stream `x: [rows, width]` by groups where it lies.
pub(super) fn round_stream(ctx: &Context, x: &Buffer, width: usize) -> Result<(), KernelError> {
    let (rows, group) = (x.len() / width, bert_core::ops::GROUP);
    ops::fake_quantize_rows(ctx, ops::FakeQuantizeRows { x, out: x, rows, width, group })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::Head;

    /// Every element of every matrix is in exactly one range, of its own width, that begins where a
    /// slice may.
    #[test]
    fn matrices_are_whole_and_apart() {
        let mut config = Config::named("bert-tiny").unwrap();
        (config.hidden_size, config.num_attention_heads, config.intermediate_size) = (12, 3, 20);
        let table = ParameterTable::with_projection(&config, &Head::Tag { labels: 5 }, Some(7));
        let found = matrices(&table);
        for parameter in table.parameters() {
            let inside = |one: &&Matrices| {
                one.range.start <= parameter.offset && parameter.range().end <= one.range.end
            };
            let holders: Vec<&Matrices> = found.iter().filter(inside).collect();
            match parameter.shape[..] {
                [_, width] => {
                    assert_eq!(holders.len(), 1, "{}", parameter.name);
                    assert_eq!(holders[0].width, width);
                    assert_eq!((parameter.offset - holders[0].range.start) % width, 0);
                    assert_eq!(holders[0].rounds, !parameter.name.starts_with("distillation"));
                }
                _ => assert!(holders.is_empty(), "{}", parameter.name),
            }
        }
        let start = |one: &Matrices| one.range.start * 4 % bert_kernels::SLICE_ALIGN_BYTES;
        assert!(found.iter().all(|one| start(one) == 0));
        let elements: usize = found.iter().map(|one| one.range.len()).sum();
        let expected = table.parameters().iter().filter(|one| one.shape.len() == 2);
        assert_eq!(elements, expected.map(|one| one.len()).sum::<usize>());
    }
}
