//! The table: what came out, beside what was published.

use serde_json::{Map, Value, json};

use super::{Evaluation, Figure, GlueTask, PUBLISHED, Published, TaskSummary, paper_average};

/// What a benchmark came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Name of the model.
    pub system: String,
    /// The tasks that were run.
    pub tasks: Vec<TaskSummary>,
    /// The tasks whose files are not there.
    pub skipped: Vec<&'static str>,
}

impl Report {
    /// A table in Markdown that can be read as text too, with a row of this model and the published
    /// ones, then the settings and the sources.
    pub fn to_markdown(&self) -> String {
        let columns = self.columns();
        let average = self.average();
        let mut header = vec!["system".to_owned(), "part".to_owned()];
        header.extend(columns.iter().map(|(task, evaluation)| title(task, evaluation)));
        let mut own = vec![self.system.clone(), "dev".to_owned()];
        own.extend(columns.iter().map(|(task, evaluation)| {
            cell(task, |metric| self.find(evaluation.column, metric).map(shown))
        }));
        if let Some(average) = average {
            header.push("average".to_owned());
            own.push(percent(average));
        }
        let mut rows = vec![header, own];
        let published = self.published();
        for (index, row) in published.iter().enumerate() {
            let mut cells = vec![format!("{} [{}]", row.system, source_number(&published, index))];
            cells.push(row.part.to_owned());
            cells.extend(columns.iter().map(|(task, evaluation)| {
                cell(task, |metric| Some(format!("{:.1}", row.find(evaluation.column, metric)?)))
            }));
            if average.is_some() {
                let average = paper_average(|column, metric| row.find(column, metric));
                cells.push(average.map_or("–".to_owned(), |value| format!("{value:.1}")));
            }
            rows.push(cells);
        }
        let mut lines = aligned(&rows);
        lines.push(String::new());
        lines.extend(self.tasks.iter().map(describe));
        for (index, row) in published.iter().enumerate() {
            let number = source_number(&published, index);
            if published[..index].iter().all(|before| before.source != row.source) {
                lines.push(format!("* [{number}] {}", row.source));
            }
        }
        lines.join("\n")
    }

    /// Everything as JSON; figures are shares of 1, also the published ones.
    pub fn to_json(&self) -> Value {
        let tasks: Map<String, Value> =
            self.tasks.iter().map(|task| (task.task.name.to_owned(), task_json(task))).collect();
        let published: Vec<Value> =
            self.published().iter().map(|row| published_json(row)).collect();
        json!({
            "system": self.system,
            "part": "dev",
            "tasks": tasks,
            "average": self.average(),
            "skipped": self.skipped,
            "published": published,
        })
    }

    /// The mean of the paper, a share of 1, if all its tasks were run.
    pub fn average(&self) -> Option<f64> {
        paper_average(|column, metric| self.find(column, metric)?.mean)
    }

    fn find(&self, column: &str, metric: &str) -> Option<Figure> {
        self.tasks.iter().find_map(|task| task.find(column, metric))
    }

    fn columns(&self) -> Vec<(&'static GlueTask, &'static Evaluation)> {
        let columns = |summary: &TaskSummary| {
            let task = summary.task;
            task.evaluations.iter().map(move |evaluation| (task, evaluation))
        };
        self.tasks.iter().flat_map(columns).collect()
    }

    /// The published rows that have a figure of a task that was run.
    fn published(&self) -> Vec<&'static Published> {
        let has = |row: &&Published| {
            row.figures.iter().any(|(column, metric, _)| self.find(column, metric).is_some())
        };
        PUBLISHED.iter().filter(has).collect()
    }
}

/// `MRPC F1/acc`
fn title(task: &GlueTask, evaluation: &Evaluation) -> String {
    let short = |metric: &&str| {
        match *metric {
            "accuracy" => "acc",
            "f1" => "F1",
            "matthews_correlation" => "MCC",
            "pearson" => "Pearson",
            "spearman" => "Spearman",
            other => other,
        }
        .to_owned()
    };
    let metrics: Vec<String> = task.metrics.iter().map(short).collect();
    format!("{} {}", evaluation.column, metrics.join("/"))
}

/// The metrics of a task; one dash if there is none.
fn cell(task: &GlueTask, find: impl Fn(&str) -> Option<String>) -> String {
    let found: Vec<Option<String>> = task.metrics.iter().map(|metric| find(metric)).collect();
    if found.iter().all(Option::is_none) {
        return "–".to_owned();
    }
    let shown = |part: Option<String>| part.unwrap_or_else(|| "–".to_owned());
    found.into_iter().map(shown).collect::<Vec<_>>().join("/")
}

/// `88.9` or `88.9±0.4`
fn shown(figure: Figure) -> String {
    match (figure.mean, figure.deviation) {
        (Some(mean), Some(deviation)) => format!("{}±{}", percent(mean), percent(deviation)),
        (Some(mean), None) => percent(mean),
        (None, _) => "undefined".to_owned(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// How a task was run.
fn describe(summary: &TaskSummary) -> String {
    let TaskSummary { task, train_examples, setting, settings, seeds, seconds, .. } = summary;
    let chosen = match settings {
        1 => String::new(),
        n => format!(" (the best of {n} on dev)"),
    };
    let seeds = match seeds.len() {
        1 => format!("seed {}", seeds[0]),
        n => format!("{n} seeds"),
    };
    format!(
        "* {}: {train_examples} training examples, {}{chosen}, {seeds}, {seconds:.0} s",
        task.folder,
        setting.describe()
    )
}

/// Number of a row's source among the sources, from 1.
fn source_number(rows: &[&Published], index: usize) -> usize {
    let mut sources: Vec<&str> = Vec::new();
    for row in &rows[..=index] {
        if !sources.contains(&row.source) {
            sources.push(row.source);
        }
    }
    1 + sources.iter().position(|source| *source == rows[index].source).unwrap_or(0)
}

/// A table of Markdown with aligned columns; the first row is the header.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}", cells.collect::<String>())
    };
    let rule = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
    let rule = format!("|{}", rule.collect::<String>());
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.insert(1.min(lines.len()), rule);
    lines
}

fn task_json(summary: &TaskSummary) -> Value {
    let mut results = Map::new();
    for (evaluation, figures) in summary.task.evaluations.iter().zip(&summary.figures) {
        let metrics: Map<String, Value> = summary
            .task
            .metrics
            .iter()
            .zip(figures)
            .map(|(metric, figure)| {
                let value = json!({ "mean": figure.mean, "deviation": figure.deviation });
                ((*metric).to_owned(), value)
            })
            .collect();
        results.insert(evaluation.column.to_owned(), metrics.into());
    }
    json!({
        "train_examples": summary.train_examples,
        "setting": summary.setting,
        "settings": summary.settings,
        "seeds": summary.seeds,
        "seconds": summary.seconds,
        "results": results,
    })
}

fn published_json(row: &Published) -> Value {
    let mut results: Map<String, Value> = Map::new();
    for (column, metric, figure) in row.figures {
        let metrics = results.entry(*column).or_insert_with(|| json!({}));
        metrics[*metric] = json!(figure / 100.0);
    }
    json!({ "system": row.system, "part": row.part, "source": row.source, "results": results })
}
