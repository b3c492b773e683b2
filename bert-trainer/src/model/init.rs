//! Initial values: truncated normal of standard deviation 0.02 cut at two deviations for weights,
//! zero for biases, one for layer norms' gain (google-research/bert, `create_initializer`).

use super::parameters::{Parameter, ParameterTable};
use crate::config::Config;
use crate::data::rng::{self, Stream};

/// Values for a flat buffer: a pure function of (table, seed), so a tensor's values do not depend on
/// which other tensors the model has.
pub fn initial_values(table: &ParameterTable, config: &Config, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; table.len()];
    for parameter in table.parameters() {
        fill(&mut values[parameter.range()], parameter, config, seed);
    }
    values
}

/// Initial values of one tensor.
pub fn fill(values: &mut [f32], parameter: &Parameter, config: &Config, seed: u64) {
    if parameter.decayed {
        let name = name_hash(&parameter.name);
        for (index, value) in values.iter_mut().enumerate() {
            *value = truncated_normal(seed, name, index as u64) * config.initializer_range as f32;
        }
        if parameter.name.ends_with("word_embeddings.weight") {
            // `torch.nn.Embedding(padding_idx)` starts the padding row at zero; so does ours.
            let hidden = parameter.shape[1];
            let row = config.pad_token_id as usize;
            values[row * hidden..(row + 1) * hidden].fill(0.0);
        }
    } else if parameter.name.ends_with("LayerNorm.weight") {
        values.fill(1.0);
    } else {
        values.fill(0.0);
    }
}

/// A standard normal within two deviations, by Box-Muller and rejection: each attempt is another
/// counter of the same element.
fn truncated_normal(seed: u64, tensor: u64, index: u64) -> f32 {
    let mut draws = rng::Draws::new(seed, Stream::Init, tensor, index);
    loop {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
        let value = radius * (std::f64::consts::TAU * draws.unit()).cos();
        if value.abs() <= 2.0 {
            return value as f32;
        }
    }
}

/// A stable name for a tensor in the random counter.
fn name_hash(name: &str) -> u64 {
    // FNV-1a, 64 bits.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_are_cut_at_two_and_have_the_right_spread() {
        let values: Vec<f64> =
            (0..20_000).map(|index| f64::from(truncated_normal(7, 1, index))).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64;
        assert!(values.iter().all(|value| value.abs() <= 2.0));
        assert!(mean.abs() < 0.02, "mean {mean}");
        // The variance of a standard normal cut at two deviations is 0.774.
        assert!((variance - 0.774).abs() < 0.02, "variance {variance}");
    }
}
