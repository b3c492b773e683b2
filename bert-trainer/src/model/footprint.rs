//! How much device memory a step of pre-training needs, before anything of it is allocated.
//!
//! It is a sum over the buffers that live at the same moment: the state, which is always there; what
//! the forward pass keeps; and the larger of two peaks of what comes and goes, the chunk of logits at
//! the heads and the work within a layer. Letters are those of the whole project: T tokens, B sequences, M masked positions, H, F, A, L, V.

use bert_kernels::ops::{self, Transpose};
use bert_kernels::{Context, DType};
use serde::Serialize;

use super::{Head, ParameterTable, Precision};
use crate::config::Config;

/// What a pass is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassSize {
    /// T, tokens of all sequences.
    pub tokens: usize,
    /// B, sequences.
    pub sequences: usize,
    /// M, positions to predict.
    pub masked: usize,
}

/// Bytes of a step of pre-training, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// The parameters, f32.
    pub parameters: u64,
    /// Their gradients, f32.
    pub gradients: u64,
    /// Both moments of the optimizer, f32, and which blocks decay.
    pub optimizer: u64,
    /// The copy of the parameters that products read, in 16 bits; nothing in f32.
    pub low_precision: u64,
    /// Token ids, their groups, targets.
    pub batch: u64,
    /// What the embeddings keep.
    pub embeddings: u64,
    /// What the layers keep: all of it, or with recomputation their inputs.
    pub layers: u64,
    /// What the heads keep.
    pub heads: u64,
    /// At the heads: a chunk of logits and its gradient.
    pub logits_chunk: u64,
    /// Within a layer: what comes and goes in its backward or forward pass, and with recomputation what
    /// it keeps meanwhile.
    pub within_layer: u64,
}

impl Footprint {
    /// The footprint of a pass of this size.
    pub fn of_pretraining(
        ctx: &Context,
        config: &Config,
        precision: Precision,
        recompute: bool,
        pass: PassSize,
    ) -> Self {
        let parts = Parts { ctx, config, dtype: precision.dtype(), pass };
        let table = ParameterTable::new(config, &Head::Pretraining);
        let state = bytes(table.len(), DType::F32);
        let norm = ops::global_norm_workspace_len(ctx, table.len()) + 1;
        let low = match precision {
            Precision::F32 => 0,
            Precision::Bf16 | Precision::F16 => bytes(table.len(), precision.dtype()),
        };
        let layers = config.num_hidden_layers as u64;
        let (input, kept) = (parts.hidden(1), parts.layer());
        Self {
            parameters: state,
            gradients: state,
            optimizer: 2 * state + bytes(table.len() / ops::BLOCK + norm, DType::F32),
            low_precision: low,
            batch: parts.batch(),
            embeddings: parts.embeddings(),
            layers: layers * if recompute { input } else { kept },
            heads: parts.heads(),
            logits_chunk: parts.logits_chunk(),
            within_layer: parts.within_layer(recompute) + if recompute { kept } else { 0 },
        }
    }

    /// Bytes at the highest point.
    pub fn total(&self) -> u64 {
        self.state() + self.activations() + self.logits_chunk.max(self.within_layer)
    }

    /// Bytes that do not depend on the batch.
    pub fn state(&self) -> u64 {
        self.parameters + self.gradients + self.optimizer + self.low_precision
    }

    /// Bytes that the forward pass keeps, with the batch itself.
    pub fn activations(&self) -> u64 {
        self.batch + self.embeddings + self.layers + self.heads
    }
}

fn bytes(elements: usize, dtype: DType) -> u64 {
    (elements * dtype.size_bytes()) as u64
}

/// The parts in bytes.
struct Parts<'a> {
    ctx: &'a Context,
    config: &'a Config,
    /// Of activations.
    dtype: DType,
    pass: PassSize,
}

