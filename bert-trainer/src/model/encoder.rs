//! Embeddings and the stack of layers: token ids in, hidden states out.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::Ready;
use super::batch::DeviceBatch;
use super::dropout::{DropoutPlan, Place};
use super::flat::FlatBuffers;
use super::layer::{Layer, LayerActivations};
use super::modules::{Norm, Normed};
use super::rounding::round_stream;
use crate::config::Config;

/// The three tables whose rows are added, in the order of [`DeviceBatch::groups`].
const TABLES: [&str; 3] = ["word_embeddings", "position_embeddings", "token_type_embeddings"];

/// BERT without a head.
pub(super) struct Encoder {
    tables: [Buffer; 3],
    d_tables: [Buffer; 3],
    norm: Norm,
    layers: Vec<Layer>,
    hidden: usize,
    /// Whether the residual stream is rounded, as a device keeps it.
    rounds: bool,
    /// How many of the lowest layers are frozen, the embeddings with them; `None` if nothing is.
    pub frozen: Option<usize>,
}

/// What the encoder keeps for its backward pass.
pub(super) struct EncoderActivations {
    embedded: Normed,
    /// Hidden states after the embeddings and after every layer, `[T, H]` each: the input of each
    /// layer, then the result.
    hidden: Vec<Buffer>,
    /// The rest of what each layer needs; `None` where it is computed again when it is needed.
    layers: Vec<Option<LayerActivations>>,
}

impl EncoderActivations {
    /// The last hidden states, `[T, H]`.
    pub fn hidden(&self) -> &Buffer {
        // The embeddings are always there.
        &self.hidden[self.hidden.len() - 1]
    }

    /// Hidden states after the embeddings and after every layer, each `[T, H]`.
    pub fn all_hidden(&self) -> Vec<Buffer> {
        self.hidden.clone()
    }
}

impl Encoder {
    pub fn new(flat: &FlatBuffers, config: &Config) -> Self {
        let name = |table| [format!("bert.embeddings.{table}.weight")];
        let hidden = config.hidden_size;
        let epsilon = config.layer_norm_epsilon();
        Self {
            tables: TABLES.map(|table| flat.compute(&name(table))),
            d_tables: TABLES.map(|table| flat.gradient(&name(table))),
            norm: Norm::new(flat, "bert.embeddings.LayerNorm", epsilon, hidden),
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(flat, config, index))
                .collect(),
            hidden,
            rounds: flat.rounds(TABLES[0]),
            frozen: None,
        }
    }

    /// The word embeddings, `[V, H]`, which the MLM decoder shares, and their gradient.
    pub fn word_embeddings(&self) -> (&Buffer, &Buffer) {
        (&self.tables[0], &self.d_tables[0])
    }

    /// With `lean`, a layer keeps nothing but its input, and the backward pass runs it again: the
    /// same kernels over the same values, hence the same bits (Chen et al. 2016, *Training Deep Nets
    /// with Sublinear Memory Cost*).
    pub fn forward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        dropout: &DropoutPlan,
        lean: bool,
    ) -> Result<EncoderActivations, KernelError> {
        let [word, position, segment] = &self.tables;
        let summed = ctx.empty(word.dtype(), batch.tokens * self.hidden);
        ops::embedding_forward(
            ctx,
            ops::EmbeddingForward {
                word,
                position,
                segment,
                ids: &batch.ids,
                positions: &batch.positions,
                segments: &batch.segments,
                out: &summed,
                hidden: self.hidden,
            },
        )?;
        let embedded = self.norm.forward(ctx, &summed, None, None)?;
        // The norm keeps a sum of its own.
        drop(summed);
        let mask = dropout.at(0, Place::Embeddings);
        let mut x = dropped(ctx, &embedded.out, mask.as_ref())?;
        if self.rounds {
            round_stream(ctx, &x, self.hidden)?;
        }
        let mut hidden = vec![x.clone()];
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let kept = layer.forward(ctx, batch, &x, dropout)?;
            x = kept.output.out.clone();
            hidden.push(x.clone());
            layers.push((!lean).then_some(kept));
        }
        Ok(EncoderActivations { embedded, hidden, layers })
    }

    /// From the gradient of the last hidden states, `[T, H]`, to those of all parameters that are not
    /// frozen. After each layer `ready` is told where its gradients begin in the flat buffer.
    pub fn backward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        kept: &EncoderActivations,
        d_hidden: Buffer,
        dropout: &DropoutPlan,
        ready: &mut Ready<'_>,
    ) -> Result<(), KernelError> {
        let mut d_out = d_hidden;
        let mut d_branch = None;
        let trained = self.layers.iter().enumerate().skip(self.frozen.unwrap_or(0));
        for (index, layer) in trained.rev() {
            let again;
            let kept = match &kept.layers[index] {
                Some(kept) => kept,
                None => {
                    again = layer.forward(ctx, batch, &kept.hidden[index], dropout)?;
                    &again
                }
            };
            let branch = d_branch.as_ref();
            let (through, along) = layer.backward(ctx, batch, kept, &d_out, branch, dropout)?;
            d_out = through;
            d_branch = Some(along);
            ready(layer.start)?;
        }
        if self.frozen.is_some() {
            return Ok(());
        }
        if let Some(branch) = &d_branch {
            ops::add_assign(ctx, &d_out, branch)?;
        }
        let mask = dropout.at(0, Place::Embeddings);
        let d_out = dropped(ctx, &d_out, mask.as_ref())?;
        let d_summed = self.norm.backward(ctx, &kept.embedded, &d_out, None)?.d_residual;
        let workspace = ops::embedding_workspace_len(batch.tokens, self.hidden);
        let workspace = ctx.empty(DType::F32, workspace);
        for (d_table, groups) in self.d_tables.iter().zip(&batch.groups) {
            ops::embedding_backward(
                ctx,
                ops::EmbeddingBackward {
                    d_out: &d_summed,
                    order: &groups.order,
                    rows: &groups.rows,
                    more_runs: &groups.more_runs,
                    d_table,
                    workspace: &workspace,
                    hidden: self.hidden,
                },
            )?;
        }
        Ok(())
    }
}

/// `x` through a dropout mask, or `x` itself where there is none. Forward and backward are the same.
pub(super) fn dropped(
    ctx: &Context,
    x: &Buffer,
    dropout: Option<&ops::DeviceDropout>,
) -> Result<Buffer, KernelError> {
    let Some(dropout) = dropout else {
        return Ok(x.clone());
    };
    let out = ctx.empty(x.dtype(), x.len());
    ops::dropout(ctx, ops::DropoutArgs { x, out: &out, dropout })?;
    Ok(out)
}
