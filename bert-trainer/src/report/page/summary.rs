//! The head of a run: what it is, and the figures to look at first.

use maud::{Markup, html};
use serde_json::Value;

use crate::log::grouped;
use crate::report::format::{Unit, duration, title as named};
use crate::report::{EpochRecord, Run};

/// `classify: accuracy 89.12 %`
pub(super) fn title(run: &Run) -> String {
    match run.headline() {
        Some((metric, value)) => {
            format!("{}: {} {}", run.record.task, named(&metric), Unit::of(&metric).show(value))
        }
        None => run.record.task.clone(),
    }
}

/// Title, when and with what, tiles.
pub(super) fn header(run: &Run) -> Markup {
    html! {
        header {
            p.eyebrow { (run.name) }
            h1 {
                (run.record.task)
                @if let Some((metric, value)) = run.headline() {
                    " " span.headline { (named(&metric)) " " b { (Unit::of(&metric).show(value)) } }
                }
            }
            p.quiet { (said_of(run).join(" · ")) }
            (tiles(run))
            nav {
                a href="#curves" { "Curves" }
                @for (index, evaluation) in run.record.evaluations.iter().enumerate() {
                    a href={ "#evaluation-" (index) } { "Evaluation: " (evaluation.part) }
                }
                @if run.record.int8.is_some() { a href="#int8" { "int8" } }
                a href="#configuration" { "Configuration" }
                @if !run.record.data.is_empty() { a href="#data" { "Data" } }
            }
        }
    }
}

/// Command, times and version, as far as known.
fn said_of(run: &Run) -> Vec<String> {
    let record = &run.record;
    let mut said = vec![record.command.clone()];
    if let Some(started) = record.started {
        said.push(started.strftime("%Y-%m-%d %H:%M UTC").to_string());
    }
    if record.started.is_some() && record.ended.is_none() {
        said.push("has not ended".to_owned());
    }
    if !record.crate_version.is_empty() {
        said.push(format!("bert-trainer {}", record.crate_version));
    }
    said.retain(|part| !part.is_empty());
    said
}

/// The figures of a run that fit on a line or two.
pub(super) fn tiles(run: &Run) -> Markup {
    let record = &run.record;
    let mut tiles: Vec<(String, String, String)> = Vec::new();
    let mut tile =
        |value: String, name: &str, note: String| tiles.push((value, name.to_owned(), note));
    for (name, value) in run.result().iter().take(6) {
        let unigram = record.unigram_loss.filter(|_| name == "mlm_loss");
        let note = unigram.map(|unigram| beside_unigram(value, unigram));
        tile(Unit::of(name).show(value), &named(name), note.unwrap_or_default());
    }
    if let Some(EpochRecord { epoch, train_loss, .. }) = run.chosen_epoch() {
        let word = if record.best_epoch == Some(*epoch) { "best epoch" } else { "last epoch" };
        tile(epoch.to_string(), word, format!("of {}", record.epochs.len()));
        tile(Unit::Number.show(*train_loss), "training loss", format!("mean of epoch {epoch}"));
    }
    tile(grouped(run.steps()), "steps", String::new());
    if let Some(tokens) = run.lines.last().and_then(|line| line.metrics.value("tokens")) {
        tile(grouped(tokens as u64), "tokens", String::new());
    }
    if record.parameters > 0 {
        let size = |key: &str| record.model.get(key).and_then(Value::as_u64);
        let note = match (size("num_hidden_layers"), size("hidden_size")) {
            (Some(layers), Some(hidden)) => format!("{layers} layers, hidden {hidden}"),
            _ => String::new(),
        };
        tile(grouped(record.parameters), "parameters", note);
    }
    if record.seconds > 0.0 {
        tile(duration(record.seconds), "time", String::new());
    }
    html! {
        div.tiles {
            @for (value, name, note) in &tiles {
                div.tile { b { (value) } span { (name) } @if !note.is_empty() { small { (note) } } }
            }
        }
    }
}

fn beside_unigram(loss: f64, unigram: f64) -> String {
    let side = if loss <= unigram { "under" } else { "above" };
    format!("{:.3} {side} unigram", (unigram - loss).abs())
}
