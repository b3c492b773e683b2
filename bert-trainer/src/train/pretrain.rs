//! Pre-training: masked language model and next sentence prediction.
//!
//! A run is a pure function of (config, data, options, seed): batches, masks and dropout are counter
//! draws, so a run that was killed and resumed writes the same `metrics.jsonl` and the same weights,
//! bit for bit, as one that was not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use bert_kernels::{Context, KernelError};
use serde::{Deserialize, Serialize};

use super::record::Recorder;
use super::{Optimizer, OptimizerOptions, Prefetch, Schedule};
use crate::checkpoint::{self, TrainerState};
use crate::config::Config;
use crate::data::{PretrainBatch, PretrainData, PretrainOptions, TextTokenizer};
use crate::log::{MetricsFile, Progress, TensorBoard};
use crate::model::{
    DeviceBatch, DropoutPlan, Head, LoadedCheckpoint, Losses, Model, ParameterTable, Precision,
    Shares, Tally, Targets, architecture, initial_values, write_checkpoint,
};

/// Everything that decides the result of a run, and is therefore compared on resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainPlan {
    /// Optimizer steps.
    pub steps: u64,
    /// Sequences a step.
    pub batch_size: u32,
    /// Tokens of a sequence at most.
    pub max_length: u32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether all pieces of a word are masked together.
    pub whole_word: bool,
    /// Steps between lines of `metrics.jsonl`.
    pub log_steps: u64,
    /// Passes that the batch of a step is cut into, to need less memory at once; each has dropout of
    /// its own. A run of one pass a step is the same run as before there were several.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: u32,
}

fn one() -> u32 {
    1
}

fn is_one(passes: &u32) -> bool {
    *passes == 1
}

