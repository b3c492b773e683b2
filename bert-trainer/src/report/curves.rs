//! Which charts a report has: one a figure, with a line for each run.

use super::chart::{COLOURS, Chart, Series};
use super::format::{Unit, title};
use super::{Group, Run};

/// Loss of a guess between next and random sentence, ln 2 nats.
const NSP_GUESS: f64 = std::f64::consts::LN_2;
/// Lines of more points get a smooth one on top.
const ROUGH: usize = 60;

/// The charts of runs, in the order in which they are to be read.
pub(super) fn charts(runs: &[Run], groups: &[Group]) -> Vec<Chart> {
    let runs: Vec<Coloured> = coloured(runs, groups);
    let mut charts = per_epoch(&runs);
    charts.extend(per_step(&runs));
    charts
}

/// A run and the colour of its lines.
struct Coloured<'a> {
    run: &'a Run,
    name: &'a str,
    colour: usize,
}

/// The colour of each run: one of its own, or, where these do not suffice, one of its group.
pub(super) fn colours(runs: &[Run], groups: &[Group]) -> Vec<usize> {
    let group = |run| groups.iter().position(|group| group.runs.contains(&run)).unwrap_or(run);
    (0..runs.len()).map(|run| if runs.len() > COLOURS { group(run) } else { run }).collect()
}

fn coloured<'a>(runs: &'a [Run], groups: &[Group]) -> Vec<Coloured<'a>> {
    let pairs = runs.iter().zip(colours(runs, groups));
    pairs.map(|(run, colour)| Coloured { run, name: &run.name, colour }).collect()
}

/// Metrics after every epoch. Those of one run that are shares of 1 are one chart.
fn per_epoch(runs: &[Coloured]) -> Vec<Chart> {
    let epochs = |run: &Run| run.record.epochs.clone();
    let names = names_in_order(
        runs.iter()
            .flat_map(|one| epochs(one.run))
            .map(|epoch| epoch.metrics.iter().map(|(name, _)| name.to_owned()).collect()),
    );
    let line = |one: &Coloured, metric: &str| Series {
        name: one.name.to_owned(),
        colour: one.colour,
        points: one
            .run
            .record
            .epochs
            .iter()
            .filter_map(|epoch| Some((epoch.epoch as f64, epoch.metrics.value(metric)?)))
            .collect(),
        emphasis: one.run.chosen_epoch().map(|epoch| epoch.epoch as f64),
        dots: true,
        faint: false,
    };
    if let [one] = runs {
        let (shares, others): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| Unit::of(name) == Unit::Share);
        let charts = [shares].into_iter().chain(others.into_iter().map(|name| vec![name]));
        let chart = |names: Vec<String>| {
            let line = |(index, name): (usize, &String)| Series {
                name: title(name),
                colour: index,
                ..line(one, name)
            };
            let first = names.first()?;
            let together = if names.len() > 1 { "metrics".to_owned() } else { title(first) };
            let best = one.run.chosen_epoch();
            Some(Chart {
                title: format!("Evaluation: {together}"),
                x_name: "epoch",
                metric: first.clone(),
                series: names.iter().enumerate().map(line).collect(),
                mark: best.map(|best| (chosen_name(one.run), best.epoch as f64)),
                ..Chart::default()
            })
        };
        return charts.filter_map(chart).collect();
    }
    let chart = |name: String| Chart {
        title: format!("Evaluation: {}", title(&name)),
        x_name: "epoch",
        series: runs.iter().map(|one| line(one, &name)).filter(has_points).collect(),
        metric: name,
        ..Chart::default()
    };
    names.into_iter().map(chart).collect()
}

