//! From a checkpoint directory to the values of a flat buffer, and back.

use std::path::Path;

use anyhow::{bail, ensure};

use super::{Head, Parameter, ParameterTable, fill_initial};
use crate::checkpoint::{self, TensorSpec};
use crate::config::Config;
use crate::data::tasks::{Labels, TaskKind, TaskLabels};

/// The class that `transformers` (or, for the joint model, this project) gives to a head.
pub fn architecture(head: Head) -> &'static str {
    match head {
        Head::Pretraining => "BertForPreTraining",
        Head::Classify { .. } => "BertForSequenceClassification",
        Head::Tag { .. } => "BertForTokenClassification",
        Head::Joint { .. } => "BertForJointIntentAndSlots",
    }
}

/// What a checkpoint predicts, by its configuration; `None` if it is a task's.
pub fn head_of_config(config: &Config, path: &Path) -> anyhow::Result<(Head, Option<TaskKind>)> {
    let labels = config.labels.as_ref().map_or(0, Vec::len);
    let intents = config.intent_labels.as_ref().map_or(0, Vec::len);
    let class = config.architectures.iter().flatten().next().map_or("", String::as_str);
    let found = match class {
        "BertForPreTraining" | "BertForMaskedLM" | "BertModel" | "" => (Head::Pretraining, None),
        "BertForSequenceClassification" => (Head::Classify { labels }, Some(TaskKind::Classify)),
        "BertForTokenClassification" => (Head::Tag { labels }, Some(TaskKind::Tag)),
        "BertForJointIntentAndSlots" => {
            (Head::Joint { intents, slots: labels }, Some(TaskKind::Joint))
        }
        other => bail!("{}: architecture {other} is not supported", path.display()),
    };
    if found.1.is_some() {
        ensure!(labels > 0, "{}: config.json has no id2label", path.display());
    }
    Ok(found)
}

/// The label sets of a task's checkpoint.
pub fn labels_of_config(config: &Config, task: TaskKind) -> TaskLabels {
    let labels = || config.labels.clone().map(Labels::in_order);
    let intents = || config.intent_labels.clone().map(Labels::in_order);
    match task {
        TaskKind::Classify => TaskLabels { classes: labels(), tags: None },
        TaskKind::Tag => TaskLabels { classes: None, tags: labels() },
        TaskKind::Joint => TaskLabels { classes: intents(), tags: labels() },
    }
}

/// The tensors of a table as a checkpoint names them.
pub fn tensor_specs(table: &ParameterTable) -> Vec<TensorSpec> {
    let spec = |parameter: &Parameter| TensorSpec {
        name: parameter.name.clone(),
        shape: parameter.shape.clone(),
    };
    table.parameters().iter().map(spec).collect()
}

/// A checkpoint as it lies in a directory: configuration, head, and tensors by name.
pub struct LoadedCheckpoint {
    /// `config.json`.
    pub config: Config,
    /// The head that the configuration names.
    pub head: Head,
    /// The task with its labels; `None` for a pre-trained model.
    pub task: Option<(TaskKind, TaskLabels)>,
    /// Tensors that the file lacks and that got initial values.
    pub missing: Vec<String>,
    table: ParameterTable,
    values: Vec<f32>,
}

impl LoadedCheckpoint {
    /// Reads a checkpoint with the head that its configuration names. A pre-trained model may lack
    /// heads and pooler, which are then initialized; a task's model must be complete.
    ///
    /// # Errors
    ///
    /// What is missing, damaged or unsupported, naming the file.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let config = checkpoint_config(dir)?;
        let (head, task) = head_of_config(&config, dir)?;
        let optional = |name: &str| task.is_none() && is_head(name);
        let task = task.map(|task| (task, labels_of_config(&config, task)));
        Self::read(dir, config, head, task, optional, 0)
    }

    /// Reads the encoder of a checkpoint under a new head, whose values are drawn from `seed`.
    ///
    /// # Errors
    ///
    /// What is missing, damaged or unsupported, naming the file.
    pub fn with_new_head(
        dir: &Path,
        config: Config,
        head: Head,
        task: (TaskKind, TaskLabels),
        seed: u64,
    ) -> anyhow::Result<Self> {
        Self::read(dir, config, head, Some(task), is_head, seed)
    }

    fn read(
        dir: &Path,
        config: Config,
        head: Head,
        task: Option<(TaskKind, TaskLabels)>,
        optional: impl Fn(&str) -> bool,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let table = ParameterTable::new(&config, &head);
        let found = checkpoint::read(dir, &tensor_specs(&table), optional)?;
        let mut values = vec![0.0; table.len()];
        for parameter in table.parameters() {
            let place = &mut values[parameter.range()];
            match found.tensors.get(&parameter.name) {
                Some(tensor) => place.copy_from_slice(tensor),
                None => fill_initial(place, parameter, &config, seed),
            }
        }
        Ok(Self { config, head, task, missing: found.missing, table, values })
    }

    /// The values with the layout of [`ParameterTable::new`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of a tensor, row-major.
    ///
    /// # Errors
    ///
    /// If this head has no such tensor.
    pub fn tensor(&self, name: &str) -> anyhow::Result<&[f32]> {
        match self.table.find(name) {
            Some(parameter) => Ok(&self.values[parameter.range()]),
            None => bail!("the model has no tensor {name}"),
        }
    }
}

/// The configuration of a checkpoint directory.
///
/// # Errors
///
/// If the directory or its `config.json` is missing or unusable.
pub fn checkpoint_config(dir: &Path) -> anyhow::Result<Config> {
    ensure!(dir.is_dir(), "{}: expected a checkpoint directory", dir.display());
    Ok(Config::load(dir)?)
}

/// Writes a model's parameters as a Hugging Face directory.
///
/// # Errors
///
/// If the directory holds another model or cannot be written.
pub fn write_checkpoint(
    dir: &Path,
    config: &Config,
    table: &ParameterTable,
    values: &[f32],
    tokenizer: &Path,
) -> anyhow::Result<()> {
    let specs = tensor_specs(table);
    let slices = table.parameters().iter().map(|parameter| &values[parameter.range()]);
    checkpoint::write(dir, config, specs.iter().zip(slices), tokenizer)?;
    Ok(())
}

/// Whether a tensor belongs to what stands on the encoder. The pooler counts: `BertModel` files and
/// taggers may lack it.
fn is_head(name: &str) -> bool {
    !name.starts_with("bert.embeddings.") && !name.starts_with("bert.encoder.")
}
