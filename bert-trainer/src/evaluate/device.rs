//! Predictions of an exported model, through `bert-core`: the code, the tokenizer and the arithmetic
//! of the device. Nothing is simulated.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use bert_core::format::{Head, Model};
use bert_core::{AnswerOptions, Classification, Session};

use super::{ANSWERS, OUTSIDE, Prediction, Predictor};
use crate::data::tasks::{Labels, RawExample, TaskKind, TaskLabels};

/// A model file in memory with its scratch.
pub struct DevicePredictor {
    path: PathBuf,
    bytes: Vec<u8>,
    scratch: Vec<u128>,
    task: TaskKind,
    answers: AnswerOptions,
}

/// Rounds over the examples at most.
const ROUNDS: u32 = 5;
/// A further round begins only if it is likely to end within this time.
const SECONDS: f64 = 60.0;

/// How long examples took on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The kernels that ran.
    pub kernels: &'static str,
    /// How often each example was run.
    pub rounds: u32,
    /// The shortest time of each example, in seconds.
    pub seconds: Vec<f64>,
}

impl DevicePredictor {
    /// Reads and checks a model file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not a whole model file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("{}: cannot read the model file", path.display()))?;
        Self::from_bytes(path, bytes)
    }

    /// Checks the bytes of a model file; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If the bytes are not a whole model file.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> anyhow::Result<Self> {
        let model = Model::parse(&bytes).with_context(|| path.display().to_string())?;
        let task = match model.config().head {
            Head::Classify { .. } => TaskKind::Classify,
            Head::MultiLabel { .. } => TaskKind::MultiLabel,
            Head::PairClassify { .. } => TaskKind::Pair,
            Head::Regress { .. } => TaskKind::Regress,
            Head::Span => TaskKind::Span,
            Head::Tag { .. } => TaskKind::Tag,
            Head::Joint { .. } => TaskKind::Joint,
            _ => anyhow::bail!("{}: a model without a task", path.display()),
        };
        let scratch_bytes = model.scratch_bytes(usize::from(model.config().max_length));
        Ok(Self {
            path: path.into(),
            scratch: vec![0; scratch_bytes.div_ceil(size_of::<u128>())],
            bytes,
            task,
            answers: AnswerOptions::default(),
        })
    }

    /// The model file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Size of the model file.
    pub fn model_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Memory the device needs beside it, for texts of the model's maximal length.
    pub fn scratch_bytes(&self) -> usize {
        size_of_val(self.scratch.as_slice())
    }

    /// Runs all examples in up to five rounds, fewer where those take longer than a minute, and keeps
    /// the shortest time of each: what else the machine does only ever adds.
    ///
    /// # Errors
    ///
    /// As [`Predictor::predict`].
    pub fn time(&mut self, examples: &[RawExample]) -> anyhow::Result<Timing> {
        let named = || self.path.display().to_string();
        let model = Model::parse(&self.bytes).with_context(named)?;
        let scratch = bytemuck::cast_slice_mut(&mut self.scratch);
        let mut session = Session::new(&model, scratch).with_context(named)?;
        let (start, mut rounds) = (Instant::now(), 0);
        let mut seconds = vec![f64::INFINITY; examples.len()];
        loop {
            for (example, best) in examples.iter().zip(&mut seconds) {
                let start = Instant::now();
                predict_one(&mut session, self.task, example, &self.answers)
                    .with_context(|| format!("line {}", example.line))?;
                *best = best.min(start.elapsed().as_secs_f64());
            }
            rounds += 1;
            let spent = start.elapsed().as_secs_f64();
            if rounds == ROUNDS || spent + spent / f64::from(rounds) > SECONDS {
                return Ok(Timing { kernels: session.kernels().name(), rounds, seconds });
            }
        }
    }
}

impl Predictor for DevicePredictor {
    fn task(&self) -> TaskKind {
        self.task
    }

    fn labels(&self) -> anyhow::Result<TaskLabels> {
        let model = Model::parse(&self.bytes).with_context(|| self.path.display().to_string())?;
        let names = |labels: &bert_core::format::Labels<'_>| {
            Labels::in_order(labels.iter().map(str::to_string).collect())
        };
        Ok(TaskLabels {
            classes: self.task.has_classes().then(|| names(model.labels())),
            tags: self.task.has_tags().then(|| names(model.tags())),
        })
    }

    fn set_answer_options(&mut self, options: AnswerOptions) {
        self.answers = options;
    }

    fn predict(&mut self, examples: &[RawExample]) -> anyhow::Result<Vec<Prediction>> {
        let named = || self.path.display().to_string();
        let model = Model::parse(&self.bytes).with_context(named)?;
        let scratch = bytemuck::cast_slice_mut(&mut self.scratch);
        let mut session = Session::new(&model, scratch).with_context(named)?;
        let (task, options) = (self.task, self.answers);
        examples
            .iter()
            .map(|example| {
                predict_one(&mut session, task, example, &options)
                    .with_context(|| format!("line {}", example.line))
            })
            .collect()
    }
}

fn predict_one(
    session: &mut Session<'_, '_>,
    task: TaskKind,
    example: &RawExample,
    options: &AnswerOptions,
) -> Result<Prediction, bert_core::Error> {
    let text = &example.text;
    let second = example.second.as_deref();
    let words: Vec<&str> = (0..example.words.len()).map(|index| example.word(index)).collect();
    Ok(match (task, second) {
        (TaskKind::Pair, _) => labelled(&session.classify_pair(text, second.unwrap_or(""))?),
        (TaskKind::Classify, _) => labelled(&session.classify(text)?),
        (TaskKind::MultiLabel, _) => {
            let answer = session.classify_labels(text)?;
            let labels = answer.above(0.5);
            Prediction {
                labels: labels.map(|label| label.name.to_string()).collect(),
                probabilities: answer.all().map(|label| label.probability).collect(),
                ..Prediction::default()
            }
        }
        (TaskKind::Regress, Some(second)) => number(&session.regress_pair(text, second)?),
        (TaskKind::Regress, None) => number(&session.regress(text)?),
        (TaskKind::Tag, _) => {
            Prediction { tags: tagged(session.tag_words(&words)?, &words), ..Prediction::default() }
        }
        (TaskKind::Joint, _) => {
            let answer = session.joint_words(&words)?;
            let mut prediction = labelled(&answer.label);
            prediction.tags = tagged(answer.tags, &words);
            prediction
        }
        (TaskKind::Span, _) => {
            let context = second.unwrap_or("");
            let answers = session.answer::<ANSWERS>(text, context, options)?;
            Prediction::of_answers(&answers, context)
        }
    })
}

fn labelled(answer: &Classification<'_, '_>) -> Prediction {
    Prediction {
        label: Some(answer.name().to_string()),
        probabilities: answer.probabilities().map(|(_, probability)| probability).collect(),
        ..Prediction::default()
    }
}

fn number(answer: &bert_core::Regression<'_>) -> Prediction {
    let value = answer.values.first().copied().map(f64::from);
    Prediction { value, ..Prediction::default() }
}

fn tagged(tags: bert_core::Tags<'_, '_>, words: &[&str]) -> Vec<String> {
    let mut names = vec![OUTSIDE.to_string(); words.len()];
    for tag in tags {
        names[tag.word as usize] = tag.name.to_string();
    }
    names
}
