//! Linear layers on their way into a section of the model file, see [`super::Matrix`].

use super::weights::LinearWeights;
use super::write::{check_shape, push_floats, push_scales, quantize};
use super::{ALIGNMENT, BuildError, Encoding, Layout, MAX_PARAMETER};

/// The section of linear layers of the same input, one below the other; each has `rows` outputs.
pub(super) fn matrices(
    encoding: Encoding,
    parts: &[(String, LinearWeights<'_>)],
    [rows, columns]: [usize; 2],
) -> Result<Vec<u8>, BuildError> {
    for (name, part) in parts {
        check_shape(&format!("{name} weight"), rows * columns, part.weight.len())?;
        check_shape(&format!("{name} bias"), rows, part.bias.len())?;
    }
    match Layout::of(encoding) {
        Some(layout) => int8(layout, parts, [rows, columns]),
        None => half(parts),
    }
}

fn int8(
    layout: Layout,
    parts: &[(String, LinearWeights<'_>)],
    [rows, columns]: [usize; 2],
) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    for (name, part) in parts {
        push_scales(&mut bytes, &format!("{name} weight"), part.weight, columns)?;
    }
    push_biases(&mut bytes, parts)?;
    for (_, part) in parts {
        let start = bytes.len();
        bytes.resize(start + layout.bytes(rows, columns) as usize, 0);
        let weights = &mut bytes[start..];
        for (n, row) in part.weight.chunks_exact(columns).enumerate() {
            for (k, weight) in quantize(row).1.enumerate() {
                weights[layout.place(columns, n, k)] = weight;
            }
        }
    }
    Ok(bytes)
}

fn half(parts: &[(String, LinearWeights<'_>)]) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    push_biases(&mut bytes, parts)?;
    for (name, part) in parts {
        for weight in part.weight {
            // What rounds to an infinity is beyond the range of f16.
            let weight = half::f16::from_f32(*weight);
            if !weight.is_finite() {
                return Err(BuildError::Value { tensor: format!("{name} weight") });
            }
            bytes.extend(weight.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// Appends all biases, and zeros up to where weights begin.
fn push_biases(
    bytes: &mut Vec<u8>,
    parts: &[(String, LinearWeights<'_>)],
) -> Result<(), BuildError> {
    for (name, part) in parts {
        let biases = part.bias.iter().copied();
        push_floats(bytes, &format!("{name} bias"), biases, MAX_PARAMETER)?;
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    Ok(())
}
