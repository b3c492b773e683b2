//! Weights of labels and label smoothing, as a batch's loss needs them.

use anyhow::ensure;
use bert_kernels::Context;

use super::ClassWeights;
use crate::data::TaskBatch;
use crate::data::tasks::{Target, TaskData, TaskKind};
use crate::model::{Shaping, Shares};

/// The shape of the loss over a training.
pub(super) struct Weights {
    shaping: Shaping,
    /// Weight of each label, where a text has exactly one.
    of_label: Vec<f32>,
}

impl Weights {
    /// Counts the labels of the training data where weights depend on them.
    ///
    /// # Errors
    ///
    /// If the task has no labels of texts to weigh or smooth.
    pub fn new(
        ctx: &Context,
        weights: ClassWeights,
        label_smoothing: f32,
        task: TaskKind,
        data: &TaskData,
    ) -> anyhow::Result<Self> {
        ensure!(
            (0.0..1.0).contains(&label_smoothing),
            "--label-smoothing {label_smoothing}: expected a value in [0, 1)"
        );
        let single = task.has_classes() && task != TaskKind::MultiLabel;
        ensure!(
            label_smoothing == 0.0 || single,
            "--label-smoothing: a task of {} has no single label a text",
            task.name()
        );
        let plain = Shaping { label_smoothing, ..Shaping::default() };
        if weights == ClassWeights::Uniform {
            return Ok(Self { shaping: plain, of_label: Vec::new() });
        }
        ensure!(
            task.has_classes(),
            "--class-weights: a task of {} has no labels of texts",
            task.name()
        );
        let found = balanced(data, single);
        let class_weights = Some(ctx.upload_f32(&found));
        let of_label = if single { found } else { Vec::new() };
        Ok(Self { shaping: Shaping { class_weights, ..plain }, of_label })
    }

    /// The shape of a batch's loss.
    pub fn shaping(&self, batch: &TaskBatch) -> Shaping {
        if self.of_label.is_empty() {
            return self.shaping.clone();
        }
        let total =
            batch.labels.iter().filter_map(|&label| self.of_label.get(label as usize)).sum();
        Shaping { total: Some(total), ..self.shaping.clone() }
    }

    /// Which share of a step a part of its batch has: with weights, of their sum.
    pub fn shares(&self, part: &TaskBatch, step: &TaskBatch) -> Shares {
        let shares = Shares::task(part, step);
        match (self.shaping(part).total, self.shaping(step).total) {
            (Some(part), Some(step)) => Shares { sequence: part / step, ..shares },
            _ => shares,
        }
    }
}

/// See [`ClassWeights::Balanced`]. A label without an example in the data weighs 1.
fn balanced(data: &TaskData, single: bool) -> Vec<f32> {
    let mut counts = vec![0usize; data.classes()];
    for example in &data.examples {
        match &example.target {
            Target::Label(label) => counts[*label as usize] += 1,
            Target::Labels(labels) => {
                labels.iter().for_each(|&label| counts[label as usize] += 1);
            }
            _ => {}
        }
    }
    let (all, labels) = (data.len(), counts.len());
    let weight = |count: usize| match (count, single) {
        (0, _) => 1.0,
        (_, true) => all as f32 / (labels * count) as f32,
        (_, false) => (all - count) as f32 / count as f32,
    };
    counts.into_iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tasks::TaskExample;

    fn data(targets: Vec<Target>, classes: usize) -> TaskData {
        let example = |target| TaskExample {
            ids: vec![2, 3],
            segments: vec![0, 0],
            word_starts: Vec::new(),
            word_index: Vec::new(),
            tags: Vec::new(),
            target,
            source: 0,
            context: None,
        };
        TaskData::of_examples(targets.into_iter().map(example).collect(), classes)
    }

    #[test]
    fn balanced_weights_are_scikit_learns() {
        // compute_class_weight("balanced", classes=[0, 1], y=[0, 0, 0, 1])
        let label = |id| Target::Label(id);
        let found = data(vec![label(0), label(0), label(0), label(1)], 2);
        assert_eq!(balanced(&found, true), [4.0 / 6.0, 2.0]);
    }

    #[test]
    fn several_labels_weigh_absent_by_present() {
        let sets = [vec![0], vec![0, 1], vec![], vec![0]];
        let found = data(sets.into_iter().map(Target::Labels).collect(), 3);
        assert_eq!(balanced(&found, false), [1.0 / 3.0, 3.0, 1.0]);
    }
}
