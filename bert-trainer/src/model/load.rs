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
        Head::Classify { .. } | Head::MultiLabel { .. } | Head::Regress { .. } => {
            "BertForSequenceClassification"
        }
        Head::Tag { .. } => "BertForTokenClassification",
        Head::Joint { .. } => "BertForJointIntentAndSlots",
        Head::Span => "BertForQuestionAnswering",
        Head::Encoder => "BertModel",
    }
}

/// The key of `config.json` that names a task where the class does not tell, as `transformers` once
/// called it.
const TASK_KEY: &str = "finetuning_task";

/// Says in `config` what a model predicts, under the names that `transformers` knows.
pub fn name_task(config: &mut Config, kind: TaskKind, labels: &TaskLabels) {
    let names = |labels: &Labels| labels.names().to_vec();
    let (classes, tags) = (labels.classes.as_ref().map(names), labels.tags.as_ref().map(names));
    (config.labels, config.intent_labels) = match kind {
        TaskKind::Joint => (tags, classes),
        TaskKind::Regress => (Some(vec!["value".into()]), None),
        _ => (tags.or(classes), None),
    };
    config.problem_type = match kind {
        TaskKind::Classify | TaskKind::Pair => Some("single_label_classification".into()),
        TaskKind::MultiLabel => Some("multi_label_classification".into()),
        TaskKind::Regress => Some("regression".into()),
        _ => None,
    };
    config.architectures = Some(vec![architecture(head_of(kind, labels)).to_string()]);
    config.extra.insert(TASK_KEY.into(), kind.name().into());
}

/// The head that learns a task with these labels.
pub fn head_of(kind: TaskKind, labels: &TaskLabels) -> Head {
    let count = |labels: &Option<Labels>| labels.as_ref().map_or(0, Labels::len);
    let (classes, tags) = (count(&labels.classes), count(&labels.tags));
    match kind {
        TaskKind::Classify | TaskKind::Pair => Head::Classify { labels: classes },
        TaskKind::MultiLabel => Head::MultiLabel { labels: classes },
        TaskKind::Regress => Head::Regress { outputs: 1 },
        TaskKind::Tag => Head::Tag { labels: tags },
        TaskKind::Joint => Head::Joint { intents: classes, slots: tags },
        TaskKind::Span => Head::Span,
    }
}

