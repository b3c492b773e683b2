//! The two building blocks with parameters: a linear layer and a layer norm.
//!
//! Each holds slices of the flat buffers, so a forward pass reads what the optimizer wrote and a
//! backward pass adds to the gradients in place.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::flat::FlatBuffers;
use super::rounding::rounded;

/// `y = x Wᵀ + b`, `W: [outputs, inputs]`.
pub(super) struct Linear {
    pub weight: Buffer,
    pub bias: Buffer,
    d_weight: Buffer,
    d_bias: Buffer,
    outputs: usize,
    inputs: usize,
    /// Whether inputs are rounded first, as on a device.
    rounds: bool,
}

impl Linear {
    /// The layer `name`, or several layers that lie side by side as one: `names` in their order.
    pub fn new(flat: &FlatBuffers, names: &[String], outputs: usize, inputs: usize) -> Self {
        let weights: Vec<String> = names.iter().map(|name| format!("{name}.weight")).collect();
        let biases: Vec<String> = names.iter().map(|name| format!("{name}.bias")).collect();
        Self {
            weight: flat.compute(&weights),
            bias: flat.master(&biases),
            d_weight: flat.gradient(&weights),
            d_bias: flat.gradient(&biases),
            outputs,
            inputs,
            rounds: names.iter().all(|name| flat.rounds(name)),
        }
    }

    /// `x: [rows, inputs]` to `[rows, outputs]`.
    pub fn forward(&self, ctx: &Context, x: &Buffer, rows: usize) -> Result<Buffer, KernelError> {
        let out = ctx.empty(x.dtype(), rows * self.outputs);
        self.product(ctx, x, &out, rows, ops::Epilogue::Bias(&self.bias))?;
        Ok(out)
    }

    /// Like [`forward`](Self::forward) with an activation: gives (before, after) it.
    pub fn forward_activated(
        &self,
        ctx: &Context,
        x: &Buffer,
        rows: usize,
        activation: ops::Activation,
    ) -> Result<(Buffer, Buffer), KernelError> {
        let pre = ctx.empty(x.dtype(), rows * self.outputs);
        let out = ctx.empty(x.dtype(), rows * self.outputs);
        let epilogue = ops::Epilogue::BiasActivation { bias: &self.bias, activation, pre: &pre };
        self.product(ctx, x, &out, rows, epilogue)?;
        Ok((pre, out))
    }

    fn product(
        &self,
        ctx: &Context,
        x: &Buffer,
        out: &Buffer,
        rows: usize,
        epilogue: ops::Epilogue<'_>,
    ) -> Result<(), KernelError> {
        let x = self.input(ctx, x)?;
        ops::gemm(
            ctx,
            ops::Gemm {
                a: &x,
                b: &self.weight,
                c: out,
                m: rows,
                n: self.outputs,
                k: self.inputs,
                transpose: ops::Transpose::NT,
                accumulate: false,
                epilogue,
            },
        )
    }

    /// What the product reads of an input `x: [rows, inputs]`. A backward pass rounds again: that is
    /// cheaper than to keep it.
    fn input(&self, ctx: &Context, x: &Buffer) -> Result<Buffer, KernelError> {
        if self.rounds { rounded(ctx, x, self.inputs) } else { Ok(x.clone()) }
    }

    /// Adds the gradients of weight and bias and gives that of the input, `[rows, inputs]`.
    pub fn backward(
        &self,
        ctx: &Context,
        x: &Buffer,
        d_out: &Buffer,
        rows: usize,
    ) -> Result<Buffer, KernelError> {
        let read = self.input(ctx, x)?;
        ops::gemm(
            ctx,
            ops::Gemm {
                a: d_out,
                b: &read,
                c: &self.d_weight,
                m: self.outputs,
                n: self.inputs,
                k: rows,
                transpose: ops::Transpose::TN,
                accumulate: true,
                epilogue: ops::Epilogue::None,
            },
        )?;
        let workspace = ops::bias_workspace_len(ctx, rows, self.outputs);
        ops::bias_backward(
            ctx,
            ops::BiasBackward {
                d_out,
                d_bias: &self.d_bias,
                n: self.outputs,
                workspace: &ctx.empty(DType::F32, workspace),
            },
        )?;
        let d_x = ctx.empty(x.dtype(), rows * self.inputs);
        ops::gemm(
            ctx,
            ops::Gemm {
                a: d_out,
                b: &self.weight,
                c: &d_x,
                m: rows,
                n: self.inputs,
                k: self.outputs,
                transpose: ops::Transpose::NN,
                accumulate: false,
                epilogue: ops::Epilogue::None,
            },
        )?;
        Ok(d_x)
    }
}

