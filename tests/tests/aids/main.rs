//! Learning aids: distillation and int8-aware training against PyTorch and against what they are for,
//! frozen layers and layer-wise rates.

#![allow(clippy::unwrap_used)]

mod device;
mod frozen;
mod pytorch;
mod runs;
mod slope;

use bert_kernels::Context;
use bert_trainer::config::Config;
use bert_trainer::data::PackedBatch;
use bert_trainer::model::Term;

/// A small model of any task, with weights large enough that all of it matters.
fn small_config() -> Config {
    let mut config = Config::named("bert-tiny").unwrap();
    config.vocab_size = 50;
    (config.hidden_size, config.num_attention_heads) = (16, 2);
    (config.intermediate_size, config.max_position_embeddings) = (24, 24);
    config.initializer_range = 0.2;
    config
}

/// Numbers in −1..1 that look random.
fn scattered(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Packed texts of these lengths, the second halves in segment 1.
fn sequences(vocabulary: u32, lengths: &[u32]) -> PackedBatch {
    let mut batch = PackedBatch::new();
    let mut id = 1;
    for &length in lengths {
        let next = |_| {
            id = (id * 37 + 11) % vocabulary;
            id
        };
        let ids: Vec<u32> = (0..length).map(next).collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at * 2 > length)).collect();
        batch.push(&ids, &segments);
    }
    batch
}

fn mean(ctx: &Context, term: &Option<Term>) -> f64 {
    term.as_ref().map_or(0.0, |term| term.read(ctx).unwrap().mean_loss())
}