/// What training logged: losses, accuracies, then the learning rate and the gradient.
fn per_step(runs: &[Coloured]) -> Vec<Chart> {
    let lines = runs.iter().flat_map(|one| &one.run.lines);
    let mut names = names_in_order(lines.map(|line| {
        let drawn = line.metrics.iter().filter(|(name, _)| *name != "tokens");
        drawn.map(|(name, _)| name.to_owned()).collect()
    }));
    // A run that logged no steps still knows the loss of each epoch.
    let by_epoch = !names.iter().any(|name| name.ends_with("loss"));
    if by_epoch {
        names.insert(0, "loss".to_owned());
    }
    names.sort_by_key(|name| ["learning_rate", "gradient_norm"].contains(&name.as_str()));
    let chart = |name: String| {
        let points = |one: &Coloured| -> Vec<(f64, f64)> {
            let lines = one.run.lines.iter();
            let logged =
                lines.filter_map(|line| Some((line.step as f64, line.metrics.value(&name)?)));
            if !by_epoch || name != "loss" {
                return logged.collect();
            }
            let epochs = one.run.record.epochs.iter();
            epochs.map(|epoch| (epoch.step as f64, epoch.train_loss)).collect()
        };
        let series = runs.iter().flat_map(|one| {
            let named = if runs.len() == 1 { title(&name) } else { one.name.to_owned() };
            smooth_and_raw(named, one.colour, points(one), &name, runs.len() > 1)
        });
        Chart {
            title: match name.as_str() {
                "loss" => "Training loss".to_owned(),
                _ => capitalized(&title(&name)),
            },
            x_name: "step",
            references: references(runs, &name),
            series: series.filter(has_points).collect(),
            metric: name.clone(),
            ..Chart::default()
        }
    };
    names.into_iter().map(chart).filter(|chart| !chart.series.is_empty()).collect()
}

/// `best: epoch 3`, or `last: epoch 4` of a run that did not choose.
fn chosen_name(run: &Run) -> String {
    let number = run.chosen_epoch().map_or(0, |epoch| epoch.epoch);
    let word = if run.record.best_epoch == Some(number) { "best" } else { "last" };
    format!("{word}: epoch {number}")
}

/// What a model reaches that knows nothing of context.
fn references(runs: &[Coloured], name: &str) -> Vec<(String, f64)> {
    match name {
        "mlm_loss" => {
            let mut levels: Vec<f64> =
                runs.iter().filter_map(|one| one.run.record.unigram_loss).collect();
            levels.dedup();
            levels.into_iter().map(|level| (format!("unigram {level:.3}"), level)).collect()
        }
        "nsp_loss" => vec![("guess 0.693".to_owned(), NSP_GUESS)],
        "nsp_accuracy" => vec![("guess 50 %".to_owned(), 0.5)],
        _ => Vec::new(),
    }
}

/// A long line of a noisy figure is a faint one under its moving mean; among other runs the mean
/// alone.
fn smooth_and_raw(
    name: String,
    colour: usize,
    points: Vec<(f64, f64)>,
    metric: &str,
    among_others: bool,
) -> Vec<Series> {
    let raw = Series { name, colour, points, ..Series::default() };
    if raw.points.len() <= ROUGH || metric == "learning_rate" {
        return vec![raw];
    }
    let smooth = Series { points: moving_mean(&raw.points), ..raw.clone() };
    let faint = Series { faint: true, ..raw };
    if among_others { vec![smooth] } else { vec![faint, smooth] }
}

/// The mean over a window of a thirtieth of the line, in its middle; shorter at the ends.
fn moving_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = points.len() / 60;
    let mean = |(index, (x, _)): (usize, &(f64, f64))| {
        let half = half.min(index).min(points.len() - 1 - index);
        let window = &points[index - half..=index + half];
        (*x, window.iter().map(|(_, y)| y / window.len() as f64).sum())
    };
    points.iter().enumerate().map(mean).collect()
}

fn has_points(series: &Series) -> bool {
    !series.points.is_empty()
}

