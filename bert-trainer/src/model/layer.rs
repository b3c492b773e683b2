//! One encoder layer (Devlin et al. 2018 after Vaswani et al. 2017): self-attention and a
//! feed-forward net, each followed by residual, dropout and layer norm (post-layer-norm).

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::batch::DeviceBatch;
use super::dropout::{DropoutPlan, Place};
use super::flat::FlatBuffers;
use super::modules::{Linear, Norm, Normed};
use super::parameters::PROJECTIONS;
use super::rounding::{round, round_stream};
use crate::config::Config;

/// One encoder layer: H in, H out.
pub(super) struct Layer {
    index: usize,
    /// Where its tensors begin in the flat buffers; what lies behind is of layers above and of heads.
    pub start: usize,
    heads: usize,
    head_width: usize,
    activation: ops::Activation,
    qkv: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
    /// Whether queries, keys and values are rounded, as on a device.
    rounds: bool,
}

/// What a layer keeps for its backward pass.
pub(super) struct LayerActivations {
    input: Buffer,
    qkv: Buffer,
    context: Buffer,
    lse: Buffer,
    attended: Normed,
    pre: Buffer,
    wide: Buffer,
    /// The layer's result, `[T, H]`, in `output.out`.
    pub output: Normed,
}

impl Layer {
    pub fn new(flat: &FlatBuffers, config: &Config, index: usize) -> Self {
        let name = format!("bert.encoder.layer.{index}");
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let epsilon = config.layer_norm_epsilon();
        let projections = PROJECTIONS.map(|part| format!("{name}.attention.self.{part}"));
        let linear = |part: &str, outputs, inputs| {
            Linear::new(flat, &[format!("{name}.{part}")], outputs, inputs)
        };
        let norm = |part: &str| Norm::new(flat, &format!("{name}.{part}"), epsilon, hidden);
        Self {
            index,
            start: flat.start(&format!("{name}.")),
            heads: config.num_attention_heads,
            head_width: hidden / config.num_attention_heads,
            activation: super::activation_of(config),
            qkv: Linear::new(flat, &projections, 3 * hidden, hidden),
            attention_output: linear("attention.output.dense", hidden, hidden),
            attention_norm: norm("attention.output.LayerNorm"),
            intermediate: linear("intermediate.dense", wide, hidden),
            output: linear("output.dense", hidden, wide),
            output_norm: norm("output.LayerNorm"),
            rounds: flat.rounds(&name),
        }
    }

    /// `input: [T, H]`.
    pub fn forward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        input: &Buffer,
        dropout: &DropoutPlan,
    ) -> Result<LayerActivations, KernelError> {
        let tokens = batch.tokens;
        let drop = |place| dropout.at(self.index, place);

        let qkv = self.qkv.forward(ctx, input, tokens)?;
        if self.rounds {
            // A token's query, key and value lie one behind the other, and in each head after head.
            round(ctx, &qkv, self.head_width)?;
        }
        let context = ctx.empty(input.dtype(), input.len());
        let lse = ctx.empty(DType::F32, tokens * self.heads);
        ops::attention_forward(
            ctx,
            ops::AttentionForward {
                qkv: &qkv,
                cu_seqlens: &batch.cu_seqlens,
                token_sequence: &batch.token_sequence,
                out: &context,
                lse: &lse,
                tokens,
                sequences: batch.attended,
                heads: self.heads,
                head_width: self.head_width,
                max_length: batch.max_length,
                dropout: drop(Place::Attention).as_ref(),
            },
        )?;
        let projected = self.attention_output.forward(ctx, &context, tokens)?;
        let place = drop(Place::AttentionOutput);
        let attended = self.attention_norm.forward(ctx, &projected, Some(input), place)?;

        let (pre, wide) =
            self.intermediate.forward_activated(ctx, &attended.out, tokens, self.activation)?;
        let narrow = self.output.forward(ctx, &wide, tokens)?;
        let place = drop(Place::Output);
        let output = self.output_norm.forward(ctx, &narrow, Some(&attended.out), place)?;
        if self.rounds {
            round_stream(ctx, &output.out, self.heads * self.head_width)?;
        }

        Ok(LayerActivations {
            input: input.clone(),
            qkv,
            context,
            lse,
            attended,
            pre,
            wide,
            output,
        })
    }

    /// From the gradients of the layer's result that arrive on two branches (either may be all
    /// there is) to those of its input on two branches: through the layer, and along the residual.
    pub fn backward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        kept: &LayerActivations,
        d_out: &Buffer,
        d_branch: Option<&Buffer>,
        dropout: &DropoutPlan,
    ) -> Result<(Buffer, Buffer), KernelError> {
        let tokens = batch.tokens;

        let output = self.output_norm.backward(ctx, &kept.output, d_out, d_branch)?;
        let d_wide = self.output.backward(ctx, &kept.wide, &output.d_x, tokens)?;
        ops::activation_backward(
            ctx,
            ops::ActivationBackward {
                d_out: &d_wide,
                pre: &kept.pre,
                d_pre: &d_wide,
                activation: self.activation,
            },
        )?;
        let d_attended = self.intermediate.backward(ctx, &kept.attended.out, &d_wide, tokens)?;

        let attended = self.attention_norm.backward(
            ctx,
            &kept.attended,
            &d_attended,
            Some(&output.d_residual),
        )?;
        let d_context =
            self.attention_output.backward(ctx, &kept.context, &attended.d_x, tokens)?;
        let d_qkv = ctx.empty(kept.qkv.dtype(), kept.qkv.len());
        ops::attention_backward(
            ctx,
            ops::AttentionBackward {
                qkv: &kept.qkv,
                cu_seqlens: &batch.cu_seqlens,
                token_sequence: &batch.token_sequence,
                out: &kept.context,
                lse: &kept.lse,
                d_out: &d_context,
                delta: &ctx.empty(DType::F32, kept.lse.len()),
                d_qkv: &d_qkv,
                tokens,
                sequences: batch.attended,
                heads: self.heads,
                head_width: self.head_width,
                max_length: batch.max_length,
                dropout: dropout.at(self.index, Place::Attention).as_ref(),
            },
        )?;
        let d_input = self.qkv.backward(ctx, &kept.input, &d_qkv, tokens)?;
        Ok((d_input, attended.d_residual))
    }
}
