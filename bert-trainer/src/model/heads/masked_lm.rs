//! Masked language model: transform, layer norm, and a decoder tied to the word embeddings.
//!
//! Logits exist only for masked positions, and only a chunk of the vocabulary at a time.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::{Term, gather, scatter_add};
use crate::config::Config;
use crate::model::MaskedTargets;
use crate::model::flat::FlatBuffers;
use crate::model::modules::{Linear, Norm, Normed};

/// The MLM head of `BertForPreTraining`.
pub(in crate::model) struct MaskedLm {
    transform: Linear,
    norm: Norm,
    bias: Buffer,
    d_bias: Buffer,
    activation: ops::Activation,
    hidden: usize,
    vocabulary: usize,
}

pub(in crate::model) struct MaskedActivations {
    gathered: Buffer,
    pre: Buffer,
    normed: Normed,
    lse: Buffer,
    pub term: Term,
}

impl MaskedLm {
    pub fn new(flat: &FlatBuffers, config: &Config) -> Self {
        let hidden = config.hidden_size;
        let transform = "cls.predictions.transform";
        let bias = ["cls.predictions.bias".to_string()];
        let epsilon = config.layer_norm_epsilon();
        Self {
            transform: Linear::new(flat, &[format!("{transform}.dense")], hidden, hidden),
            norm: Norm::new(flat, &format!("{transform}.LayerNorm"), epsilon, hidden),
            bias: flat.master(&bias),
            d_bias: flat.gradient(&bias),
            activation: crate::model::activation_of(config),
            hidden,
            vocabulary: config.vocab_size,
        }
    }

    /// `hidden: [T, H]`, `word: [V, H]`.
    pub fn forward(
        &self,
        ctx: &Context,
        hidden: &Buffer,
        word: &Buffer,
        masked: &MaskedTargets,
    ) -> Result<MaskedActivations, KernelError> {
        let rows = masked.index.len();
        let gathered = gather(ctx, hidden, &masked.index, self.hidden)?;
        let (pre, activated) =
            self.transform.forward_activated(ctx, &gathered, rows, self.activation)?;
        let normed = self.norm.forward(ctx, &activated, None, None)?;
        let correct = ctx.empty(DType::U32, rows);
        let loss = ctx.empty(DType::F32, rows);
        let lse = ctx.empty(DType::F32, rows);
        ops::linear_cross_entropy_forward(
            ctx,
            ops::LinearCrossEntropyForward {
                hidden: &normed.out,
                weight: word,
                bias: &self.bias,
                targets: &masked.target,
                loss: &loss,
                correct: &correct,
                lse: &lse,
                workspace: &self.workspace(ctx, rows),
                rows,
                vocabulary: self.vocabulary,
                hidden_width: self.hidden,
            },
        )?;
        let term = Term { loss, correct: Some(correct), rows: masked.rows };
        Ok(MaskedActivations { gathered, pre, normed, lse, term })
    }

    /// Logits of all masked positions at once, `[M, V]`, for inspection and prediction.
    pub fn logits(
        &self,
        ctx: &Context,
        kept: &MaskedActivations,
        word: &Buffer,
    ) -> Result<Buffer, KernelError> {
        let rows = kept.lse.len();
        let logits = ctx.empty(DType::F32, rows * self.vocabulary);
        ops::gemm(
            ctx,
            ops::Gemm {
                a: &kept.normed.out,
                b: word,
                c: &logits,
                m: rows,
                n: self.vocabulary,
                k: self.hidden,
                transpose: ops::Transpose::NT,
                accumulate: false,
                epilogue: ops::Epilogue::Bias(&self.bias),
            },
        )?;
        Ok(logits)
    }

    /// Adds the gradient of `scale` times the mean loss, times the pass's share of its step, to `d_hidden: [T, H]` and the parameters.
    pub fn backward(
        &self,
        ctx: &Context,
        kept: &MaskedActivations,
        (word, d_word): (&Buffer, &Buffer),
        masked: &MaskedTargets,
        scale: f32,
        d_hidden: &Buffer,
    ) -> Result<(), KernelError> {
        let rows = masked.index.len();
        let d_normed = ctx.empty(kept.normed.out.dtype(), kept.normed.out.len());
        ops::linear_cross_entropy_backward(
            ctx,
            ops::LinearCrossEntropyBackward {
                hidden: &kept.normed.out,
                weight: word,
                bias: &self.bias,
                targets: &masked.target,
                lse: &kept.lse,
                scale,
                factor: &masked.mean,
                d_hidden: &d_normed,
                d_weight: d_word,
                d_bias: &self.d_bias,
                workspace: &self.workspace(ctx, rows),
                rows,
                vocabulary: self.vocabulary,
                hidden_width: self.hidden,
            },
        )?;
        let d_pre = self.norm.backward(ctx, &kept.normed, &d_normed, None)?.d_x;
        ops::activation_backward(
            ctx,
            ops::ActivationBackward {
                d_out: &d_pre,
                pre: &kept.pre,
                d_pre: &d_pre,
                activation: self.activation,
            },
        )?;
        let d_gathered = self.transform.backward(ctx, &kept.gathered, &d_pre, rows)?;
        scatter_add(ctx, &d_gathered, &masked.index, d_hidden, self.hidden)
    }

    fn workspace(&self, ctx: &Context, rows: usize) -> Buffer {
        let len = ops::linear_cross_entropy_workspace_len(ctx, rows, self.vocabulary, self.hidden);
        ctx.empty(DType::F32, len)
    }
}