/// The task of a configuration with its labels; `None` for a pre-trained model.
pub fn task_of_config(
    config: &Config,
    path: &Path,
) -> anyhow::Result<Option<(TaskKind, TaskLabels)>> {
    let class = config.architectures.iter().flatten().next().map_or("", String::as_str);
    let named = config.extra.get(TASK_KEY).and_then(|name| TaskKind::from_name(name.as_str()?));
    // Two labels are so usual that `transformers` does not write them down.
    let labels = || {
        let unnamed = || vec!["LABEL_0".to_string(), "LABEL_1".to_string()];
        Labels::in_order(config.labels.clone().unwrap_or_else(unnamed))
    };
    let classes = |kind| Ok(Some((kind, TaskLabels { classes: Some(labels()), tags: None })));
    match class {
        "BertForPreTraining"
        | "BertForMaskedLM"
        | "BertForNextSentencePrediction"
        | "BertModel"
        | "" => Ok(None),
        "BertForSequenceClassification" => match config.problem_type.as_deref() {
            Some("multi_label_classification") => classes(TaskKind::MultiLabel),
            Some("single_label_classification") if named == Some(TaskKind::Pair) => {
                classes(TaskKind::Pair)
            }
            Some("single_label_classification") => classes(TaskKind::Classify),
            // One output without a word on it is a number, as `transformers` takes it.
            Some("regression") | None if labels().len() == 1 => {
                Ok(Some((TaskKind::Regress, TaskLabels::default())))
            }
            Some("regression") => bail!(
                "{}: regression of {} numbers is not supported, expected one",
                path.display(),
                labels().len()
            ),
            None => classes(TaskKind::Classify),
            Some(other) => bail!("{}: problem_type {other} is not supported", path.display()),
        },
        "BertForTokenClassification" => {
            Ok(Some((TaskKind::Tag, TaskLabels { classes: None, tags: Some(labels()) })))
        }
        "BertForJointIntentAndSlots" => match (&config.intent_labels, &config.labels) {
            (Some(intents), Some(slots)) => {
                let ordered = |names: &Vec<String>| Some(Labels::in_order(names.clone()));
                let labels = TaskLabels { classes: ordered(intents), tags: ordered(slots) };
                Ok(Some((TaskKind::Joint, labels)))
            }
            _ => bail!("{}: config.json lacks id2label or intent_id2label", path.display()),
        },
        "BertForQuestionAnswering" => Ok(Some((TaskKind::Span, TaskLabels::default()))),
        other => bail!("{}: architecture {other} is not supported", path.display()),
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
    /// Tensors that the file lacks and that got initial values; a new head's are not among them.
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
        let task = task_of_config(&config, dir)?;
        let head = task.as_ref().map_or(Head::Pretraining, |(kind, labels)| head_of(*kind, labels));
        let optional = |name: &str| head == Head::Pretraining && is_head(name);
        Self::read(dir, config, head, task, |_| true, optional, 0)
    }

    /// Reads the encoder of a checkpoint, whatever stands on it: also heads that have no task here.
    ///
    /// # Errors
    ///
    /// What is missing, damaged or unsupported, naming the file.
    pub fn encoder(dir: &Path) -> anyhow::Result<Self> {
        let config = checkpoint_config(dir)?;
        Self::read(dir, config, Head::Encoder, None, |_| true, |_| false, 0)
    }

    /// Reads the encoder of a checkpoint under a new head, whose values are drawn from `seed`. A
    /// checkpoint of the same head with the same labels gives its head too, to be trained on.
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
        // Of a class that has no task here, the encoder is as good as any.
        let own = task_of_config(&checkpoint_config(dir)?, dir).ok().flatten();
        let goes_on =
            own.is_some_and(|(kind, labels)| head_of(kind, &labels) == head && labels == task.1);
        let wanted = |name: &str| goes_on || name.starts_with("bert.");
        Self::read(dir, config, head, Some(task), wanted, is_head, seed)
    }

    fn read(
        dir: &Path,
        config: Config,
        head: Head,
        task: Option<(TaskKind, TaskLabels)>,
        wanted: impl Fn(&str) -> bool,
        optional: impl Fn(&str) -> bool,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let table = ParameterTable::new(&config, &head);
        let mut specs = tensor_specs(&table);
        specs.retain(|spec| wanted(&spec.name));
        let found = checkpoint::read(dir, &specs, optional)?;
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

    /// What the file lacks and got initial values, for a person; `None` if it lacks nothing.
    pub fn missing_note(&self, dir: &Path) -> Option<String> {
        let mut parts: Vec<&str> = Vec::new();
        for part in self.missing.iter().map(|name| part_of(name)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let parts = parts.join(" and ");
        let note = || format!("{}: has no {parts}; initialized instead", dir.display());
        (!self.missing.is_empty()).then(note)
    }

    /// Takes a model of labels for one text as one for two, or the other way round: the network is the
    /// same, and a checkpoint of `transformers` does not say. Other tasks stay what they are.
    pub fn read_as(&mut self, kind: TaskKind) {
        if let (
            Some((found @ (TaskKind::Classify | TaskKind::Pair), _)),
            TaskKind::Classify | TaskKind::Pair,
        ) = (&mut self.task, kind)
        {
            *found = kind;
        }
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

/// What a tensor that may be missing belongs to.
fn part_of(name: &str) -> &str {
    const PARTS: [(&str, &str); 3] = [
        ("bert.pooler.", "pooler"),
        ("cls.predictions.", "head of the masked language model"),
        ("cls.seq_relationship.", "head of next sentence prediction"),
    ];
    PARTS.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(name, |(_, part)| part)
}
