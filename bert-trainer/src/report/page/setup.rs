//! What went in and what came out, as tables: epochs, f32 beside int8, options, data.

use maud::{Markup, html};
use serde_json::{Map, Value};

use crate::log::grouped;
use crate::report::format::{Unit, duration, less_is_better, number, rate, title};
use crate::report::{EpochRecord, Int8Record, Metrics, Run};

/// A row an epoch.
pub(super) fn epochs(run: &Run) -> Markup {
    let epochs = &run.record.epochs;
    let chosen = run.chosen_epoch().map(|epoch| epoch.epoch);
    let names: Vec<String> = names(epochs.iter().map(|epoch| &epoch.metrics));
    let value = |epoch: &EpochRecord, name: &str| epoch.metrics.value(name);
    html! {
        @if !epochs.is_empty() {
            section {
                h2 { "Epochs" }
                div.wide { table {
                    thead { tr {
                        th.number { "epoch" } th.number { "step" } th.number { "training loss" }
                        @for name in &names { th.number { (title(name)) } }
                        th.number { "learning rate" } th.number { "time" }
                    } }
                    tbody {
                        @for epoch in epochs {
                            tr.best[Some(epoch.epoch) == chosen] {
                                td.number { (epoch.epoch) }
                                td.number { (grouped(epoch.step)) }
                                td.number { (number(epoch.train_loss)) }
                                @for name in &names {
                                    td.number {
                                        @if let Some(value) = value(epoch, name) {
                                            (Unit::of(name).show(value))
                                        }
                                    }
                                }
                                td.number { (rate(epoch.learning_rate)) }
                                td.number { (duration(epoch.seconds)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// f32 beside int8, metric by metric.
pub(super) fn int8(run: &Run, prefix: &str) -> Markup {
    let Some(int8) = &run.record.int8 else { return Markup::default() };
    let reference = f32_metrics(run, int8);
    html! {
        section id={ (prefix) "int8" } {
            h2 { "f32 and int8" }
            p.quiet {
                "The exported model through the code of the device"
                @if !int8.data.file.is_empty() { ", on " (int8.data.file) }
                @if int8.data.examples > 0 { " (" (grouped(int8.data.examples)) " examples)" }
                @if int8.model_bytes > 0 {
                    "; " (grouped(int8.model_bytes)) " bytes of model, "
                    (grouped(int8.scratch_bytes)) " bytes of scratch"
                }
                "."
                @if reference.is_none() { " f32 was not measured on this file." }
            }
            div.wide { table {
                thead { tr {
                    th { "metric" } th.number { "f32" } th.number { "int8" } th.number { "difference" }
                } }
                tbody {
                    @for (name, value) in int8.metrics.iter() {
                        @let before = reference.and_then(|metrics| metrics.value(name));
                        tr {
                            td { (title(name)) }
                            td.number { @if let Some(before) = before { (Unit::of(name).show(before)) } }
                            td.number { (Unit::of(name).show(value)) }
                            @match before {
                                Some(before) => (difference(name, value - before)),
                                None => td {},
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// Metrics of the checkpoint on the file of the int8 figures: as recorded, or those of the best epoch
/// if that was evaluated on the same bytes.
fn f32_metrics<'a>(run: &'a Run, int8: &'a Int8Record) -> Option<&'a Metrics> {
    let evaluated = run.record.data.iter().any(|file| {
        file.role == "eval" && !file.sha256.is_empty() && file.sha256 == int8.data.sha256
    });
    let epoch = || run.chosen_epoch().filter(|_| evaluated).map(|epoch| &epoch.metrics);
    int8.f32.as_ref().or_else(epoch)
}

pub(super) fn difference(name: &str, change: f64) -> Markup {
    let text = match Unit::of(name) {
        Unit::Share => format!("{:+.2} points", change * 100.0),
        _ => format!("{change:+.4}"),
    };
    let is_worse = if less_is_better(name) { change > 0.0 } else { change < 0.0 };
    html! { td.number.wrong[is_worse] { (text.replace('-', "−")) } }
}

/// Every option and the numbers of the model.
pub(super) fn configuration(run: &Run, prefix: &str) -> Markup {
    let record = &run.record;
    html! {
        section id={ (prefix) "configuration" } {
            h2 { "Configuration" }
            div.columns {
                (options("Options", &record.configuration))
                (options("Model", &record.model))
            }
            @if record.configuration.is_empty() && record.model.is_empty() {
                p.quiet { "The directory does not tell." }
            }
        }
    }
}

fn options(name: &str, values: &Map<String, Value>) -> Markup {
    html! {
        @if !values.is_empty() {
            table {
                thead { tr { th { (name) } th {} } }
                tbody {
                    @for (name, value) in values {
                        tr { td { (name) } td.value { (shown(name, value)) } }
                    }
                }
            }
        }
    }
}

/// Text without quotes, small rates short, nothing as a dash.
pub(super) fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        // f32 options have become f64 and show digits nobody wrote.
        Value::Number(value) if name.ends_with("rate") => {
            value.as_f64().map_or_else(|| value.to_string(), rate)
        }
        Value::Number(value) => match value.as_f64() {
            Some(number) if value.is_f64() => format!("{}", number as f32),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Files with their digests.
pub(super) fn data(run: &Run, prefix: &str) -> Markup {
    html! {
        @if !run.record.data.is_empty() {
            section id={ (prefix) "data" } {
                h2 { "Data" }
                div.wide { table {
                    thead { tr {
                        th { "role" } th { "file" } th.number { "examples" } th { "SHA-256" }
                    } }
                    tbody {
                        @for file in &run.record.data {
                            tr {
                                td { (file.role) } td { (file.file) }
                                td.number { (grouped(file.examples)) }
                                td { code { (file.sha256) } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Every metric once, in the order of first sight.
pub(super) fn names<'a>(all: impl Iterator<Item = &'a Metrics>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in all.flat_map(Metrics::iter) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}
