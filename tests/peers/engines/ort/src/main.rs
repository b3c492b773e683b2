//! `worker-ort MODEL.onnx`: ONNX Runtime through the crate `ort`, one thread.

use anyhow::Result;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Tensor, TensorElementType};

fn main() -> Result<()> {
    let path = protocol::argument(1, "an ONNX file")?;
    let environment = ort::init().build().map_err(anyhow_of)?;
    let mut session = Session::builder(&environment)
        .map_err(anyhow_of)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(anyhow_of)?
        .with_intra_threads(1)
        .map_err(anyhow_of)?
        .commit_from_file(&path)
        .map_err(anyhow_of)?;
    // ONNX Runtime's own operators take i32.
    let inputs: Vec<(String, bool)> = session
        .inputs()
        .iter()
        .map(|input| {
            let ty = input.dtype().tensor_type();
            (input.name().into(), ty == Some(TensorElementType::Int32))
        })
        .collect();
    protocol::serve("int8", |ids, rows| {
        let shape = [1, ids.len()];
        let mut values = Vec::with_capacity(inputs.len());
        for (name, int32) in &inputs {
            let of = |n: usize| match name.as_str() {
                "input_ids" => i64::from(ids[n]),
                _ => 0,
            };
            let all = (0..ids.len()).map(of);
            let value = match *int32 {
                true => Tensor::from_array((shape, all.map(|v| v as i32).collect::<Vec<_>>()))
                    .map_err(anyhow_of)?
                    .into_dyn(),
                false => Tensor::from_array((shape, all.collect::<Vec<_>>()))
                    .map_err(anyhow_of)?
                    .into_dyn(),
            };
            values.push((name.as_str(), value));
        }
        let outputs = session.run(values).map_err(anyhow_of)?;
        let (_, hidden) = outputs[0].try_extract_tensor::<f32>().map_err(anyhow_of)?;
        rows.extend_from_slice(hidden);
        Ok(())
    })
}

/// Errors of `ort` carry what may not leave their thread; their text may.
fn anyhow_of<T>(error: ort::Error<T>) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
