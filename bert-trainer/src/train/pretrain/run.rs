//! A run in progress: its state on the device, and what it writes.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use bert_kernels::{Context, KernelError};
use serde::{Deserialize, Serialize};

use super::shared::{Counts, agree};
use super::{PretrainPaths, PretrainPlan};
use crate::checkpoint::{self, TrainerState};
use crate::config::Config;
use crate::data::{PretrainBatch, PretrainData, PretrainOptions, TextTokenizer};
use crate::log::{MetricsFile, TensorBoard};
use crate::model::{
    Head, LoadedCheckpoint, Losses, Model, ParameterTable, PassInputs, PassShape, PassSize,
    Precision, Shares, Tally, initial_values, write_checkpoint,
};
use crate::train::collective::{Communicator, GradientSum};
use crate::train::record::Recorder;
use crate::train::{LossScale, Optimizer, OptimizerOptions, Overflow, RecordedPasses, Schedule};

/// A line of `metrics.jsonl`: means over the steps since the line before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub step: u64,
    pub mlm_loss: f64,
    pub mlm_accuracy: f64,
    pub nsp_loss: f64,
    pub nsp_accuracy: f64,
    pub learning_rate: f32,
    pub gradient_norm: f32,
    pub tokens: u64,
    /// In f16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
}

impl Line {
    /// The line for a person.
    pub fn reached(&self) -> String {
        format!(
            "mlm {:.3} ({:.1} %) nsp {:.3} ({:.1} %)",
            self.mlm_loss,
            self.mlm_accuracy * 100.0,
            self.nsp_loss,
            self.nsp_accuracy * 100.0
        )
    }
}

/// What a resumed run needs beside parameters and moments. Sums are kept as bits: a decimal that
/// came back different would be another run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Carried {
    masked: (u64, u64, u64),
    next: (u64, u64, u64),
    tokens: u64,
    first_loss: Option<u64>,
    /// What the log said last, for the summary of a run that resumes near its end.
    last: Option<Line>,
    /// In f16, how the loss is scaled and the norm of the last step that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scaling: Option<(LossScale, u32)>,
}

fn to_bits(tally: Tally) -> (u64, u64, u64) {
    (tally.loss.to_bits(), tally.correct, tally.rows)
}

fn from_bits((loss, correct, rows): (u64, u64, u64)) -> Tally {
    Tally { loss: f64::from_bits(loss), correct, rows }
}

/// A run in progress.
pub(super) struct Run<'a> {
    ctx: &'a Context,
    communicator: &'a dyn Communicator,
    plan: &'a PretrainPlan,
    paths: &'a PretrainPaths,
    config: Config,
    fingerprint: String,
    steps_per_epoch: u64,
    schedule: Schedule,
    model: Model,
    optimizer: Optimizer,
    /// Passes that the device keeps, where it can.
    recorded: Option<RecordedPasses>,
    /// What rank 0 writes, and the others do not.
    journal: Option<Journal>,
    pub step: u64,
    /// Losses on the device, not yet read.
    pending: Vec<Losses>,
    masked: Tally,
    next: Tally,
    tokens: u64,
    pub first_loss: Option<f64>,
    pub last: Option<Line>,
}

/// The files of a run beside its checkpoints.
struct Journal {
    metrics: MetricsFile,
    board: TensorBoard,
    recorder: Recorder,
}

