//! `worker-rten MODEL.onnx`: rten, one thread.

use std::sync::Arc;

use anyhow::{Context, Result};
use rten::{ModelOptions, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

fn main() -> Result<()> {
    let path = protocol::argument(1, "an ONNX file")?;
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(&path)?;
    let node = |name| model.node_id(name).with_context(|| format!("{path}: no input {name}"));
    let inputs = [node("input_ids")?, node("token_type_ids")?];
    let output = *model.output_ids().first().with_context(|| format!("{path}: no output"))?;
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    protocol::serve("int8", |ids, rows| {
        let tensor = |of: fn(u32) -> i32| {
            NdTensor::from_data([1, ids.len()], ids.iter().map(|&id| of(id)).collect::<Vec<_>>())
        };
        let values = [tensor(|id| id as i32), tensor(|_| 0)];
        let given: Vec<(NodeId, ValueOrView)> =
            inputs.iter().zip(&values).map(|(&id, value)| (id, value.view().into())).collect();
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let outputs = model.run(given, &[output], Some(options))?;
        let hidden = outputs.into_iter().next().context("no output")?;
        let hidden: NdTensor<f32, 3> = hidden.try_into()?;
        rows.extend(hidden.iter());
        Ok(())
    })
}