/// Every name once, in the order of first sight.
fn names_in_order(lists: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in lists.flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::lines::Line;
    use crate::report::{EpochRecord, RunRecord, groups};

    fn run(name: &str, lines: &[(u64, &[(&str, f64)])], epochs: &[&[(&str, f64)]]) -> Run {
        let mut record = RunRecord::default();
        for (index, metrics) in epochs.iter().enumerate() {
            let metrics = metrics.iter().copied().collect();
            let epoch = index as u64 + 1;
            let (step, train_loss) = (epoch * 10, 1.0 / epoch as f64);
            let is_best = epoch == 2;
            record.push_epoch(EpochRecord {
                epoch,
                step,
                train_loss,
                metrics,
                is_best,
                ..Default::default()
            });
        }
        let line = |(step, metrics): &(u64, &[(&str, f64)])| Line {
            step: *step,
            metrics: metrics.iter().copied().collect(),
        };
        let lines = lines.iter().map(line).collect();
        Run { name: name.into(), directory: name.into(), lines, record }
    }

    fn titles(runs: &[Run]) -> Vec<String> {
        charts(runs, &groups(runs)).into_iter().map(|chart| chart.title).collect()
    }

    #[test]
    fn a_pre_training_has_a_chart_a_figure_and_its_levels() {
        let line: &[(&str, f64)] =
            &[("mlm_loss", 7.0), ("learning_rate", 1e-4), ("nsp_accuracy", 0.5), ("tokens", 9.0)];
        let mut run = run("run", &[(1, line), (2, line)], &[]);
        assert_eq!(
            titles(std::slice::from_ref(&run)),
            ["MLM loss", "NSP accuracy", "Learning rate"]
        );
        run.record.unigram_loss = Some(6.5);
        let charts = charts(&[run], &[]);
        assert_eq!(charts[0].references, [("unigram 6.500".to_owned(), 6.5)]);
        assert_eq!(charts[1].references.len(), 1);
    }

    #[test]
    fn the_best_epoch_is_marked() {
        let epochs: [&[(&str, f64)]; 3] = [
            &[("accuracy", 0.5), ("f1", 0.25), ("loss", 2.0)],
            &[("accuracy", 0.75), ("f1", 0.5), ("loss", 1.0)],
            &[("accuracy", 0.5), ("f1", 0.25), ("loss", 1.5)],
        ];
        let one = run("one", &[], &epochs);
        let charts = charts(std::slice::from_ref(&one), &[]);
        let titles: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles, ["Evaluation: metrics", "Evaluation: loss", "Training loss"]);
        assert_eq!(charts[0].mark, Some(("best: epoch 2".to_owned(), 2.0)));
        assert_eq!(charts[0].series.len(), 2);
        assert_eq!(charts[0].series[0].emphasis, Some(2.0));
        assert_eq!(charts[2].series[0].points, [(10.0, 1.0), (20.0, 0.5), (30.0, 1.0 / 3.0)]);
        // Beside another run each metric is a chart of its own, with a line a run.
        let two = run("two", &[], &epochs[..1]);
        let runs = [one, two];
        let charts = super::charts(&runs, &groups(&runs));
        let counts: Vec<usize> = charts.iter().map(|chart| chart.series.len()).collect();
        assert_eq!(counts, [2, 2, 2, 2]);
    }

    #[test]
    fn long_noise_is_smoothed() {
        let points: Vec<(f64, f64)> = (0..600).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        let series = smooth_and_raw("loss".into(), 0, points.clone(), "loss", false);
        assert!(series[0].faint && series[0].points == points);
        let middle = &series[1].points[20..580];
        assert!(middle.iter().all(|(_, y)| (y - 0.5).abs() < 0.05));
        assert_eq!(smooth_and_raw("x".into(), 0, points, "loss", true).len(), 1);
    }

    #[test]
    fn many_runs_share_the_colours_of_their_groups() {
        let runs: Vec<Run> =
            (0..12).map(|n| run(&n.to_string(), &[(1, &[("loss", 1.0)])], &[])).collect();
        let charts = charts(&runs, &groups(&runs));
        assert!(charts[0].series.iter().all(|series| series.colour == 0));
    }
}
