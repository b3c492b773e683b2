//! What int8 adds to the hidden states: those of a checkpoint in f32 beside those of `bert-core` at
//! the same layer.

use bert_core::format::Model as DeviceModel;
use bert_core::{ScratchVec, Session};

use crate::data::tasks::TaskData;
use crate::model::{DeviceBatch, Model, Targets};

/// Sequences of a batch: the hidden states of all layers are at hand at once.
const BATCH: usize = 8;

/// Signal and noise of the hidden states after a layer, summed over tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LayerNoise {
    /// Σ f32².
    pub signal: f64,
    /// Σ (f32 − int8)².
    pub noise: f64,
}

impl LayerNoise {
    /// 10 · log₁₀(signal / noise); `None` where there is no signal or no noise, and so no ratio.
    pub fn decibels(&self) -> Option<f64> {
        let decibels = 10.0 * (self.signal / self.noise).log10();
        decibels.is_finite().then_some(decibels)
    }

    fn add(&mut self, exact: &[f32], found: &[f32]) {
        for (exact, found) in exact.iter().zip(found) {
            self.signal += f64::from(*exact).powi(2);
            self.noise += (f64::from(*exact) - f64::from(*found)).powi(2);
        }
    }
}

/// Signal and noise after the embeddings and after each of the L layers, for each of some model files
/// that were exported from the checkpoint of `model`.
///
/// # Errors
///
/// What the device reports; a file that is not of this checkpoint.
pub fn layer_noise(
    model: &Model,
    sequences: &TaskData,
    files: &[&[u8]],
) -> anyhow::Result<Vec<Vec<LayerNoise>>> {
    let exported =
        files.iter().map(|file| DeviceModel::parse(file)).collect::<Result<Vec<_>, _>>()?;
    let mut scratch: Vec<ScratchVec> = exported.iter().map(ScratchVec::of).collect();
    let mut sessions = exported
        .iter()
        .zip(&mut scratch)
        .map(|(model, scratch)| Session::new(model, scratch))
        .collect::<Result<Vec<_>, _>>()?;
    let (ctx, hidden) = (model.context(), model.config().hidden_size);
    let depth = model.config().num_hidden_layers + 1;
    let mut noise = vec![vec![LayerNoise::default(); depth]; files.len()];
    for indices in sequences.in_order(BATCH) {
        let tokens = sequences.batch(&indices).tokens;
        let (_, logits) =
            model.evaluate(&DeviceBatch::upload(ctx, &tokens), &Targets::default())?;
        let exact = logits.hidden.iter().map(|rows| ctx.read_f32(rows));
        let exact = exact.collect::<Result<Vec<_>, _>>()?;
        for ends in tokens.cu_seqlens.windows(2) {
            let range = ends[0] as usize..ends[1] as usize;
            let (ids, segments) = (&tokens.ids[range.clone()], &tokens.segments[range.clone()]);
            for (session, noise) in sessions.iter_mut().zip(&mut noise) {
                session.run_layers(ids, segments, |layer, token, row| {
                    let (layer, at) = (usize::from(layer), (range.start + token) * hidden);
                    noise[layer].add(&exact[layer][at..at + hidden], row);
                })?;
            }
        }
    }
    Ok(noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_ten_for_each_power_of_ten() {
        let mut noise = LayerNoise::default();
        assert_eq!(noise.decibels(), None);
        noise.add(&[3.0, 4.0], &[3.0, 4.5]);
        assert_eq!((noise.signal, noise.noise, noise.decibels()), (25.0, 0.25, Some(20.0)));
        assert_eq!(LayerNoise { signal: 1.0, noise: 0.0 }.decibels(), None);
        assert_eq!(LayerNoise { signal: 0.0, noise: 1.0 }.decibels(), None);
    }
}
