//! Of a task's runs: the best setting, and its mean and deviation over the seeds.

use anyhow::Context as _;

use super::{GlueTask, RunRecord, Setting, TASKS, TaskFiles};

/// A metric over the seeds, a share of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The mean; `None` if a run's value is undefined.
    pub mean: Option<f64>,
    /// The standard deviation `√(Σ (x - mean)² / (n - 1))`; `None` with fewer than two seeds.
    pub deviation: Option<f64>,
}

impl Figure {
    fn of(values: impl IntoIterator<Item = Option<f64>>) -> Self {
        let values: Option<Vec<f64>> = values.into_iter().collect();
        let Some(values) = values.filter(|values| !values.is_empty()) else {
            return Self { mean: None, deviation: None };
        };
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Self { mean: Some(mean), deviation }
    }
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSummary {
    /// The task.
    pub task: &'static GlueTask,
    /// Training examples.
    pub train_examples: usize,
    /// The setting that is best by the mean [`RunRecord::score`] over the seeds; of equals the
    /// first.
    pub setting: Setting,
    /// How many settings it was chosen from.
    pub settings: usize,
    /// The seeds of each setting.
    pub seeds: Vec<u64>,
    /// Seconds of all runs together, also those of an earlier process.
    pub seconds: f64,
    /// For each evaluation, each metric of the task at that setting.
    pub figures: Vec<Vec<Figure>>,
}

impl TaskSummary {
    pub(super) fn new(
        files: &TaskFiles,
        records: &[&RunRecord],
        settings: &[Setting],
        seeds: &[u64],
    ) -> anyhow::Result<Self> {
        let task = files.task;
        let runs = |setting: Setting| -> Vec<&RunRecord> {
            let belongs = |run: &&&RunRecord| run.setting == setting && seeds.contains(&run.seed);
            records.iter().filter(belongs).copied().collect()
        };
        let mut best: Option<(Setting, Option<f64>)> = None;
        for &setting in settings {
            let score = Figure::of(runs(setting).iter().map(|run| run.score(task))).mean;
            // An undefined score is the least.
            if best.is_none_or(|(_, best)| score > best) {
                best = Some((setting, score));
            }
        }
        let (setting, _) = best.context("there is no setting")?;
        let chosen = runs(setting);
        let figure = |evaluation: usize, metric: &str| {
            Figure::of(chosen.iter().map(|run| run.find(evaluation, metric)))
        };
        let figures = (0..task.evaluations.len())
            .map(|evaluation| task.metrics.iter().map(|m| figure(evaluation, m)).collect())
            .collect();
        Ok(Self {
            task,
            train_examples: files.train_examples,
            setting,
            settings: settings.len(),
            seeds: seeds.to_vec(),
            seconds: settings.iter().flat_map(|&one| runs(one)).map(|run| run.seconds).sum(),
            figures,
        })
    }

    /// The figure of a column and metric, if they are the task's.
    pub fn find(&self, column: &str, metric: &str) -> Option<Figure> {
        let row = self.task.evaluations.iter().position(|one| one.column == column)?;
        let index = self.task.metrics.iter().position(|name| *name == metric)?;
        self.figures.get(row)?.get(index).copied()
    }
}

/// The mean that table 1 of Devlin et al. 2018 gives: of the paper's metric of each task, both sets
/// of MNLI, without WNLI; `None` if a figure is missing.
pub fn paper_average(find: impl Fn(&str, &str) -> Option<f64>) -> Option<f64> {
    let (mut sum, mut columns) = (0.0, 0);
    for task in TASKS.iter().filter(|task| task.in_average) {
        for evaluation in task.evaluations {
            sum += find(evaluation.column, task.paper_metric)?;
            columns += 1;
        }
    }
    Some(sum / f64::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        let figure = Figure::of([0.2, 0.4, 0.9].map(Some));
        let near = |found: Option<f64>, expected: f64| {
            found.is_some_and(|found| (found - expected).abs() < 1e-12)
        };
        assert!(near(figure.mean, 0.5) && near(figure.deviation, 0.13f64.sqrt()), "{figure:?}");
        assert_eq!(Figure::of([Some(0.3)]), Figure { mean: Some(0.3), deviation: None });
        assert_eq!(Figure::of([Some(0.3), None]), Figure { mean: None, deviation: None });
        assert_eq!(Figure::of([]), Figure { mean: None, deviation: None });
    }

    #[test]
    fn an_average_needs_every_figure() {
        assert_eq!(paper_average(|_, _| Some(0.5)), Some(0.5));
        assert_eq!(paper_average(|column, _| (column != "RTE").then_some(0.5)), None);
        assert_eq!(paper_average(|column, _| (column != "WNLI").then_some(0.5)), Some(0.5));
        // Nine columns: MNLI counts twice.
        let of_mnli = paper_average(|column, _| Some(f64::from(column.starts_with("MNLI"))));
        assert_eq!(of_mnli, Some(2.0 / 9.0));
    }
}
