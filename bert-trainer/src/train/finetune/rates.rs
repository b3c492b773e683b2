//! How fast each tensor learns: layer-wise decay of the learning rate, and frozen layers.
//!
//! With L layers, `layer_decay` ξ and the rate η of a step, the head and the pooler learn with η,
//! layer l of 1 … L with η·ξ^(L−l), and the embeddings, as layer 0, with η·ξ^L: the top layer learns
//! as fast as the head, and each layer below ξ times as fast as the one above (Howard & Ruder 2018,
//! section 3.2; Sun et al. 2019, section 5.4.2, who found ξ = 0.95 best for BERT).

use anyhow::ensure;

use crate::model::{ParameterTable, depth_of};

/// The factors of a model's tensors on the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    /// L.
    layers: usize,
    layer_decay: f32,
    /// Whether the embeddings are frozen, and how many layers above them.
    frozen: Option<usize>,
}

impl Rates {
    /// Checks the options against the model's L layers.
    ///
    /// # Errors
    ///
    /// A decay out of (0, 1], or more frozen layers than the model has.
    pub fn new(layers: usize, layer_decay: f32, frozen: Option<usize>) -> anyhow::Result<Self> {
        ensure!(
            layer_decay > 0.0 && layer_decay <= 1.0,
            "--layer-decay {layer_decay}: expected a value in (0, 1]"
        );
        if let Some(frozen) = frozen {
            ensure!(frozen <= layers, "--freeze-layers {frozen}: the model has {layers} layers");
        }
        Ok(Self { layers, layer_decay, frozen })
    }

    /// The factor of a tensor.
    pub fn of(&self, name: &str) -> f32 {
        // Embeddings are depth 0, layers 1 … L.
        match (depth_of(name), self.frozen) {
            (Some(depth), Some(frozen)) if depth <= frozen => 0.0,
            (Some(depth), _) => self.layer_decay.powi((self.layers - depth) as i32),
            (None, _) => 1.0,
        }
    }

    /// The factor of each block of the flat buffers; `None` where all are 1.
    pub fn blocks(&self, table: &ParameterTable) -> Option<Vec<f32>> {
        let plain = self.layer_decay == 1.0 && self.frozen.is_none();
        (!plain).then(|| table.blocks(|parameter| self.of(&parameter.name)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use crate::model::Head;

    const NAMES: [&str; 6] = [
        "bert.embeddings.LayerNorm.bias",
        "bert.encoder.layer.0.output.dense.weight",
        "bert.encoder.layer.1.attention.self.key.bias",
        "bert.encoder.layer.2.output.LayerNorm.weight",
        "bert.pooler.dense.weight",
        "slot_classifier.bias",
    ];

    fn factors(layer_decay: f32, frozen: Option<usize>) -> [f32; 6] {
        let rates = Rates::new(3, layer_decay, frozen).unwrap();
        NAMES.map(|name| rates.of(name))
    }

    #[test]
    fn each_layer_learns_slower_than_the_one_above() {
        assert_eq!(factors(0.5, None), [0.125, 0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(factors(1.0, None), [1.0; 6]);
        assert_eq!(factors(0.5, Some(0)), [0.0, 0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(factors(0.5, Some(2)), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(factors(1.0, Some(3)), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn tens_of_layers_are_told_apart() {
        let rates = Rates::new(12, 0.5, None).unwrap();
        assert_eq!(rates.of("bert.encoder.layer.10.output.dense.bias"), 0.5);
        assert_eq!(rates.of("bert.encoder.layer.1.output.dense.bias"), 0.5f32.powi(10));
    }

    #[test]
    fn blocks_are_those_of_the_tensors() {
        let config = Config::named("bert-tiny").unwrap();
        let table = ParameterTable::new(&config, &Head::Classify { labels: 3 });
        let rates = Rates::new(2, 0.5, Some(0)).unwrap();
        let blocks = rates.blocks(&table).unwrap();
        for parameter in table.parameters() {
            for place in parameter.range() {
                let found = blocks[place / bert_kernels::ops::BLOCK];
                assert_eq!(found, rates.of(&parameter.name), "{}", parameter.name);
            }
        }
        assert_eq!(Rates::new(2, 1.0, None).unwrap().blocks(&table), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for decay in [0.0, -0.5, 1.5, f32::NAN] {
            assert!(Rates::new(2, decay, None).is_err(), "{decay}");
        }
        assert!(Rates::new(2, 1.0, Some(3)).unwrap_err().to_string().contains("has 2 layers"));
    }
}
