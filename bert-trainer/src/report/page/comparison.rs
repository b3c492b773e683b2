//! Several runs: a row for each configuration with mean and deviation, and a row for each run.

use maud::{Markup, html};

use super::colour;
use super::setup::{names, shown};
use crate::log::grouped;
use crate::report::format::{Unit, duration, less_is_better, title};
use crate::report::{Group, Metrics, Run, Spread};

/// Title and the best configuration.
pub(super) fn header(runs: &[Run], groups: &[Group]) -> Markup {
    let mut tasks: Vec<&str> = runs.iter().map(|run| run.record.task.as_str()).collect();
    tasks.dedup();
    html! {
        header {
            p.eyebrow { (runs.len()) " runs, " (groups.len()) " "
                (if groups.len() == 1 { "configuration" } else { "configurations" }) }
            h1 {
                (tasks.join(", "))
                @if let Some((metric, spread)) = best(runs, groups) {
                    " " span.headline { (title(&metric)) " " b { (Unit::of(&metric).spread(&spread)) } }
                }
            }
            p.quiet {
                "Runs that differ only by seed are one configuration: mean ± standard deviation of "
                "the sample."
            }
            nav {
                a href="#comparison" { "Comparison" }
                a href="#curves" { "Curves" }
            }
        }
    }
}

/// The headline metric of the first run, where it is best.
fn best(runs: &[Run], groups: &[Group]) -> Option<(String, Spread)> {
    let (metric, _) = runs.first()?.headline()?;
    let place = best_place(groups, &metric)?;
    Some((metric.clone(), spread(&groups[place], &metric)?))
}

fn spread(group: &Group, metric: &str) -> Option<Spread> {
    group.metrics.iter().find(|(name, _)| name == metric).map(|(_, spread)| *spread)
}

/// Place of the group with the best mean.
fn best_place(groups: &[Group], metric: &str) -> Option<usize> {
    let sign = if less_is_better(metric) { -1.0 } else { 1.0 };
    let means = groups.iter().enumerate();
    let means = means.filter_map(|(at, group)| Some((at, sign * spread(group, metric)?.mean)));
    // The first of equals.
    means.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}

/// Both tables.
pub(super) fn section(runs: &[Run], groups: &[Group], colours: &[usize]) -> Markup {
    let results: Vec<Metrics> = runs.iter().map(Run::result).collect();
    let names = names(results.iter());
    html! {
        section #comparison {
            h2 { "Comparison" }
            div.wide { (configurations(groups, &names)) }
            h3 { "Runs" }
            div.wide { (each(runs, colours, &results, &names)) }
        }
    }
}

fn configurations(groups: &[Group], names: &[String]) -> Markup {
    let options: Vec<&str> = groups
        .first()
        .map_or(Vec::new(), |group| group.options.iter().map(|(name, _)| name.as_str()).collect());
    html! {
        table.sortable {
            thead { tr {
                th.number { "configuration" }
                @for name in &options { th { (name) } }
                th.number { "runs" }
                @for name in names { th.number { (title(name)) } }
            } }
            tbody {
                @for (at, group) in groups.iter().enumerate() {
                    tr {
                        td.number { (at + 1) }
                        @for (name, value) in &group.options { td.value { (shown(name, value)) } }
                        td.number { (group.runs.len()) }
                        @for name in names {
                            @match spread(group, name) {
                                Some(spread) => td.number data-value=(spread.mean) {
                                    span.winner[groups.len() > 1 && best_place(groups, name) == Some(at)] {
                                        (Unit::of(name).spread(&spread))
                                    }
                                },
                                None => td.number {},
                            }
                        }
                    }
                }
            }
        }
    }
}

fn each(runs: &[Run], colours: &[usize], results: &[Metrics], names: &[String]) -> Markup {
    html! {
        table.sortable {
            thead { tr {
                th { "run" } th { "task" } th.number { "seed" } th.number { "steps" }
                th.number { "epoch" }
                @for name in names { th.number { (title(name)) } }
                th.number { "time" }
            } }
            tbody {
                @for ((run, result), &index) in runs.iter().zip(results).zip(colours) {
                    tr {
                        td { span.chip style=(colour(index)) {} (run.name) }
                        td { (run.record.task) }
                        td.number { (run.seed().unwrap_or_default()) }
                        td.number data-value=(run.steps()) { (grouped(run.steps())) }
                        td.number {
                            @if let Some(epoch) = run.chosen_epoch() { (epoch.epoch) }
                        }
                        @for name in names {
                            @match result.value(name) {
                                Some(value) => td.number data-value=(value) {
                                    (Unit::of(name).show(value))
                                },
                                None => td.number {},
                            }
                        }
                        td.number data-value=(run.record.seconds) {
                            @if run.record.seconds > 0.0 { (duration(run.record.seconds)) }
                        }
                    }
                }
            }
        }
    }
}