impl Journal {
    fn append(&mut self, line: &Line) -> anyhow::Result<()> {
        self.metrics.append(line)?;
        for (tag, value) in [
            ("loss/mlm", line.mlm_loss),
            ("loss/nsp", line.nsp_loss),
            ("accuracy/mlm", line.mlm_accuracy),
            ("accuracy/nsp", line.nsp_accuracy),
            ("learning_rate", f64::from(line.learning_rate)),
            ("gradient_norm", f64::from(line.gradient_norm)),
        ] {
            self.board.scalar(line.step, tag, value as f32)?;
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    pub fn open(
        ctx: &'a Context,
        communicator: &'a dyn Communicator,
        data: &PretrainData,
        config: &Config,
        precision: Precision,
        plan: &'a PretrainPlan,
        paths: &'a PretrainPaths,
    ) -> anyhow::Result<Self> {
        let output = &paths.output;
        let table = ParameterTable::new(config, &Head::Pretraining);
        let initial = match &paths.model {
            Some(dir) => values_of(dir, &table, data)?,
            None => initial_values(&table, config, plan.seed),
        };
        // Random values follow from config and seed; those of a checkpoint decide the run as well.
        let origin = if paths.model.is_some() { bytemuck::cast_slice(&initial) } else { &[] };
        let fingerprint = checkpoint::fingerprint([
            config.to_json().as_bytes(),
            data.shards().fingerprint().as_bytes(),
            serde_json::to_string(plan)?.as_bytes(),
            format!("{precision:?}").as_bytes(),
            origin,
        ]);
        // Rank 0 first: reading clears away what a killed run left.
        if communicator.rank() > 0 {
            communicator.barrier()?;
        }
        let saved = checkpoint::load_latest_state(output)?;
        if communicator.rank() == 0 {
            communicator.barrier()?;
        }
        let model = |values: &[f32]| {
            let model = Model::new(ctx, config, Head::Pretraining, precision, values)?;
            Ok::<_, KernelError>(model.with_recompute(paths.recompute))
        };
        let options = OptimizerOptions { weight_decay: plan.weight_decay, ..Default::default() };
        let (step, model, optimizer, carried) = match (paths.resume, saved) {
            (true, Some(saved)) => {
                saved.state.expect_run(&fingerprint, output)?;
                let buffer = |name: &str| {
                    let values = saved.buffers.get(name).filter(|found| found.len() == table.len());
                    values.with_context(|| {
                        format!("{}: the training state lacks `{name}`", output.display())
                    })
                };
                let step = saved.state.step;
                let model = model(buffer("parameters")?)?;
                let (first, second) = (buffer("first_moment")?, buffer("second_moment")?);
                let carried: Carried = serde_json::from_value(saved.state.progress)?;
                let left_out = carried.scaling.map_or(0, |(scale, _)| scale.left_out());
                let taken = step as u32 - left_out;
                let mut optimizer = Optimizer::resume(&model, options, first, second, taken);
                if let Some((scale, norm)) = carried.scaling {
                    optimizer.set_scaling(scale, f32::from_bits(norm));
                }
                (step, model, optimizer, carried)
            }
            (false, Some(_)) => bail!(
                "{}: holds a run already; add --resume to continue it or choose another --output",
                output.display()
            ),
            // Killed before the first checkpoint, or never begun: `--resume` starts it.
            (_, None) => {
                let model = model(&initial)?;
                let optimizer = Optimizer::new(&model, options);
                (0, model, optimizer, Carried::default())
            }
        };
        // All have read what rank 0 is about to replace, and it is the same.
        agree(communicator, step, &fingerprint)?;
        let journal = match communicator.rank() {
            0 => Some(Journal {
                metrics: MetricsFile::open(output, step)?,
                board: TensorBoard::open(output, step)?,
                recorder: Recorder::open(
                    plan,
                    paths,
                    config,
                    precision,
                    data,
                    step,
                    communicator.world_size(),
                ),
            }),
            _ => None,
        };
        let mut run = Self {
            ctx,
            communicator,
            plan,
            paths,
            config: config.clone(),
            fingerprint,
            steps_per_epoch: data.steps_per_epoch(),
            schedule: Schedule {
                peak: plan.learning_rate,
                warmup_steps: plan.warmup_steps,
                total_steps: plan.steps,
            },
            recorded: (paths.record && ctx.can_record() && communicator.world_size() == 1)
                .then(|| RecordedPasses::new(ctx, largest_pass(plan), plan.max_length as usize)),
            model,
            optimizer,
            journal,
            step,
            pending: Vec::new(),
            masked: from_bits(carried.masked),
            next: from_bits(carried.next),
            tokens: carried.tokens,
            first_loss: carried.first_loss.map(f64::from_bits),
            last: carried.last,
        };
        if step == 0 || step == plan.steps {
            // The directory can be loaded from the start, and an output that cannot be written is
            // found before the work. A finished run may have been killed between its last state and
            // its checkpoint.
            run.save()?;
        }
        Ok(run)
    }

    /// One step, of which this rank has a part of each pass; gives the tokens of all ranks, and why the
    /// step was left out if it was. All ranks have the same gradients, and so leave out the same.
    pub fn train(&mut self, passes: &[PretrainBatch]) -> anyhow::Result<(u64, Option<Overflow>)> {
        let scale = self.optimizer.loss_scale();
        let counts = Counts::share(self.communicator, passes)?;
        let mut sum = GradientSum::new(self.communicator, self.ctx, self.model.gradients());
        for (number, part) in passes.iter().enumerate() {
            let sequences = self.plan.batch_size as usize;
            let shares = Shares::pretraining_of(part, counts.masked as usize, sequences);
            let draws = (self.plan.seed, self.step * passes.len() as u64 + number as u64);
            if let Some(recorded) = &mut self.recorded {
                let model = &self.model;
                let losses = recorded.accumulate_gradients(model, part, shares, draws, scale)?;
                self.pending.push(losses);
                continue;
            }
            let inputs = PassInputs::new(&self.config, part, &PassShape::of(part), shares, draws);
            let (device_batch, targets, dropout) =
                inputs.on(&self.config, &inputs.upload(self.ctx), counts.first_token[number]);
            let is_last = number + 1 == passes.len();
            let mut ready = |from| if is_last { sum.ready(from) } else { Ok(()) };
            let losses =
                self.model.last_gradients(&device_batch, &targets, &dropout, scale, &mut ready)?;
            self.pending.push(losses);
        }
        sum.finish()?;
        let overflow = self.optimizer.step(&self.model, self.schedule.learning_rate(self.step))?;
        self.tokens += counts.tokens;
        self.step += 1;
        if let Some(overflow) = &overflow {
            ensure!(!overflow.is_final(), "step {}: {overflow}", self.step);
        }
        Ok((counts.tokens, overflow))
    }

    /// Reads the losses that wait on the device, and adds those of all ranks: pass by pass, so that it
    /// makes no difference when that is done.
    fn settle(&mut self) -> anyhow::Result<()> {
        let mut words = Vec::with_capacity(6 * self.pending.len());
        for losses in self.pending.drain(..) {
            for term in [&losses.masked, &losses.sequence] {
                let tally = match term {
                    Some(term) => term.read(self.ctx)?,
                    None => Tally::default(),
                };
                let (loss, correct, rows) = to_bits(tally);
                words.extend([loss, correct, rows]);
            }
        }
        let ranks = self.communicator.all_gather(&words)?;
        for (number, at) in (0..words.len()).step_by(3).enumerate() {
            let mut tally = Tally::default();
            for words in &ranks {
                tally.add(from_bits((words[at], words[at + 1], words[at + 2])));
            }
            if number % 2 == 0 { self.masked.add(tally) } else { self.next.add(tally) }
        }
        Ok(())
    }

    /// Writes a line of metrics and begins a new interval.
    pub fn log(&mut self) -> anyhow::Result<Line> {
        self.settle()?;
        let line = Line {
            step: self.step,
            mlm_loss: self.masked.mean_loss(),
            mlm_accuracy: self.masked.accuracy(),
            nsp_loss: self.next.mean_loss(),
            nsp_accuracy: self.next.accuracy(),
            learning_rate: self.schedule.learning_rate(self.step - 1),
            gradient_norm: self.optimizer.gradient_norm(self.ctx)?,
            tokens: self.tokens,
            loss_scale: self.optimizer.scaling().map(|scaling| scaling.scale()),
        };
        ensure!(
            line.mlm_loss.is_finite() && line.nsp_loss.is_finite(),
            "the loss is not finite at step {}: lower --learning-rate {} or raise --warmup-steps",
            self.step,
            self.plan.learning_rate
        );
        if let Some(journal) = &mut self.journal {
            journal.append(&line)?;
        }
        self.first_loss.get_or_insert(line.mlm_loss);
        self.last = Some(line);
        (self.masked, self.next) = (Tally::default(), Tally::default());
        Ok(line)
    }

    /// Saves the training state, then the checkpoint that others load: rank 0 does.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.settle()?;
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let (first, second) = self.optimizer.moments();
        let parameters = self.ctx.read_f32(self.model.parameters())?;
        let (first, second) = (self.ctx.read_f32(first)?, self.ctx.read_f32(second)?);
        let scaling = match self.optimizer.scaling() {
            Some(scale) => Some((scale, self.optimizer.gradient_norm(self.ctx)?.to_bits())),
            None => None,
        };
        let carried = Carried {
            masked: to_bits(self.masked),
            next: to_bits(self.next),
            tokens: self.tokens,
            first_loss: self.first_loss.map(f64::to_bits),
            last: self.last,
            scaling,
        };
        let state = TrainerState {
            step: self.step,
            epoch: self.step / self.steps_per_epoch,
            seed: self.plan.seed,
            fingerprint: self.fingerprint.clone(),
            options: serde_json::to_value(self.plan)?,
            progress: serde_json::to_value(carried)?,
        };
        let buffers = [
            ("parameters", parameters.as_slice()),
            ("first_moment", &first),
            ("second_moment", &second),
        ];
        journal.metrics.sync()?;
        let output = &self.paths.output;
        let publish = || {
            let table = self.model.table();
            write_checkpoint(output, &self.config, table, &parameters, &self.paths.data)
        };
        if self.step == 0 {
            // What can be resumed can also be loaded, so the first checkpoint comes before its state.
            publish()?;
        }
        checkpoint::save_state(output, &state, &buffers)?;
        if self.step > 0 {
            publish()?;
        }
        Ok(journal.recorder.write(output, self.step == self.plan.steps)?)
    }
}

/// The largest pass of a plan.
fn largest_pass(plan: &PretrainPlan) -> PassSize {
    let sequences = plan.batch_size.div_ceil(plan.accumulate) as usize;
    let tokens = sequences * plan.max_length as usize;
    let share = PretrainOptions::default().mask_probability;
    PassSize { tokens, sequences, masked: (tokens as f64 * share) as usize }
}

/// The parameters of a pre-trained checkpoint.
fn values_of(dir: &Path, table: &ParameterTable, data: &PretrainData) -> anyhow::Result<Vec<f32>> {
    let tokenizer = TextTokenizer::open(dir)?;
    ensure!(
        tokenizer.hash() == data.tokenizer().hash(),
        "{}: its tokenizer is not the one that the data was prepared with",
        dir.display()
    );
    let loaded = LoadedCheckpoint::open(dir)?;
    if let Some(note) = loaded.missing_note(dir) {
        eprintln!("pretrain: {note}");
    }
    ensure!(
        loaded.task.is_none() && loaded.values().len() == table.len(),
        "{}: expected a pre-trained checkpoint with as many pieces as its vocab.txt",
        dir.display()
    );
    Ok(loaded.values().to_vec())
}
