//! Predictions of an exported model, through `bert-core`: the code, the tokenizer and the arithmetic
//! of the device. Nothing is simulated.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bert_core::Session;
use bert_core::format::{Head, Model};

use super::{OUTSIDE, Prediction, Predictor};
use crate::data::tasks::{Labels, RawExample, TaskKind, TaskLabels};

/// A model file in memory with its scratch.
pub struct DevicePredictor {
    path: PathBuf,
    bytes: Vec<u8>,
    scratch: Vec<u128>,
    task: TaskKind,
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
            Head::Tag { .. } => TaskKind::Tag,
            Head::Joint { .. } => TaskKind::Joint,
            _ => anyhow::bail!("{}: this head is not supported yet", path.display()),
        };
        let scratch_bytes = model.scratch_bytes(usize::from(model.config().max_length));
        Ok(Self {
            path: path.into(),
            scratch: vec![0; scratch_bytes.div_ceil(size_of::<u128>())],
            bytes,
            task,
        })
    }

    /// The labels that the file names.
    ///
    /// # Errors
    ///
    /// Never, since the file was checked when it was opened.
    pub fn labels(&self) -> anyhow::Result<TaskLabels> {
        let model = Model::parse(&self.bytes).with_context(|| self.path.display().to_string())?;
        let names = |labels: &bert_core::format::Labels<'_>| {
            Labels::in_order(labels.iter().map(str::to_string).collect())
        };
        Ok(TaskLabels {
            classes: self.task.has_label().then(|| names(model.labels())),
            tags: self.task.has_tags().then(|| names(model.tags())),
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
}

impl Predictor for DevicePredictor {
    fn task(&self) -> TaskKind {
        self.task
    }

    fn predict(&mut self, examples: &[RawExample]) -> anyhow::Result<Vec<Prediction>> {
        let named = || self.path.display().to_string();
        let model = Model::parse(&self.bytes).with_context(named)?;
        let scratch = bytemuck::cast_slice_mut(&mut self.scratch);
        let mut session = Session::new(&model, scratch).with_context(named)?;
        examples.iter().map(|example| predict_one(&mut session, self.task, example)).collect()
    }
}

fn predict_one(
    session: &mut Session<'_, '_>,
    task: TaskKind,
    example: &RawExample,
) -> anyhow::Result<Prediction> {
    let at_line = || format!("line {}", example.line);
    let mut prediction = Prediction::default();
    let mut mark = |tags: bert_core::Tags<'_, '_>| {
        prediction.tags = vec![OUTSIDE.to_string(); example.words.len()];
        for tag in tags {
            prediction.tags[tag.word as usize] = tag.name.to_string();
        }
    };
    let words: Vec<&str> = (0..example.words.len()).map(|index| example.word(index)).collect();
    match task {
        TaskKind::Classify => {
            let answer = session.classify(&example.text).with_context(at_line)?;
            prediction.label = Some(answer.name().to_string());
        }
        TaskKind::Tag => mark(session.tag_words(&words).with_context(at_line)?),
        TaskKind::Joint => {
            let answer = session.joint_words(&words).with_context(at_line)?;
            let label = answer.label.name().to_string();
            mark(answer.tags);
            prediction.label = Some(label);
        }
    }
    Ok(prediction)
}