/// Layer norm of `residual + dropout(x)`.
pub(super) struct Norm {
    gamma: Buffer,
    beta: Buffer,
    d_gamma: Buffer,
    d_beta: Buffer,
    epsilon: f32,
    hidden: usize,
}

/// What a layer norm keeps for its backward pass.
pub(super) struct Normed {
    /// The result, `[rows, H]`.
    pub out: Buffer,
    sum: Buffer,
    mean: Buffer,
    rstd: Buffer,
    dropout: Option<ops::DeviceDropout>,
}

/// Gradients that leave a layer norm.
pub(super) struct NormGradients {
    /// Of the residual, `[rows, H]`.
    pub d_residual: Buffer,
    /// Of `x`, through the dropout, `[rows, H]`.
    pub d_x: Buffer,
}

impl Norm {
    pub fn new(flat: &FlatBuffers, name: &str, epsilon: f32, hidden: usize) -> Self {
        let gamma = [format!("{name}.weight")];
        let beta = [format!("{name}.bias")];
        Self {
            gamma: flat.master(&gamma),
            beta: flat.master(&beta),
            d_gamma: flat.gradient(&gamma),
            d_beta: flat.gradient(&beta),
            epsilon,
            hidden,
        }
    }

    pub fn forward(
        &self,
        ctx: &Context,
        x: &Buffer,
        residual: Option<&Buffer>,
        dropout: Option<ops::DeviceDropout>,
    ) -> Result<Normed, KernelError> {
        let rows = x.len() / self.hidden;
        let normed = Normed {
            out: ctx.empty(x.dtype(), x.len()),
            sum: ctx.empty(x.dtype(), x.len()),
            mean: ctx.empty(DType::F32, rows),
            rstd: ctx.empty(DType::F32, rows),
            dropout,
        };
        ops::layer_norm_forward(
            ctx,
            ops::LayerNormForward {
                x,
                residual,
                dropout: normed.dropout.as_ref(),
                gamma: &self.gamma,
                beta: &self.beta,
                epsilon: self.epsilon,
                sum: &normed.sum,
                out: &normed.out,
                mean: &normed.mean,
                rstd: &normed.rstd,
                hidden: self.hidden,
            },
        )?;
        Ok(normed)
    }

    /// `d_out` and, where two branches left the result, `d_branch` are added before anything else.
    pub fn backward(
        &self,
        ctx: &Context,
        normed: &Normed,
        d_out: &Buffer,
        d_branch: Option<&Buffer>,
    ) -> Result<NormGradients, KernelError> {
        let rows = d_out.len() / self.hidden;
        let d_residual = ctx.empty(d_out.dtype(), d_out.len());
        let d_x = normed.dropout.as_ref().map(|_| ctx.empty(d_out.dtype(), d_out.len()));
        let workspace = ops::layer_norm_workspace_len(ctx, rows, self.hidden);
        ops::layer_norm_backward(
            ctx,
            ops::LayerNormBackward {
                d_out,
                d_residual_in: d_branch,
                sum: &normed.sum,
                mean: &normed.mean,
                rstd: &normed.rstd,
                gamma: &self.gamma,
                dropout: normed.dropout.as_ref(),
                d_sum: &d_residual,
                d_x: d_x.as_ref(),
                d_gamma: &self.d_gamma,
                d_beta: &self.d_beta,
                workspace: &ctx.empty(DType::F32, workspace),
                hidden: self.hidden,
            },
        )?;
        let d_x = d_x.unwrap_or_else(|| d_residual.clone());
        Ok(NormGradients { d_residual, d_x })
    }
}