impl Parts<'_> {
    /// `count` times `[T, H]`.
    fn hidden(&self, count: usize) -> u64 {
        bytes(count * self.pass.tokens * self.config.hidden_size, self.dtype)
    }

    /// `count` times `[T]` of f32 or u32.
    fn column(&self, count: usize) -> u64 {
        bytes(count * self.pass.tokens, DType::F32)
    }

    /// `count` times `[M, H]`.
    fn masked(&self, count: usize) -> u64 {
        bytes(count * self.pass.masked * self.config.hidden_size, self.dtype)
    }

    /// `[T, F]`.
    fn wide(&self) -> u64 {
        bytes(self.pass.tokens * self.config.intermediate_size, self.dtype)
    }

    fn drops(&self) -> bool {
        self.config.hidden_dropout_prob > 0.0
    }

    /// Ids, positions, segments and sequence of each token; for each of the three tables the order of
    /// its tokens, their rows, and a number for each run of them; ends and first tokens of the sequences;
    /// masked positions, their targets and the labels of sentences.
    fn batch(&self) -> u64 {
        let PassSize { tokens, sequences, masked } = self.pass;
        let runs = 3 * tokens.div_ceil(ops::EMBEDDING_RUN);
        self.column(4 + 3 * 2)
            + bytes(runs + (2 * sequences + 1) + 2 * masked + sequences, DType::U32)
    }

    /// The sum before the layer norm and what comes out of it, its statistics, and the result with
    /// dropout if there is some.
    fn embeddings(&self) -> u64 {
        self.hidden(if self.drops() { 3 } else { 2 }) + self.column(2)
    }

    /// What a layer keeps beside its input, its result included.
    ///
    /// Query, key and value; the context and the softmax's sums; both layer norms with their sums and
    /// statistics; the wide rows before and after the activation.
    fn layer(&self) -> u64 {
        let heads = self.config.num_attention_heads;
        self.hidden(3 + 1 + 2 + 2) + 2 * self.wide() + self.column(heads + 4)
    }

    /// The MLM head's four rows a masked position with statistics, loss, hit and log-sum; the pooler's
    /// three rows a sequence; logits, loss, hit and log-sum of the next sentence.
    fn heads(&self) -> u64 {
        let PassSize { sequences, masked, .. } = self.pass;
        let pooled = bytes(3 * sequences * self.config.hidden_size, self.dtype);
        self.masked(4) + bytes(5 * masked + 5 * sequences, DType::F32) + pooled
    }

    /// The gradient of the hidden states, one more row a masked position, the chunk with its gradient,
    /// and what its products pack.
    fn logits_chunk(&self) -> u64 {
        let (vocabulary, hidden) = (self.config.vocab_size, self.config.hidden_size);
        let masked = self.pass.masked;
        let chunk = ops::linear_cross_entropy_workspace_len(self.ctx, masked, vocabulary, hidden);
        // A chunk is at most as wide as its logits are many.
        let words = (chunk / masked.max(1)).min(vocabulary);
        let scratch = self.scratch(&[
            (Transpose::NT, masked, words, hidden),
            (Transpose::NN, masked, hidden, words),
            (Transpose::TN, words, hidden, masked),
        ]);
        self.hidden(1) + self.masked(1) + bytes(chunk, DType::F32) + scratch
    }

    /// What comes and goes within a layer, at its highest point.
    fn within_layer(&self, recompute: bool) -> u64 {
        let again = if recompute { 2 } else { 0 };
        self.layer_forward(again).max(self.layer_backward())
    }

    /// The rows before either layer norm, and `more` of the backward pass that waits.
    fn layer_forward(&self, more: usize) -> u64 {
        let (hidden, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let tokens = self.pass.tokens;
        self.hidden(2 + more)
            + self.scratch(&[
                (Transpose::NT, tokens, 3 * hidden, hidden),
                (Transpose::NT, tokens, wide, hidden),
                (Transpose::NT, tokens, hidden, wide),
            ])
    }

    /// Gradients in the order in which they come: of the result, on two branches; through the second
    /// layer norm, again two where something is dropped; of the wide rows; of the attended rows;
    /// through the first layer norm; of the context; of query, key and value; of the input. Until the
    /// end none of them goes; which linear layer packs most depends on the sizes.
    fn layer_backward(&self) -> u64 {
        let norm = if self.drops() { 2 } else { 1 };
        let (hidden, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let tokens = self.pass.tokens;
        let linear = |inputs, outputs| {
            let sums = ops::bias_workspace_len(self.ctx, tokens, outputs);
            let packed = self.scratch(&[
                (Transpose::TN, outputs, inputs, tokens),
                (Transpose::NN, tokens, inputs, outputs),
            ]);
            bytes(sums, DType::F32).max(packed)
        };
        let delta = self.column(self.config.num_attention_heads);
        let output = self.hidden(2 + norm) + self.wide() + linear(wide, hidden);
        let intermediate = self.hidden(2 + norm + 1) + self.wide() + linear(hidden, wide);
        let projections = self.hidden(2 + norm + 1 + norm + 1 + 3 + 1) + self.wide() + delta;
        let projections = projections + linear(hidden, 3 * hidden);
        let sums = ops::layer_norm_workspace_len(self.ctx, tokens, hidden);
        let norms = self.hidden(2 + norm + 1 + norm) + self.wide() + bytes(sums, DType::F32);
        output.max(intermediate).max(projections).max(norms)
    }

    /// What the largest of these products of m, n and k packs.
    fn scratch(&self, products: &[(Transpose, usize, usize, usize)]) -> u64 {
        let len = |&(how, m, n, k): &_| ops::gemm_scratch_len(self.ctx, self.dtype, how, m, n, k);
        bytes(products.iter().map(len).max().unwrap_or(0), DType::F32)
    }
}
