//! AdamW over the flat buffers, with the gradient clipped to a global norm, and in f16 scaled back.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::loss_scale::{LossScale, Overflow};
use crate::model::{Model, Precision};

/// What stays the same over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerOptions {
    /// Decay of the first moment (paper: 0.9).
    pub beta1: f32,
    /// Decay of the second moment (paper: 0.999).
    pub beta2: f32,
    /// Added to the root of the second moment (google-research/bert: 1e-6).
    pub epsilon: f32,
    /// Decoupled weight decay of all but biases and layer norms (paper: 0.01).
    pub weight_decay: f32,
    /// Global norm the gradient is clipped to (google-research/bert: 1.0); 0 clips nothing.
    pub max_norm: f32,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-6, weight_decay: 0.01, max_norm: 1.0 }
    }
}

/// The optimizer's state: moments, how many steps it took, and which parameters decay.
pub struct Optimizer {
    options: OptimizerOptions,
    first: Buffer,
    second: Buffer,
    decay: Buffer,
    rate: Option<Buffer>,
    norm: Buffer,
    workspace: Buffer,
    steps: u32,
    scaling: Option<Scaling>,
}

/// What only gradients in f16 need.
struct Scaling {
    scale: LossScale,
    /// Global norm of the last step that was taken.
    norm: f32,
}

impl Optimizer {
    /// A fresh optimizer for a model.
    pub fn new(model: &Model, options: OptimizerOptions) -> Self {
        let len = model.table().len();
        let zeros = vec![0.0; len];
        Self::resume(model, options, &zeros, &zeros, 0)
    }

    /// An optimizer that took `steps` steps and has these moments.
    pub fn resume(
        model: &Model,
        options: OptimizerOptions,
        first: &[f32],
        second: &[f32],
        steps: u32,
    ) -> Self {
        let ctx = model.context();
        let workspace = ops::global_norm_workspace_len(ctx, model.table().len());
        Self {
            options,
            first: ctx.upload_f32(first),
            second: ctx.upload_f32(second),
            decay: ctx.upload_f32(&model.table().decay_blocks()),
            rate: None,
            norm: ctx.empty(DType::F32, 1),
            workspace: ctx.empty(DType::F32, workspace),
            steps,
            scaling: (model.precision() == Precision::F16)
                .then(|| Scaling { scale: LossScale::default(), norm: 0.0 }),
        }
    }

    /// Goes on with a scale of the loss and the norm of the last step, where the model computes in f16.
    pub fn set_scaling(&mut self, scale: LossScale, norm: f32) {
        if let Some(scaling) = &mut self.scaling {
            *scaling = Scaling { scale, norm };
        }
    }

    /// What the loss of the next step is to be multiplied with: 1 but in f16.
    pub fn loss_scale(&self) -> f32 {
        self.scaling.as_ref().map_or(1.0, |scaling| scaling.scale.scale())
    }

    /// How the loss is scaled, in f16.
    pub fn scaling(&self) -> Option<LossScale> {
        self.scaling.as_ref().map(|scaling| scaling.scale)
    }

    /// Lets each block of [`ops::BLOCK`] elements learn with its factor of the learning rate from now
    /// on, weight decay included; where it is 0 the parameters keep their bits.
    pub fn set_rates(&mut self, model: &Model, blocks: &[f32]) {
        self.rate = Some(model.context().upload_f32(blocks));
    }

    /// One step: clips the model's gradients, updates its parameters and sets the gradients to zero.
    ///
    /// In f16 the gradients are those of [`loss_scale`](Self::loss_scale) times the loss. If they
    /// overflowed, nothing but the scale changes, and the step does not count. To know that, the host
    /// waits for the norm, which it does in no other precision.
    ///
    /// # Errors
    ///
    /// What an operation or the device reports.
    pub fn step(
        &mut self,
        model: &Model,
        learning_rate: f32,
    ) -> Result<Option<Overflow>, KernelError> {
        let ctx = model.context();
        let norm =
            ops::GlobalNorm { x: model.gradients(), norm: &self.norm, workspace: &self.workspace };
        ops::global_norm(ctx, norm)?;
        let loss_scale = self.loss_scale();
        if let Some(Scaling { scale, norm }) = &mut self.scaling {
            let found = read_one(ctx, &self.norm)? / loss_scale;
            if !found.is_finite() {
                let overflow = scale.left(model.table(), &ctx.read_f32(model.gradients())?);
                model.zero_gradients()?;
                return Ok(Some(overflow));
            }
            *norm = found;
            scale.took();
        }
        self.steps += 1;
        ops::adamw(
            ctx,
            ops::AdamW {
                param: model.parameters(),
                grad: model.gradients(),
                m: &self.first,
                v: &self.second,
                norm: &self.norm,
                max_norm: self.options.max_norm,
                grad_scale: 1.0 / loss_scale,
                decay: &self.decay,
                rate: self.rate.as_ref(),
                learning_rate,
                beta1: self.options.beta1,
                beta2: self.options.beta2,
                epsilon: self.options.epsilon,
                weight_decay: self.options.weight_decay,
                step: self.steps,
                low: model.low_precision(),
            },
        )?;
        model.refresh_rounded()?;
        model.zero_gradients()?;
        Ok(None)
    }

    /// First and second moments, with the layout of the model's parameters.
    pub fn moments(&self) -> (&Buffer, &Buffer) {
        (&self.first, &self.second)
    }

    /// Steps taken, those left out not among them.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Global norm of the gradient of the last step that was taken, before clipping.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn gradient_norm(&self, ctx: &Context) -> Result<f32, KernelError> {
        match &self.scaling {
            Some(scaling) => Ok(scaling.norm),
            None => read_one(ctx, &self.norm),
        }
    }
}

fn read_one(ctx: &Context, buffer: &Buffer) -> Result<f32, KernelError> {
    Ok(ctx.read_f32(buffer)?.first().copied().unwrap_or(0.0))
}
