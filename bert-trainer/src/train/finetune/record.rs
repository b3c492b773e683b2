//! What a fine-tuning writes while it runs: `metrics.jsonl` and TensorBoard's events.

use std::path::Path;

use bert_kernels::Context;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::evaluate::TaskMetrics;
use crate::log::{MetricsFile, TensorBoard};
use crate::model::{Imitation, Losses, Tally};
use crate::train::Optimizer;

/// Steps between lines of metrics.
const LOG_STEPS: u64 = 20;

/// A line after some steps: means over the steps since the line before.
#[derive(Serialize)]
struct Line {
    step: u64,
    loss: f64,
    learning_rate: f32,
    gradient_norm: f32,
    /// In f16.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_scale: Option<f32>,
}

/// A line after an epoch.
#[derive(Serialize)]
struct Evaluated {
    step: u64,
    epoch: u32,
    eval: Map<String, Value>,
}

/// The log of a run.
pub(super) struct Record<'a> {
    ctx: &'a Context,
    metrics: MetricsFile,
    board: TensorBoard,
    /// Losses on the device, not yet read.
    pending: Vec<Losses>,
    /// w, the weight of a teacher.
    weight: f64,
    epoch: Sums,
}

impl<'a> Record<'a> {
    /// `weight` is that of a teacher's part of the loss; 0 without one.
    pub fn open(ctx: &'a Context, output: &Path, weight: f32) -> anyhow::Result<Self> {
        Ok(Self {
            ctx,
            metrics: MetricsFile::open(output, 0)?,
            board: TensorBoard::open(output, 0)?,
            pending: Vec::new(),
            weight: f64::from(weight),
            epoch: Sums::default(),
        })
    }

    /// Takes a step's losses, and reads what has gathered now and then: not after every step,
    /// because reading waits for the device.
    pub fn add(
        &mut self,
        optimizer: &Optimizer,
        losses: Vec<Losses>,
        learning_rate: f32,
        step: u64,
    ) -> anyhow::Result<()> {
        self.pending.extend(losses);
        if step.is_multiple_of(LOG_STEPS) {
            self.log(optimizer, learning_rate, step)
        } else {
            Ok(())
        }
    }

    /// Mean loss of the epoch that ends here.
    pub fn end_epoch(
        &mut self,
        optimizer: &Optimizer,
        learning_rate: f32,
        step: u64,
    ) -> anyhow::Result<f64> {
        self.log(optimizer, learning_rate, step)?;
        Ok(std::mem::take(&mut self.epoch).mean(self.weight))
    }

    /// Writes the metrics after an epoch.
    pub fn evaluated(
        &mut self,
        step: u64,
        epoch: u32,
        metrics: &TaskMetrics,
    ) -> anyhow::Result<()> {
        for (name, value) in metrics.iter() {
            self.board.scalar(step, &format!("eval/{name}"), value as f32)?;
        }
        let finite = metrics.iter().filter(|(_, value)| value.is_finite());
        let eval = finite.map(|(name, value)| (name.into(), json!(value))).collect();
        self.metrics.append(&Evaluated { step, epoch, eval })?;
        Ok(())
    }

    fn log(&mut self, optimizer: &Optimizer, rate: f32, step: u64) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut sums = Sums::default();
        for losses in self.pending.drain(..) {
            sums.read(self.ctx, &losses)?;
        }
        self.epoch.add(&sums);
        let gradient_norm = optimizer.gradient_norm(self.ctx)?;
        let line = Line {
            step,
            loss: sums.mean(self.weight),
            learning_rate: rate,
            gradient_norm,
            loss_scale: optimizer.scaling().map(|scaling| scaling.scale()),
        };
        self.board.scalar(step, "loss/train", line.loss as f32)?;
        self.board.scalar(step, "learning_rate", rate)?;
        self.board.scalar(step, "gradient_norm", gradient_norm)?;
        // A loss that is not finite is no JSON; the run is about to end with an error.
        if line.loss.is_finite() && gradient_norm.is_finite() {
            self.metrics.append(&line)?;
        }
        Ok(())
    }
}

/// Sums of losses over the parts of a task, and of the distances from a teacher.
#[derive(Default)]
struct Sums {
    parts: [Tally; 3],
    distances: [Tally; 4],
}

impl Sums {
    fn read(&mut self, ctx: &Context, losses: &Losses) -> anyhow::Result<()> {
        let Imitation { sequence, words, spans, hidden } = &losses.imitation;
        let terms = [&losses.sequence, &losses.words, &losses.spans];
        let distances = [sequence, words, spans, hidden];
        let sums = self.parts.iter_mut().chain(&mut self.distances);
        for (sum, term) in sums.zip(terms.into_iter().chain(distances)) {
            if let Some(term) = term {
                sum.add(term.read(ctx)?);
            }
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        let sums = self.parts.iter_mut().chain(&mut self.distances);
        for (sum, part) in sums.zip(other.parts.iter().chain(&other.distances)) {
            sum.add(*part);
        }
    }

    /// Mean over the examples and words, a sum over the parts; a teacher has the share `weight`.
    fn mean(&self, weight: f64) -> f64 {
        let sum = |tallies: &[Tally]| tallies.iter().map(Tally::mean_loss).sum::<f64>();
        (1.0 - weight) * sum(&self.parts) + weight * sum(&self.distances)
    }
}
