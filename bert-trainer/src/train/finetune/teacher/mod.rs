//! Knowledge distillation: a larger model that is fine-tuned for the same task says of every training
//! example what it thinks, and the student learns from that beside the labels.
//!
//! Logits are computed once, before training, and kept in memory: a text has as many as there are
//! labels. Hidden states would be H values a token, so they are computed anew with every batch.

mod kept;
mod same;

use anyhow::ensure;
use bert_kernels::{Buffer, Context};

use self::kept::Kept;
use self::same::{Columns, check_task, columns};
use super::FinetunePlan;
use crate::data::TextTokenizer;
use crate::data::tasks::{EncodeOptions, RawExample, TaskData, TaskKind, TaskLabels};
use crate::log::Progress;
use crate::model::{DeviceBatch, LoadedCheckpoint, Model, Targets, Teaching};

/// Sequences that the teacher reads at once.
const BATCH: usize = 64;

/// What a student learns of.
#[derive(Clone, Copy)]
pub(super) struct Student<'a> {
    pub labels: &'a TaskLabels,
    pub tokenizer: &'a TextTokenizer,
    /// Tokens of a sequence at most.
    pub options: EncodeOptions,
    /// The training examples.
    pub raw: &'a [RawExample],
    /// The same as the student reads them.
    pub data: &'a TaskData,
}

/// A teacher with what it says of the training examples.
pub(super) struct Teacher {
    weight: f32,
    /// Kept for its hidden states alone.
    model: Option<Model>,
    sequence: Option<Kept>,
    words: Option<Kept>,
    spans: Option<Kept>,
}

impl Teacher {
    /// Opens the checkpoint that the plan names, if any, and lets it read the training examples.
    ///
    /// # Errors
    ///
    /// A checkpoint of another task, of other labels or, where tokens are compared, of another
    /// tokenizer; what the device reports.
    pub fn open(
        ctx: &Context,
        plan: &FinetunePlan,
        student: Student<'_>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(distillation) = &plan.distillation else {
            return Ok(None);
        };
        let (dir, weight) = (&distillation.teacher, distillation.weight);
        ensure!(
            (0.0..=1.0).contains(&weight),
            "--distill-weight {weight}: expected a value in [0, 1]"
        );
        let mut checkpoint = LoadedCheckpoint::open(dir)?;
        checkpoint.read_as(plan.task);
        let labels = check_task(dir, plan.task, checkpoint.task.as_ref())?;
        let columns = columns(dir, student.labels, labels)?;

        let tokenizer = TextTokenizer::open(dir)?;
        let (own, config) = (student.tokenizer, &checkpoint.config);
        let is_same = tokenizer.pieces() == own.pieces() && tokenizer.config() == own.config();
        let by_token = if distillation.hidden {
            Some("--distill-hidden compares tokens")
        } else if plan.task.has_tags() || plan.task == TaskKind::Span {
            Some("this task has an output for every token")
        } else {
            None
        };
        if let Some(reason) = by_token {
            ensure!(
                is_same,
                "{}: another tokenizer than that of {}; {reason}",
                dir.display(),
                plan.model.display()
            );
            let (asked, positions) = (student.options.max_length, config.max_position_embeddings);
            ensure!(
                asked <= positions,
                "--max-length {asked}: the teacher {} has {positions} positions; {reason}",
                dir.display()
            );
        }
        ensure!(
            tokenizer.vocabulary_size() as usize <= config.vocab_size,
            "{}: vocab.txt has {} pieces, but config.json says vocab_size {}",
            dir.display(),
            tokenizer.vocabulary_size(),
            config.vocab_size
        );

        let (head, values) = (checkpoint.head, checkpoint.values());
        let model = Model::new(ctx, config, head, plan.precision, values)?;
        let mut teacher = Self {
            weight,
            model: None,
            sequence: head.has_pooler().then(Kept::default),
            words: plan.task.has_tags().then(Kept::default),
            spans: (plan.task == TaskKind::Span).then(Kept::default),
        };
        if is_same && student.options.max_length <= config.max_position_embeddings {
            teacher.read(&model, student.data, &columns)?;
        } else {
            // Of a text as a whole there is one answer, however it is cut into tokens.
            let options =
                EncodeOptions { max_length: config.max_position_embeddings, ..student.options };
            let (raw, labels) = (student.raw, student.labels);
            let data = TaskData::encode(&plan.train, raw, plan.task, labels, &tokenizer, options)?;
            teacher.read(&model, &data, &columns)?;
        }
        teacher.model = distillation.hidden.then_some(model);
        Ok(Some(teacher))
    }

    /// Keeps the logits of all sequences.
    fn read(&mut self, model: &Model, data: &TaskData, columns: &Columns) -> anyhow::Result<()> {
        let ctx = model.context();
        let segments = data.examples.iter().flat_map(|example| &example.segments).max();
        let known = model.config().type_vocab_size;
        ensure!(
            segments.is_none_or(|&segment| (segment as usize) < known),
            "the teacher knows {known} segment, the examples are two texts"
        );
        let batches = data.in_order(BATCH);
        let mut progress = Progress::new("teacher", batches.len() as u64);
        for (step, indices) in batches.iter().enumerate() {
            let batch = data.batch(indices);
            let device_batch = DeviceBatch::upload(ctx, &batch.tokens);
            let targets = Targets::task(ctx, model.head(), &batch);
            let (_, logits) = model.evaluate(&device_batch, &targets)?;
            let examples = || indices.iter().map(|&index| &data.examples[index as usize]);
            if let Some(kept) = &mut self.sequence {
                kept.add(&read(ctx, &logits.sequence)?, &columns.classes, examples().map(|_| 1));
            }
            if let Some(kept) = &mut self.words {
                let words = examples().map(|example| example.word_starts.len());
                kept.add(&read(ctx, &logits.words)?, &columns.tags, words);
            }
            if let Some(kept) = &mut self.spans {
                let tokens = examples().map(|example| example.ids.len());
                kept.add(&read(ctx, &logits.spans)?, &[0, 1], tokens);
            }
            progress.step(step as u64 + 1, batch.tokens.tokens() as u64);
        }
        progress.finish();
        Ok(())
    }

    /// What the teacher says of a batch of the training examples `indices`.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn teaching(
        &self,
        ctx: &Context,
        indices: &[u32],
        batch: &DeviceBatch,
    ) -> anyhow::Result<Teaching> {
        let of = |kept: &Option<Kept>| Some(ctx.upload_f32(&kept.as_ref()?.rows(indices)));
        let hidden = match &self.model {
            Some(model) => model.evaluate(batch, &Targets::default())?.1.hidden.pop(),
            None => None,
        };
        Ok(Teaching {
            weight: self.weight,
            sequence: of(&self.sequence),
            words: of(&self.words),
            spans: of(&self.spans),
            hidden,
        })
    }

    /// w, the weight of what the teacher says.
    pub fn weight(&self) -> f32 {
        self.weight
    }

    /// Width of the teacher's hidden states, where they are learned and are not `hidden` wide.
    pub fn projection(&self, hidden: usize) -> Option<usize> {
        let width = self.model.as_ref()?.config().hidden_size;
        (width != hidden).then_some(width)
    }
}

fn read(ctx: &Context, logits: &Option<Buffer>) -> anyhow::Result<Vec<f32>> {
    Ok(match logits {
        Some(logits) => ctx.read_f32(logits)?,
        None => Vec::new(),
    })
}