/// Where a run reads and writes, how often, and what it keeps in memory: nothing of it changes a bit of
/// the result.
#[derive(Debug, Clone)]
pub struct PretrainPaths {
    /// What `prepare` wrote.
    pub data: PathBuf,
    /// Checkpoint whose parameters the run begins with, instead of random ones.
    pub model: Option<PathBuf>,
    /// The checkpoint directory.
    pub output: PathBuf,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Stop with a checkpoint after this many seconds.
    pub max_seconds: Option<f64>,
    /// Go on from the checkpoint in `output`.
    pub resume: bool,
    /// Compute the layers again in the backward pass instead of keeping what they computed.
    pub recompute: bool,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PretrainSummary {
    /// Steps taken in all, earlier parts of a resumed run included.
    pub steps: u64,
    /// Mean MLM loss of the first logged interval, nats.
    pub mlm_loss_first: f64,
    /// Mean MLM loss of the last logged interval, nats.
    pub mlm_loss: f64,
    /// Share of masked tokens predicted right in the last interval.
    pub mlm_accuracy: f64,
    /// Mean NSP loss of the last interval, nats.
    pub nsp_loss: f64,
    /// Share of next-sentence questions answered right in the last interval.
    pub nsp_accuracy: f64,
    /// Entropy of the corpus' tokens, nats: what a model without context reaches.
    pub mlm_unigram_loss: f64,
    /// Tokens trained on in this process.
    pub tokens: u64,
    /// Tokens a second in this process.
    pub tokens_per_second: f64,
    /// Seconds of this process.
    pub seconds: f64,
}

/// Pre-trains and writes the checkpoint.
///
/// # Errors
///
/// Bad data or a checkpoint of another run, named with the expectation; a loss that is not finite;
/// what the device reports.
pub fn pretrain(
    ctx: &Context,
    config: &Config,
    precision: Precision,
    plan: &PretrainPlan,
    paths: &PretrainPaths,
) -> anyhow::Result<PretrainSummary> {
    let start = Instant::now();
    let data = Arc::new(PretrainData::open(&paths.data, data_options(plan))?);
    let unigram = data.shards().manifest().unigram_entropy;
    let mut config = config.clone();
    config.vocab_size = data.tokenizer().vocabulary_size() as usize;
    config.architectures = Some(vec![architecture(Head::Pretraining).to_string()]);
    ensure!(
        plan.max_length as usize <= config.max_position_embeddings,
        "--max-length {}: the config has {} positions",
        plan.max_length,
        config.max_position_embeddings
    );
    ensure!(
        (1..=plan.batch_size).contains(&plan.accumulate),
        "--accumulate {}: expected at least 1 and at most the {} sequences of --batch-size",
        plan.accumulate,
        plan.batch_size
    );
    let mut run = Run::open(ctx, &data, &config, precision, plan, paths)?;

    let mut progress = Progress::new("pretrain", plan.steps);
    let first_step = run.step;
    progress.start_at(first_step);
    let source = Arc::clone(&data);
    let batches = Prefetch::new(first_step..plan.steps, move |step| source.batch(step));
    let mut tokens = 0;
    for batch in batches {
        let batch = batch?;
        run.train(&batch)?;
        tokens += batch.tokens.tokens() as u64;
        progress.step(run.step, batch.tokens.tokens() as u64);
        let last = run.step == plan.steps;
        if run.step % plan.log_steps == 0 || last {
            let line = run.log()?;
            progress.show(&format!(
                "mlm {:.3} ({:.1} %) nsp {:.3} ({:.1} %)",
                line.mlm_loss,
                line.mlm_accuracy * 100.0,
                line.nsp_loss,
                line.nsp_accuracy * 100.0
            ));
        }
        let late = paths.max_seconds.is_some_and(|most| start.elapsed().as_secs_f64() > most);
        if run.step % paths.save_steps == 0 || last || late {
            run.save()?;
        }
        if late {
            break;
        }
    }
    progress.finish();
    let seconds = start.elapsed().as_secs_f64();
    let last = run.last.unwrap_or_default();
    Ok(PretrainSummary {
        steps: run.step,
        mlm_loss_first: run.first_loss.unwrap_or(last.mlm_loss),
        mlm_loss: last.mlm_loss,
        mlm_accuracy: last.mlm_accuracy,
        nsp_loss: last.nsp_loss,
        nsp_accuracy: last.nsp_accuracy,
        mlm_unigram_loss: unigram,
        tokens,
        tokens_per_second: tokens as f64 / seconds,
        seconds,
    })
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

/// How a plan reads its data.
fn data_options(plan: &PretrainPlan) -> PretrainOptions {
    PretrainOptions {
        seed: plan.seed,
        max_length: plan.max_length as usize,
        batch_size: plan.batch_size as usize,
        whole_word: plan.whole_word,
        ..PretrainOptions::default()
    }
}

/// A line of `metrics.jsonl`: means over the steps since the line before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    step: u64,
    mlm_loss: f64,
    mlm_accuracy: f64,
    nsp_loss: f64,
    nsp_accuracy: f64,
    learning_rate: f32,
    gradient_norm: f32,
    tokens: u64,
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
}

fn to_bits(tally: Tally) -> (u64, u64, u64) {
    (tally.loss.to_bits(), tally.correct, tally.rows)
}

fn from_bits((loss, correct, rows): (u64, u64, u64)) -> Tally {
    Tally { loss: f64::from_bits(loss), correct, rows }
}

/// A run in progress.
struct Run<'a> {
    ctx: &'a Context,
    plan: &'a PretrainPlan,
    paths: &'a PretrainPaths,
    config: Config,
    fingerprint: String,
    steps_per_epoch: u64,
    schedule: Schedule,
    model: Model,
    optimizer: Optimizer,
    metrics: MetricsFile,
    board: TensorBoard,
    recorder: Recorder,
    step: u64,
    /// Losses on the device, not yet read.
    pending: Vec<Losses>,
    masked: Tally,
    next: Tally,
    tokens: u64,
    first_loss: Option<f64>,
    last: Option<Line>,
}

