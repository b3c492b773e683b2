//! AdamW over the flat buffers, with the gradient clipped to a global norm.

use bert_kernels::{Buffer, DType, KernelError, ops};

use crate::model::Model;

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
    norm: Buffer,
    workspace: Buffer,
    steps: u32,
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
            norm: ctx.empty(DType::F32, 1),
            workspace: ctx.empty(DType::F32, workspace),
            steps,
        }
    }

    /// One step: clips the model's gradients, updates its parameters and sets the gradients to zero.
    ///
    /// # Errors
    ///
    /// What an operation or the device reports.
    pub fn step(&mut self, model: &Model, learning_rate: f32) -> Result<(), KernelError> {
        let ctx = model.context();
        self.steps += 1;
        let norm =
            ops::GlobalNorm { x: model.gradients(), norm: &self.norm, workspace: &self.workspace };
        ops::global_norm(ctx, norm)?;
        ops::adamw(
            ctx,
            ops::AdamW {
                param: model.parameters(),
                grad: model.gradients(),
                m: &self.first,
                v: &self.second,
                norm: &self.norm,
                max_norm: self.options.max_norm,
                grad_scale: 1.0,
                decay: &self.decay,
                rate: None,
                learning_rate,
                beta1: self.options.beta1,
                beta2: self.options.beta2,
                epsilon: self.options.epsilon,
                weight_decay: self.options.weight_decay,
                step: self.steps,
                low: model.low_precision(),
            },
        )?;
        model.zero_gradients()
    }

    /// First and second moments, with the layout of the model's parameters.
    pub fn moments(&self) -> (&Buffer, &Buffer) {
        (&self.first, &self.second)
    }

    /// Steps taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Global norm of the gradient of the last step, before clipping, `[1]`.
    pub fn gradient_norm(&self) -> &Buffer {
        &self.norm
    }
}
