//! The model in training: one step of the optimizer after the other.

use anyhow::ensure;
use bert_kernels::Context;

use super::FinetunePlan;
use super::teacher::Teacher;
use super::weights::Weights;
use crate::config::Config;
use crate::data::TaskBatch;
use crate::model::{DeviceBatch, DropoutPlan, Losses, Model, Targets};
use crate::train::{Optimizer, Overflow, Schedule};

/// The model in training.
pub(super) struct Trainer<'a> {
    pub ctx: &'a Context,
    pub plan: &'a FinetunePlan,
    pub config: &'a Config,
    pub model: &'a Model,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub weights: Weights,
    pub teacher: Option<&'a Teacher>,
    pub step: u64,
}

impl Trainer<'_> {
    /// One step of the optimizer on a batch of the training examples `indices`, in as many passes as
    /// the plan says. Gives the losses, and why the step was left out if it was.
    pub fn train(
        &mut self,
        indices: &[u32],
        batch: &TaskBatch,
    ) -> anyhow::Result<(Vec<Losses>, Option<Overflow>)> {
        let scale = self.optimizer.loss_scale();
        let mut losses = Vec::with_capacity(self.plan.accumulate);
        let mut rest = indices;
        for (number, part) in (0..).zip(batch.split(self.plan.accumulate)) {
            let device_batch = DeviceBatch::upload(self.ctx, &part.tokens);
            let mut targets = Targets::task(self.ctx, self.model.head(), &part);
            targets.shaping = self.weights.shaping(&part);
            targets.shares = self.weights.shares(&part, batch);
            let (own, others) = rest.split_at(part.tokens.sequences());
            rest = others;
            if let Some(teacher) = self.teacher {
                targets.teaching = teacher.teaching(self.ctx, own, &device_batch)?;
            }
            let pass = self.step * self.plan.accumulate as u64 + number;
            let dropout = DropoutPlan::training(self.ctx, self.config, self.plan.seed, pass);
            let pass = self.model.accumulate_gradients(&device_batch, &targets, &dropout, scale)?;
            losses.push(pass);
        }
        let overflow = self.optimizer.step(self.model, self.schedule.learning_rate(self.step))?;
        self.step += 1;
        if let Some(overflow) = &overflow {
            ensure!(!overflow.is_final(), "step {}: {overflow}", self.step);
        }
        Ok((losses, overflow))
    }

    /// The rate of the last step.
    pub fn learning_rate(&self) -> f32 {
        self.schedule.learning_rate(self.step.saturating_sub(1))
    }
}