impl<'a> Run<'a> {
    fn open(
        ctx: &'a Context,
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
        let saved = checkpoint::load_latest_state(output)?;
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
                let optimizer = Optimizer::resume(&model, options, first, second, step as u32);
                let carried: Carried = serde_json::from_value(saved.state.progress)?;
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
        let mut run = Self {
            ctx,
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
            model,
            optimizer,
            metrics: MetricsFile::open(output, step)?,
            board: TensorBoard::open(output, step)?,
            recorder: Recorder::open(plan, paths, config, precision, data, step),
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

    fn train(&mut self, batch: &PretrainBatch) -> anyhow::Result<()> {
        let passes = u64::from(self.plan.accumulate);
        for (number, part) in (0..).zip(batch.split(passes as usize)) {
            let device_batch = DeviceBatch::upload(self.ctx, &part.tokens);
            let shares = Shares::pretraining(&part, batch);
            let targets = Targets { shares, ..Targets::pretraining(self.ctx, &part) };
            let pass = self.step * passes + number;
            let dropout = DropoutPlan::training(&self.config, self.plan.seed, pass);
            let losses = self.model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0)?;
            self.pending.push(losses);
        }
        self.optimizer.step(&self.model, self.schedule.learning_rate(self.step))?;
        self.tokens += batch.tokens.tokens() as u64;
        self.step += 1;
        Ok(())
    }

    /// Reads the losses that wait on the device.
    fn settle(&mut self) -> anyhow::Result<()> {
        for losses in self.pending.drain(..) {
            if let Some(term) = &losses.masked {
                self.masked.add(term.read(self.ctx)?);
            }
            if let Some(term) = &losses.sequence {
                self.next.add(term.read(self.ctx)?);
            }
        }
        Ok(())
    }

    /// Writes a line of metrics and begins a new interval.
    fn log(&mut self) -> anyhow::Result<Line> {
        self.settle()?;
        let norm = self.ctx.read_f32(self.optimizer.gradient_norm())?;
        let line = Line {
            step: self.step,
            mlm_loss: self.masked.mean_loss(),
            mlm_accuracy: self.masked.accuracy(),
            nsp_loss: self.next.mean_loss(),
            nsp_accuracy: self.next.accuracy(),
            learning_rate: self.schedule.learning_rate(self.step - 1),
            gradient_norm: norm.first().copied().unwrap_or(0.0),
            tokens: self.tokens,
        };
        ensure!(
            line.mlm_loss.is_finite() && line.nsp_loss.is_finite(),
            "the loss is not finite at step {}: lower --learning-rate {} or raise --warmup-steps",
            self.step,
            self.plan.learning_rate
        );
        self.metrics.append(&line)?;
        for (tag, value) in [
            ("loss/mlm", line.mlm_loss),
            ("loss/nsp", line.nsp_loss),
            ("accuracy/mlm", line.mlm_accuracy),
            ("accuracy/nsp", line.nsp_accuracy),
            ("learning_rate", f64::from(line.learning_rate)),
            ("gradient_norm", f64::from(line.gradient_norm)),
        ] {
            self.board.scalar(self.step, tag, value as f32)?;
        }
        self.first_loss.get_or_insert(line.mlm_loss);
        self.last = Some(line);
        (self.masked, self.next) = (Tally::default(), Tally::default());
        Ok(line)
    }

    /// Saves the training state, then the checkpoint that others load.
    fn save(&mut self) -> anyhow::Result<()> {
        self.settle()?;
        let (first, second) = self.optimizer.moments();
        let parameters = self.ctx.read_f32(self.model.parameters())?;
        let (first, second) = (self.ctx.read_f32(first)?, self.ctx.read_f32(second)?);
        let carried = Carried {
            masked: to_bits(self.masked),
            next: to_bits(self.next),
            tokens: self.tokens,
            first_loss: self.first_loss.map(f64::to_bits),
            last: self.last,
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
        self.metrics.sync()?;
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
        Ok(self.recorder.write(output, self.step == self.plan.steps)?)
    }
}
