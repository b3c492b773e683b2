//! `.safetensors` files: written as a stream without a copy of the weights, read with every
//! number widened to f32.

use std::collections::HashMap;
use std::io::{self, Write};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian and are written here by casting f32 slices");

/// Writes tensors in the order given, after a header that says `metadata`.
///
/// # Errors
/// `out` fails, or two tensors share a name, or a length does not match its shape.
pub fn write_tensors<'a>(
    out: &mut dyn Write,
    metadata: Option<HashMap<String, String>>,
    tensors: &[(&'a str, &'a [usize], &'a [f32])],
) -> io::Result<()> {
    let shapes: Vec<_> = tensors.iter().map(|(name, shape, _)| (*name, *shape)).collect();
    let whole = |(_, shape, values): &(_, &[usize], &[f32])| {
        shape.iter().product::<usize>() == values.len()
    };
    if let Some((name, shape, values)) = tensors.iter().find(|tensor| !whole(tensor)) {
        let (values, shape) = (values.len(), shape.to_vec());
        return Err(io::Error::other(format!("tensor {name}: {values} values of shape {shape:?}")));
    }
    write_header(out, metadata, &shapes)?;
    for (.., values) in tensors {
        out.write_all(bytemuck::cast_slice(values))?;
    }
    Ok(())
}

/// Writes what stands before the values of f32 tensors of these names and shapes.
///
/// # Errors
/// `out` fails, or two tensors share a name.
pub fn write_header(
    out: &mut dyn Write,
    metadata: Option<HashMap<String, String>>,
    tensors: &[(&str, &[usize])],
) -> io::Result<()> {
    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        infos.push((
            (*name).to_owned(),
            TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (start, end) },
        ));
    }
    let header = Metadata::new(metadata, infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    // The format asks for data aligned to eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)
}

/// The values of a tensor as f32.
///
/// # Errors
/// A sentence, if the type is not f32, f16 or bf16, or a value is not finite.
pub fn widened(view: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let data = view.data();
    let halves = || data.as_chunks::<2>().0.iter();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => {
            return Err(format!("expected values of type F32, F16 or BF16, found {other:?}"));
        }
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(format!("expected finite values, found {} at index {at}", values[at])),
        None => Ok(values),
    }
}
