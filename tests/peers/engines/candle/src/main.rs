//! `worker-candle DIRECTORY`: candle on the f32 checkpoint.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

fn main() -> Result<()> {
    let folder = protocol::argument(1, "a checkpoint directory")?;
    let text = std::fs::read_to_string(format!("{folder}/config.json"))
        .with_context(|| format!("cannot read {folder}/config.json"))?;
    let config: Config = serde_json::from_str(&text)?;
    let file = format!("{folder}/model.safetensors");
    // SAFETY: the benchmark does not write to a model while a worker has it open.
    #[allow(unsafe_code)]
    let weights =
        unsafe { VarBuilder::from_mmaped_safetensors(&[file], DType::F32, &Device::Cpu)? };
    let model = BertModel::load(weights, &config)?;
    protocol::serve("f32", |ids, rows| {
        let ids = Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu)?;
        // No mask: one sentence has no padding, and candle is faster without.
        let hidden = model.forward(&ids, &ids.zeros_like()?, None)?;
        *rows = hidden.flatten_all()?.to_vec1()?;
        Ok(())
    })
}
